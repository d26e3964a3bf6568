"""The overview and the statistics: true at any size, in any zone, and when a part of what they need is broken."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, insert, text

from engine.ids import parse
from tests.support.postgres import PostgresServer, fresh_database
from tests.webapp.reading import SMALL
from tests.webapp.shelf import Shelf
from tests.webapp.site import Browser, Site, person
from tests.webapp.support import Hands
from webapp.installation import open_installation
from webapp.models import DayFigures, Run
from webapp.models.figures import EVERY
from webapp.models.run import UNDO
from webapp.services import (
    activity,
    figures,
    keyrings,
    keys,
    overdue,
    protection,
    records,
    run_phases,
    runs,
    schedules,
    stats,
)
from webapp.services.run_phases import Noted
from webapp.services.runs import Counters, NewRun, Outcome
from webapp.settings import read_settings

HOURLY = {"schedule": "0 * * * *", "objectives": {"rpoMinutes": 60, "rtoMinutes": 2}}
_PUBLIC = re.compile(r"(run|bk|er)_\w+")


def words(browser: Browser, path: str = "/") -> str:
    answer = browser.get(path)
    assert answer.status_code == 200, answer.text
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", answer.text)).split())


def ended(shelf: Shelf, state: str = "succeeded", *, seconds: float = 2, **fields: Any) -> Run:
    new = {"kind": "create", "identity": "local:test", "config_id": "shop", **fields}
    run = runs.start(shelf.installation, NewRun(**new))
    shelf.hands.now += timedelta(seconds=seconds)
    runs.finish(shelf.installation, run.id, Outcome(state, cause="SourceError" if state == "failed" else None))
    return runs.fetch(shelf.installation, run.id)


@contextmanager
def queries(shelf: Shelf) -> Iterator[list[str]]:
    found: list[str] = []

    def note(*arguments: object) -> None:
        if str(arguments[2]).startswith("SELECT"):
            found.append(str(arguments[2]))

    engine = shelf.installation.database.engine
    event.listen(engine, "before_cursor_execute", note)
    yield found
    event.remove(engine, "before_cursor_execute", note)


def drop(shelf: Shelf, table: str) -> None:
    with shelf.installation.database.transaction() as session:
        session.execute(text(f"DROP TABLE {table}"))


def test_only_points_that_can_be_used_protect(shelf: Shelf) -> None:
    """A damaged point is none, however young: neither for the verdict nor for what is overdue."""
    shelf.configure(**HOURLY)
    schedules.refresh(shelf.installation)
    old = shelf.backup()
    shelf.hands.now += timedelta(minutes=40)
    young = shelf.backup()
    (found,) = protection.of_all(shelf.installation)
    assert found.newest is not None
    assert (found.newest.public_id, protection.points(shelf.installation)) == (young, {"shop": 2})
    shelf.hands.now += timedelta(minutes=30)
    assert overdue.look(shelf.installation) == []
    records.set_states(shelf.installation, shelf.place(), {parse("bk", young): "damaged"})
    (found,) = protection.of_all(shelf.installation)
    assert found.newest is not None
    assert (found.newest.public_id, found.status) == (old, protection.UNPROTECTED)
    assert protection.points(shelf.installation) == {"shop": 1}
    assert overdue.look(shelf.installation) == ["shop"]


def test_to_take_a_restore_back_is_no_restore_time(shelf: Shelf, admin: Browser) -> None:
    shelf.configure(**HOURLY)
    ended(shelf, seconds=90, kind="restore")
    ended(shelf, seconds=300, kind="restore", type=UNDO)
    (found,) = stats.stats(shelf.installation, period=timedelta(days=7), look=False).attained
    assert found.rto_seconds == 90
    restored = activity.current(shelf.installation).restored
    assert restored is not None
    assert restored.duration_seconds == 90
    assert "Last restore (RTO) 1 min 30 s shop , limit 2 min" in words(admin)


def test_the_days_are_those_of_utc_whatever_the_database_s_zone(
    postgres: PostgresServer, tmp_path: Path, hands: Hands
) -> None:
    """At 01:00 UTC it is the day before in New York: every page shows what it shows on SQLite."""
    now = datetime(2026, 11, 23, 1, 0, tzinfo=UTC)
    with fresh_database(postgres, "new_york") as name:
        postgres.query("postgres", f"ALTER DATABASE {name} SET timezone TO 'America/New_York'")
        assert postgres.query(name, "SHOW timezone") == [("America/New_York",)]
        shown = {}
        for kind, settings in (("sqlite", {}), ("postgresql", {"HOLDFAST_DATABASE_URL": postgres.url(name)})):
            home = tmp_path / kind
            (home / "source").mkdir(parents=True)
            environment = {"HOLDFAST_HOME": str(home / "home"), "UPLOAD_DIR": str(home), **settings}
            hands.now = now - timedelta(days=3)
            installation = open_installation(read_settings(environment), clock=hands)
            shelf = Shelf(installation, hands, home / "source")
            shown[kind] = _pages(shelf, now)
            installation.close()
        assert shown["sqlite"] == shown["postgresql"]
        assert "22 Nov 0 0 1 21 Nov" in shown["sqlite"]["/stats"]
        assert "23 Nov 1 0 0 22 Nov" in shown["sqlite"]["/stats"]


def _pages(shelf: Shelf, now: datetime) -> dict[str, str]:
    """What the pages say after a failure at 23:30 and a backup at 00:30."""
    shelf.configure(**HOURLY)
    schedules.refresh(shelf.installation)
    shelf.hands.now = now - timedelta(minutes=90)
    ended(shelf, "failed")
    shelf.backup(now - timedelta(minutes=30))
    shelf.hands.now = now
    browser = person(Site(shelf.installation), "mona", "manager")  # who sees no free space, which changes
    paths = ("/", "/backups", "/backups/shop", "/runs", "/runs?from=2026-11-23", "/stats", "/restore-points")
    found = {path: _PUBLIC.sub("ID", words(browser, path)) for path in paths}
    return {path: said.replace(str(shelf.source.parent), "") for path, said in found.items()}


@pytest.mark.parametrize(
    ("table", "said", "still"),
    [
        ("day_figures", "Backups per day This cannot be told now.", "The backup is protected"),
        ("run_phases", "Running now All runs", "The backup is protected"),
        ("alarms", "It is not known whether everything is protected", "Running now All runs"),
    ],
)
def test_a_part_that_fails_says_so_alone(shelf: Shelf, admin: Browser, table: str, said: str, still: str) -> None:
    shelf.configure(**HOURLY)
    schedules.refresh(shelf.installation)
    shelf.verify(shelf.backup())
    drop(shelf, table)
    page = words(admin)
    assert said in page
    assert still in page
    assert re.search(r"It is in the log as er_\w+ ?\.", page)
    if table == "alarms":
        assert '<span class="vi err">' in admin.get("/").text
        assert "Protected" not in page


def test_the_overview_stays_small_and_asks_little_with_200_configurations(shelf: Shelf, admin: Browser) -> None:
    shelf.configure("first", **HOURLY)
    _copies(shelf, 199)
    schedules.refresh(shelf.installation)
    for number in range(8):
        runs.start(shelf.installation, NewRun("create", "system", config_id=f"copy-{number}"))
        for _ in range(3):
            ended(shelf, config_id=f"copy-{number + 20}")
    with queries(shelf) as asked:
        answer = admin.get("/")
    assert len(asked) <= 12, asked
    assert len(answer.data) < 40_000
    page = words(admin)
    assert "200 of 200 backups are not protected" in page
    assert "The worst 10 of 200" in page
    assert "192 more backups need attention" in page
    assert "2 more wait or are at work" in page
    assert answer.text.count('<tr><th scope="row"><a') == 10


def _copies(shelf: Shelf, count: int) -> None:
    """More configurations, as rows: to store each would take longer than the page."""
    with shelf.installation.database.transaction() as session:
        columns = "name, document, enabled, version, created_at, updated_at"
        for number in range(count):
            session.execute(
                text(f"INSERT INTO configurations (id, {columns}) SELECT :id, {columns} FROM configurations LIMIT 1"),
                {"id": f"copy-{number}"},
            )


def test_the_first_steps_are_shown_until_all_are_done(shelf: Shelf, admin: Browser) -> None:
    page = words(admin)
    assert "Four steps to backups that you can rely on" in page
    assert page.count("To do:") == 4
    shelf.configure(**HOURLY)
    schedules.refresh(shelf.installation)
    shelf.verify(shelf.backup())
    page = words(admin)
    assert "One step is left to backups that you can rely on" in page
    assert "To do: Put the recovery code away" in page
    keyrings.confirm_code(shelf.installation.settings, keys.replace_code(shelf.installation, tell=shelf.told.append))
    assert "backups that you can rely on" not in words(admin)


def test_what_runs_is_a_part_that_changes_only_when_it_does(shelf: Shelf, admin: Browser) -> None:
    shelf.configure()
    assert "Nothing runs just now." in words(admin, "/running")
    run = runs.start(shelf.installation, NewRun("create", "system", config_id="shop", type="full"))
    run_phases.write(shelf.installation, run.id, [Noted("shop_db", 1000, 0, shelf.hands.now)], first=0)
    shelf.hands.now += timedelta(seconds=20)
    runs.beat(shelf.installation, run.id, Counters(1, 500, 100, 0))
    first = admin.get("/running")
    said = words(admin, "/running")
    assert "shop Backup shop_db, started 02:00:00 50 % · 500 B of about 1000 B · 25 B/s · about 20 s left" in said
    again = admin.get("/running", headers={"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304
    runs.finish(shelf.installation, run.id, Outcome("succeeded"))
    assert admin.get("/running", headers={"If-None-Match": first.headers["ETag"]}).status_code == 200
    assert 'data-live="/running" data-every="5000"' in admin.get("/").text


def test_the_statistics_are_those_of_the_api(shelf: Shelf, site: Site, admin: Browser) -> None:
    shelf.configure(**HOURLY)
    shelf.configure("wiki")
    shelf.hands.now -= timedelta(days=9)
    for number in range(9):
        shelf.backup(noise=2000)
        ended(shelf, "failed", config_id="wiki")
        shelf.hands.now += timedelta(days=1)
        if number == 4:
            ended(shelf, seconds=130, kind="restore")
    found = site.api("GET", "stats?since=30d").json
    assert found is not None
    page = words(admin, "/stats")
    assert f"Backups that succeeded {100 * found['runs']['successRate']:.1f} %" in page
    assert "9 of 18 failed" in page
    assert f"Deduplication {found['bytes']['deduplicationRatio']:.1f}×" in page
    assert "A database or folder could not be read 9" in page
    assert "missed: limit 1 h" in page
    assert "2 min 10 s missed: limit 2 min" in page
    rows = list(csv.DictReader(io.StringIO(admin.get("/stats?csv=runs").text)))
    assert len(rows) == 31
    by_day = {day["day"]: day["runs"] for day in found["trend"]}
    for row in rows:
        states = by_day.get(row["day"], {})
        assert float(row["good"]) == states.get("succeeded", 0)
        assert float(row["failed"]) == states.get("failed", 0)
    stored = list(csv.DictReader(io.StringIO(admin.get("/stats?csv=destinations").text)))
    assert float(stored[-1]["backups"]) == found["bytes"]["stored"]
    objectives = list(csv.DictReader(io.StringIO(admin.get("/stats?csv=objectives").text)))
    assert [row["configId"] for row in objectives] == ["shop", "wiki"]


def test_the_statistics_of_a_period_and_of_one_backup(shelf: Shelf, admin: Browser) -> None:
    shelf.configure()
    shelf.configure("wiki")
    shelf.hands.now -= timedelta(days=20)
    ended(shelf, "failed")
    shelf.hands.now += timedelta(days=20)
    ended(shelf)
    ended(shelf, "failed", config_id="wiki")
    assert "2 of 3 failed" in words(admin, "/stats")
    assert "1 of 2 failed" in words(admin, "/stats?period=7d")
    assert "1 of 2 failed" in words(admin, "/stats?backup=shop")
    assert "1 of 1 failed" in words(admin, "/stats?from=2026-11-01&to=2026-11-05")
    assert "2026-11-01 to 2026-11-05" in words(admin, "/stats?from=2026-11-01&to=2026-11-05")
    assert "Month from (UTC)" in words(admin, "/stats?period=365d")
    assert "Week from (UTC)" in words(admin, "/stats?period=90d")
    assert "2 of 3 failed" in words(admin, "/stats?period=365d")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("?period=8d", "Period: must be one of 7d"),
        ("?from=x", "From: must be a day"),
        ("?from=2026-11-24", "From: must lie before"),
        ("?from=20261123", "From: must be a day"),
        ("?from=0001-01-01", "From: must be a day"),
        ("?from=1970-01-01", "From: must lie before"),
        ("?to=1970-01-01&from=1970-01-01", ""),
        ("?backup=nothing", "Backup: There is no configuration nothing."),
        ("?csv=nothing", "There are figures of runs"),
    ],
)
def test_a_period_that_cannot_be_meant_is_told(shelf: Shelf, admin: Browser, query: str, said: str) -> None:
    answer = admin.get(f"/stats{query}")
    assert answer.status_code == (400 if said else 200)
    assert said in html.unescape(re.sub(r"<[^>]+>", "", answer.text))


def test_statistics_without_history_say_so(shelf: Shelf, admin: Browser) -> None:
    page = words(admin, "/stats")
    assert "Trends need 7 days of backups." in page
    assert "Nothing in this period." in page
    shelf.configure()
    shelf.hands.now -= timedelta(days=8)
    shelf.backup()
    shelf.hands.now += timedelta(days=8)
    assert "Trends need" not in words(admin, "/stats")


def test_the_statistics_stay_small_and_ask_little(shelf: Shelf, site: Site) -> None:
    shelf.configure(places=("backups", "offsite"), **HOURLY)
    _copies(shelf, 60)
    shelf.backup()
    _history(shelf, 400)
    for role in ("admin", "manager"):
        browser = person(site, f"some-{role}", role)
        for period in ("30d", "90d", "365d"):
            with queries(shelf) as asked:
                answer = browser.get(f"/stats?period={period}")
            assert answer.status_code == 200
            assert len(asked) <= 12, asked
            assert len(answer.data) < SMALL - 1_500, period  # a stranger's words are longer than ours


def _history(shelf: Shelf, days: int) -> None:
    """Sums of days on which eight configurations were backed up in five ways to two places."""
    rows = []
    for number in range(1, days):
        day = figures.day_of(shelf.hands.now - timedelta(days=number))
        types = {f"{figures.TYPE}{name}": number * 7_654_321 for name in ("full", "incremental", "database", "files")}
        places = {f"{figures.PLACE}{each}": number * 3_456_789 for each in (1, 2)}
        states = {f"{figures.STATE}succeeded": 40, f"{figures.STATE}warning": 2, f"{figures.STATE}failed": number % 3}
        sums = {**states, **types, **places, **dict.fromkeys(figures.TOTALS, number * 30_000_000)}
        took = {f"{seconds}": 5 for seconds in (20, 35, 48, 240)}
        for name in (EVERY, *(f"copy-{each}" for each in range(8))):
            rows.append({"config_id": name, "day": day, "sums": sums, "took": took, "stored": 3_000_000 * number})
            rows[-1] |= {"duration_p50": 35.0, "duration_p95": 240.0}
    with shelf.installation.database.transaction() as session:
        session.execute(insert(DayFigures), rows)
        for month in {row["day"][:7] for row in rows}:
            figures.add_up_month(session, month)


def test_destinations_are_for_those_who_may_read_them(shelf: Shelf, site: Site, admin: Browser) -> None:
    shelf.configure()
    shelf.backup()
    assert "Until a destination is full" in words(admin, "/stats")
    assert "Until a destination is full" not in words(person(site, "mona", "manager"), "/stats")

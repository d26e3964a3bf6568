"""The sums of each day: whatever happens, in whichever order and zone, they are what the rows add up to."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from typing import Any

import pytest
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from sqlalchemy import insert, select, text

from tests.webapp.support import Hands, document
from webapp.database import open_database
from webapp.installation import Installation, open_installation
from webapp.migrations.upgrade import scripts
from webapp.models import Backup, BackupCopy, DayFigures, MonthFigures, Run
from webapp.services import configurations, destinations, figures, records, runs, stats, tick, trends
from webapp.services.repositories import silent
from webapp.services.runs import NewRun, Outcome
from webapp.settings import read_settings

NAMES = ("shop", "wiki")
STATES = ("succeeded", "succeeded", "warning", "failed", "interrupted", "cancelled")
EXTREMES = ("longest_gap", "last_end", "slowest_restore")
SUMMED = ("took", "stored", *EXTREMES)
JSON = ("sums", "took")
SIZES = ("bytes_total", "bytes_stored")
ZONES = (UTC, timezone(timedelta(hours=13)), timezone(-timedelta(hours=9, minutes=30)))


@pytest.fixture
def house(either_home: dict[str, str], hands: Hands) -> Iterator[Installation]:
    installation = open_installation(read_settings(either_home), clock=hands)
    for name in NAMES:
        configurations.store(installation, document(id=name))
    for name in ("near", "far"):
        destinations.add(installation, name, "local", {"path": f"./{name}"}, tell=silent)
    yield installation
    installation.close()


def history(installation: Installation, hands: Hands, dice: random.Random, number: int) -> None:
    """Runs of all kinds over some days, across midnights; restore points of which copies are missed, and come later."""
    places = [1, 2]
    for count in range(number):
        hands.now = (hands.now + timedelta(minutes=dice.randrange(30, 900))).astimezone(dice.choice(ZONES))
        name, state = dice.choice(NAMES), dice.choice(STATES)
        kind = dice.choice(("create", "create", "create", "restore", "verify"))
        undo = "undo" if kind == "restore" and dice.random() < 0.3 else "full"
        run = runs.start(installation, NewRun(kind, "local:test", config_id=name, type=undo))
        hands.now += timedelta(seconds=dice.choice((0.2, 7, 95, 4000, 40_000)))
        if kind == "create" and state in figures.GOOD:
            point(installation, hands, run, count, {place: dice.choice(("present", "missed")) for place in places})
        runs.finish(installation, run.id, Outcome(state, cause=dice.choice((None, "SourceError"))))


def point(installation: Installation, hands: Hands, run: Run, number: int, copies: dict[int, str]) -> None:
    stored = number % 3 and 100 + number  # nothing of every third was new
    totals = {"bytes": 5000 + number, "bytesRead": 400, "bytesNew": 3 * stored, "bytesStored": stored}
    with installation.database.transaction() as session:
        made = Backup(
            public_id=f"bk_{number}",
            config_id=run.config_id,
            run_id=run.id,
            sequence=number,
            manifest_hash="",
            type=("full", "files")[number % 2],
            started_at=hands.now,
            finished_at=hands.now,
            totals=totals,
            program="test",
            host="here",
        )
        session.add(made)
        session.flush()
        session.add_all(
            BackupCopy(backup_id=made.id, destination_id=place, state=state) for place, state in copies.items()
        )
        session.flush()
        figures.recount(session, run.config_id, hands.now)


def added_up(installation: Installation, config_id: str | None) -> dict[str, Counter[str]]:
    """By day, from the rows themselves, in the plainest way."""
    days: dict[str, Counter[str]] = {}
    with installation.database.reading() as session:
        for run in session.scalars(select(Run).where(Run.kind == "create")):
            if config_id in (None, run.config_id):
                sums = days.setdefault(run.created_at.astimezone(UTC).date().isoformat(), Counter())
                sums[f"state:{run.state}"] += 1
                if run.state in ("failed", "interrupted"):
                    sums[f"cause:{run.cause or 'unknown'}"] += 1
                if run.state in figures.GOOD:
                    assert run.duration_seconds is not None
                    sums[f"{run.duration_seconds:.2g} s"] += 1
        for backup in session.scalars(select(Backup)):
            if config_id in (None, backup.config_id):
                sums = days.setdefault(backup.finished_at.astimezone(UTC).date().isoformat(), Counter())
                sums.update({"backups": 1, **{name: backup.totals[name] for name in figures.TOTALS}})
                sums[f"type:{backup.type}"] += backup.totals["bytesStored"]
                query = select(BackupCopy).where(BackupCopy.backup_id == backup.id, BackupCopy.state != "missed")
                for copy in session.scalars(query):
                    sums[f"place:{copy.destination_id}"] += backup.totals["bytesStored"]
    return days


def kept(installation: Installation) -> list[dict[str, Any]]:
    names = ("config_id", "day", "sums", "duration_p50", "duration_p95", *SUMMED)
    with installation.database.reading() as session:
        rows = session.scalars(select(DayFigures).order_by(DayFigures.config_id, DayFigures.day))
        return [{name: getattr(row, name) for name in names} for row in rows]


def months(installation: Installation) -> dict[tuple[str, str], Any]:
    with installation.database.reading() as session:
        rows = session.scalars(select(MonthFigures))
        return {(row.config_id, row.month): {name: getattr(row, name) for name in SUMMED} for row in rows}


def months_of(days: list[dict[str, Any]]) -> dict[tuple[str, str], Any]:
    """The same, from rows of days."""
    found: dict[tuple[str, str], Any] = {}
    for day in days:
        month = found.setdefault(
            (day["config_id"], day["day"][:7]), {"took": {}, "stored": 0, **dict.fromkeys(EXTREMES)}
        )
        month["took"] = dict(Counter(month["took"]) + Counter(day["took"]))
        month["stored"] += day["stored"]
        for name in EXTREMES:
            month[name] = max((each for each in (month[name], day[name]) if each is not None), default=None)
    return found


def by_day(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    days: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        days.setdefault(row["day"], []).append(row)
    return days


def have_their_sizes(installation: Installation) -> int:
    """How many restore points there are. Fails unless their sizes stand beside their totals too."""
    with installation.database.reading() as session:
        found = list(session.scalars(select(Backup)))
    for made in found:
        assert [getattr(made, name) for name in SIZES] == [made.totals["bytes"], made.totals["bytesStored"]]
    return len(found)


def sums_of(installation: Installation, config_id: str) -> dict[str, Counter[str]]:
    """Both kinds in one, days of restores alone left out."""
    rows = [row for row in kept(installation) if row["config_id"] == config_id and row["sums"]]
    return {
        row["day"]: Counter(row["sums"] | {f"{name} s": count for name, count in row["took"].items()}) for row in rows
    }


def extremes(installation: Installation, config_id: str) -> tuple[float | None, float | None]:
    """The longest gap and the slowest restore, from the rows themselves."""
    with installation.database.reading() as session:
        found = list(session.scalars(select(Run).where(Run.config_id == config_id, Run.state.in_(figures.GOOD))))
    ends = sorted(run.finished_at for run in found if run.kind == "create" and run.finished_at is not None)
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(ends)]
    restores = [run.duration_seconds or 0.0 for run in found if run.kind == "restore" and run.type != "undo"]
    return max(gaps, default=None), max(restores, default=None)


@pytest.mark.parametrize("number", [1, 40])
def test_the_sums_are_what_the_rows_add_up_to(house: Installation, hands: Hands, seed: int, number: int) -> None:
    dice = random.Random(seed)
    history(house, hands, dice, number)
    for config_id, name in ((None, ""), ("shop", "shop"), ("wiki", "wiki")):
        assert sums_of(house, name) == added_up(house, config_id)
    found = trends.trend(house, hands.now - timedelta(days=90)).extremes
    for name in found:
        longest, slowest = extremes(house, name)
        assert (found[name].longest_gap, found[name].slowest_restore) == (
            None if longest is None else pytest.approx(longest, abs=0.01),
            None if slowest is None else pytest.approx(slowest, abs=0.01),
        )
    before = kept(house)
    assert months(house) == months_of(before)
    hands.now += timedelta(days=2)
    assert [figures.check_ended(house) for _ in range(100)] == [[]] * 100
    assert kept(house) == before
    assert months(house) == months_of(before)
    with house.database.transaction() as session:
        figures.rebuild(session)
    assert kept(house) == before
    assert months(house) == months_of(before)


@pytest.mark.parametrize(
    ("first", "last"),
    [
        ("2026-01-01", "2026-12-31"),
        ("2026-01-31", "2026-04-01"),
        ("2026-02-28", "2026-03-31"),
        ("2026-05-07", "2026-05-09"),
    ],
)
def test_months_and_days_together_are_the_days(house: Installation, seed: int, first: str, last: str) -> None:
    """Whole months of a period are read as such: extremes and durations must be those of its days, and no more, and the
    largest ten configurations those that stored most in it."""
    dice = random.Random(seed)
    days = [datetime(2025, 12, 1, tzinfo=UTC) + timedelta(days=number) for number in range(420)]
    many = [f"site-{number:02}" for number in range(12)]
    rows = [
        {
            "config_id": name,
            "day": figures.day_of(day),
            "sums": {"backups": 1},
            "took": {f"{dice.randrange(1, 90)}": dice.randrange(1, 4), "100": 1},
            "stored": dice.randrange(1000),
            **{column: dice.choice((None, dice.randrange(10_000) / 8)) for column in EXTREMES},
        }
        for name in ("", *many)
        for day in days
    ]
    with house.database.transaction() as session:
        session.execute(insert(DayFigures), rows)
        for month in {row["day"][:7] for row in rows}:
            figures.add_up_month(session, month)
    since, until = figures.start_of(first), figures.start_of(last)
    inside = [row for row in rows if first <= row["day"] <= last]
    stored = {name: sum(row["stored"] for row in inside if row["config_id"] == name) for name in many}
    largest = sorted(many, key=lambda name: (-stored[name], name))[: trends.TOP]
    for config_id in (None, many[3]):
        found = trends.trend(house, since, until=until, config_id=config_id)
        took = figures.together(row["took"] for row in inside if row["config_id"] == (config_id or ""))
        assert [found.duration_p50, found.duration_p95] == figures.durations(took)
        for name in found.extremes:
            values = [[row[column] or -1 for row in inside if row["config_id"] == name] for column in EXTREMES]
            assert [value or -1 for value in vars(found.extremes[name]).values()] == [max(each) for each in values]
        assert set(found.extremes) == (set(many) if config_id is None else {config_id})
        shown = largest if config_id is None else [config_id]
        assert {day.day: day.by_config for day in found.days} == {
            day: {row["config_id"]: row["stored"] for row in rows if row["config_id"] in shown and row["stored"]}
            for day, rows in by_day(inside).items()
        }


def test_a_copy_that_came_later_counts_from_then_on(house: Installation, hands: Hands) -> None:
    run = runs.start(house, NewRun("create", "local:test", config_id="shop"))
    with house.database.transaction() as session:
        session.add(
            Backup(
                public_id=records.public_id(bytes(16)),
                config_id="shop",
                sequence=1,
                manifest_hash="",
                type="full",
                started_at=hands.now,
                finished_at=hands.now,
                totals={"bytes": 9, "bytesRead": 9, "bytesNew": 9, "bytesStored": 7},
                program="test",
                host="here",
                copies=[BackupCopy(destination_id=1, state="present"), BackupCopy(destination_id=2, state="missed")],
            )
        )
    runs.finish(house, run.id, Outcome("warning"))
    assert trends.grown(house, hands.now) == {1: 7}
    (far,) = [each for each in stats.stats(house, period=timedelta(days=1)).storage if each.place.destination.id == 2]
    records.set_states(house, far.place.destination, {bytes(16): "present"})
    assert trends.grown(house, hands.now) == {1: 7, 2: 7}


def test_what_is_wrong_is_put_right_once_the_day_has_ended(house: Installation, hands: Hands) -> None:
    for name in NAMES:
        for kind in ("create", "create", "restore"):
            run = runs.start(house, NewRun(kind, "local:test", config_id=name))
            hands.now += timedelta(seconds=90)
            runs.finish(house, run.id, Outcome("succeeded"))
    right, right_months = kept(house), months(house)
    keys = {DayFigures: "2026-11-23", MonthFigures: "2026-11"}
    columns = [(DayFigures, column) for column in ("sums", "duration_p50", "duration_p95", *SUMMED)]
    for table, column in (*columns, *((MonthFigures, column) for column in SUMMED)):
        for name in ("", "wiki"):
            with house.database.transaction() as session:
                session.get_one(DayFigures, ("", "2026-11-23")).checked = False
                setattr(session.get_one(table, (name, keys[table])), column, {"7": 7} if column in JSON else 7)
            hands.now = datetime(2026, 11, 23, 23, tzinfo=UTC)
            assert figures.check_ended(house) == []
            hands.now += timedelta(days=1)
            assert figures.check_ended(house) == ([name] if name else []), (table, column)
            assert (kept(house), months(house)) == (right, right_months), (table, column, name)
            assert figures.check_ended(house) == []


def test_a_tick_tells_whose_figures_were_wrong(house: Installation, hands: Hands) -> None:
    run = runs.start(house, NewRun("create", "local:test", config_id="wiki"))
    runs.finish(house, run.id, Outcome("succeeded"))
    with house.database.transaction() as session:
        session.get_one(DayFigures, ("wiki", "2026-11-23")).sums = {}
    assert tick.tick(house).recounted == ()
    hands.now += timedelta(days=1)
    assert tick.tick(house).recounted == ("wiki",)
    assert tick.tick(house).recounted == ()


def test_an_upgrade_adds_up_what_is_there(house: Installation, hands: Hands, seed: int) -> None:
    history(house, hands, random.Random(seed), 12)
    days, before = kept(house), months(house)
    directory = scripts()
    down = EnvironmentContext(Config(), directory, fn=lambda at, _: directory._downgrade_revs("0008", at))
    with house.database.engine.begin() as connection, down:
        down.configure(connection=connection)
        down.run_migrations()
    open_database(house.settings.database_url).close()
    assert (kept(house), months(house)) == (days, before)
    assert have_their_sizes(house)


def test_a_point_that_an_older_process_puts_down_has_its_sizes_too(house: Installation, hands: Hands) -> None:
    """While an upgrade rolls on, the version before still writes, and knows nothing of these columns."""
    run = runs.start(house, NewRun("create", "local:test", config_id="shop"))
    point(house, hands, run, 4, {1: "present"})
    names = ", ".join(
        column.name for column in Backup.__table__.columns if column.name not in ("id", "public_id", *SIZES)
    )
    with house.database.transaction() as session:
        session.execute(text(f"INSERT INTO backups (public_id, {names}) SELECT 'bk_old', {names} FROM backups"))
    assert have_their_sizes(house) == 2


def test_a_run_counts_on_the_day_on_which_it_was_asked_for(house: Installation, hands: Hands) -> None:
    hands.now = datetime(2026, 11, 23, 23, 59, tzinfo=UTC)
    run = runs.start(house, NewRun("create", "local:test", config_id="shop"))
    (day,) = stats.stats(house, period=timedelta(days=1), look=False).days
    assert (day.day, day.runs, day.duration_p50) == ("2026-11-23", {"running": 1}, None)
    hands.now += timedelta(minutes=21, seconds=34)
    runs.finish(house, run.id, Outcome("succeeded"))
    (day,) = stats.stats(house, period=timedelta(days=1), look=False).days
    assert (day.day, day.runs, day.duration_p50) == ("2026-11-23", {"succeeded": 1}, 1300)


def test_a_period_that_has_ended(house: Installation, hands: Hands) -> None:
    for _ in range(3):
        run = runs.start(house, NewRun("create", "local:test", config_id="shop"))
        runs.finish(house, run.id, Outcome("succeeded"))
        hands.now += timedelta(days=1)
    until = hands.now - timedelta(days=2)
    found = stats.stats(house, period=timedelta(days=1), until=until, config_id="shop")
    assert [day.day for day in found.days] == ["2026-11-23", "2026-11-24"]
    assert found.attained[0].rpo_seconds == 24 * 3600

"""The pages of the dashboard: what they say is so, for each role, also when something is wrong."""

from __future__ import annotations

import html
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import event

from engine.ids import parse
from engine.progress import Silent
from tests.webapp.shelf import Shelf
from tests.webapp.site import Browser, Site, person
from webapp.models import Alarm
from webapp.services import backups, records, runs, schedules
from webapp.services.runs import NewRun, Outcome

STATIC = Path(__file__).parents[2] / "static"
HOURLY = {"schedule": "0 * * * *", "objectives": {"rpoMinutes": 60}}


def words(browser: Browser, path: str = "/") -> str:
    """What a page says, without its marks."""
    answer = browser.get(path)
    assert answer.status_code == 200, answer.text
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", answer.text)).split())


def verdict(browser: Browser) -> str:
    found = re.search(r'<h2 id="verdict">(.*?)</h2>', browser.get("/").text, re.DOTALL)
    assert found
    return found[1].strip()


def test_without_a_configuration_nothing_is_protected(admin: Browser) -> None:
    assert verdict(admin) == "Nothing is protected yet"
    assert "No backup is configured yet." in words(admin)


def test_protected_is_only_what_is_there_and_was_checked(shelf: Shelf, admin: Browser) -> None:
    shelf.configure(**HOURLY)
    schedules.refresh(shelf.installation)
    assert verdict(admin) == "1 of 1 backup is not protected"
    assert "It has no restore point." in words(admin)
    point = shelf.backup()
    assert "1 of 1 needs attention" in verdict(admin)
    assert "No restore point of it was ever checked." in words(admin)
    shelf.verify(point)
    assert verdict(admin) == "The backup is protected"
    shelf.hands.now += timedelta(minutes=61)
    assert verdict(admin) == "1 of 1 backup is not protected"
    assert "Its newest restore point is too old." in words(admin)


def test_a_check_is_too_old_after_a_month(shelf: Shelf, site: Site) -> None:
    shelf.configure(schedule="0 * * * *")
    schedules.refresh(shelf.installation)
    shelf.verify(shelf.backup())
    shelf.hands.now += timedelta(days=31)
    shelf.backup()
    assert "No restore point of it was checked for 31 days." in words(person(site))


def test_a_run_that_failed_is_told_though_the_point_is_young(shelf: Shelf, admin: Browser) -> None:
    shelf.configure(**HOURLY)
    schedules.refresh(shelf.installation)
    shelf.verify(shelf.backup())
    run = runs.start(shelf.installation, NewRun("create", "system", config_id="shop"))
    runs.finish(shelf.installation, run.id, Outcome("failed", error="The disk is <full>."))
    text = admin.get("/").text
    assert "1 of 1 needs attention" in verdict(admin)
    assert "The disk is &lt;full&gt;." in text
    assert "<full>" not in text
    assert "The disk is <full>." in words(admin, f"/runs/{run.public_id}")


def test_a_copy_that_is_gone_puts_at_risk(shelf: Shelf, admin: Browser) -> None:
    shelf.configure(**HOURLY)
    schedules.refresh(shelf.installation)
    point = shelf.backup()
    shelf.verify(point)
    with shelf.installation.database.transaction() as session:
        now = shelf.hands.now
        session.add(
            Alarm(
                destination_id=shelf.place().id, kind="deleted", object="x", reason="gone", backup=point, found_at=now
            )
        )
    assert "not by a clean-up" in words(admin)
    assert "1 of 1 needs attention" in verdict(admin)


def test_paused_and_resumed(shelf: Shelf, admin: Browser) -> None:
    shelf.configure(**HOURLY)
    schedules.refresh(shelf.installation)
    assert admin.submit("/backups/shop/pause", form="/backups/shop").status_code == 302
    assert "It is paused." in words(admin)
    admin.submit("/backups/shop/resume", form="/backups/shop")
    assert "It is paused." not in words(admin)


def test_a_scheduler_that_stands_still_is_told_on_every_page(shelf: Shelf, admin: Browser) -> None:
    shelf.configure(**HOURLY)
    schedules.refresh(shelf.installation)
    assert "The scheduler did not start" not in words(admin, "/runs")
    shelf.hands.now += timedelta(hours=2)
    for path in ("/", "/backups", "/runs", "/restore-points", "/account"):
        assert "The scheduler did not start what was due at 2026-11-23 03:00 UTC." in words(admin, path)


def test_a_manager_sees_all_and_changes_nothing(shelf: Shelf, site: Site) -> None:
    shelf.configure(**HOURLY)
    schedules.refresh(shelf.installation)
    point, manager = shelf.backup(), person(site, "mona", "manager")
    for path in ("/", "/backups", "/backups/shop", "/runs", "/restore-points", f"/restore-points/{point}"):
        text = manager.get(path).text
        assert "Run now" not in text
        assert "Check it now" not in text
        assert '/pause"' not in text
    for path in ("/backups/shop/run", "/backups/shop/pause", f"/restore-points/{point}/verify"):
        refused = manager.submit(path, form="/")
        assert refused.status_code == 403
        assert "The role admin is needed" in refused.text


def test_run_and_check_from_the_page(shelf: Shelf, admin: Browser) -> None:
    shelf.configure()
    point = shelf.backup()
    started = admin.submit("/backups/shop/run", form="/")
    run = runs.find(shelf.installation, started.location.rsplit("/", 1)[1])
    assert (run.kind, run.config_id, run.state, run.identity) == ("create", "shop", "queued", "user:maria")
    again = admin.submit("/backups/shop/run", form="/")
    assert again.location == started.location  # the one that is at work is shown
    checked = admin.submit(f"/restore-points/{point}/verify", form="/")
    run = runs.find(shelf.installation, checked.location.rsplit("/", 1)[1])
    assert (run.kind, run.backup_id) == ("verify", point)


def test_the_live_part_changes_only_when_the_run_does_and_stops_with_it(shelf: Shelf, admin: Browser) -> None:
    shelf.configure()
    run = runs.start(shelf.installation, NewRun("create", "system", config_id="shop"))
    address = f"/runs/{run.public_id}/live"
    first = admin.get(address)
    assert first.status_code == 200
    assert "Running" in first.text
    assert admin.get(address, headers={"If-None-Match": first.headers["ETag"]}).status_code == 304
    runs.finish(shelf.installation, run.id, Outcome("succeeded"))
    assert admin.get(address, headers={"If-None-Match": first.headers["ETag"]}).status_code == 286


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/runs?status=lost", 400, "There is no such list of runs."),
        ("/runs?before=-1", 400, "Begin at the first page."),
        (f"/restore-points?before={'9' * 30}", 400, "Begin at the first page."),
        ("/runs?backup=nothing", 400, "There is no configuration nothing."),
        ("/runs/run_nothing", 404, "There is no run run_nothing."),
        ("/backups/nothing", 404, "There is no configuration nothing."),
        ("/restore-points/bk_nothing", 404, "There is no restore point bk_nothing."),
    ],
)
def test_what_is_not_there_is_told_in_a_sentence(admin: Browser, path: str, status: int, said: str) -> None:
    answer = admin.get(path)
    assert answer.status_code == status
    assert said in html.unescape(answer.text)


def test_names_of_people_are_text(shelf: Shelf, admin: Browser) -> None:
    shelf.configure(name="<script>alert(1)</script>")
    shelf.backup()
    for path in ("/", "/backups", "/backups/shop"):
        assert "<script>alert" not in admin.get(path).text


def test_pages_stay_small_and_ask_little(shelf: Shelf, admin: Browser) -> None:
    for number in range(30):
        shelf.configure(f"shop-{number}", **HOURLY)
    schedules.refresh(shelf.installation)
    for number in range(3):
        shelf.backup(config_id=f"shop-{number}")
    for path in ("/", "/backups", "/runs", "/restore-points", "/backups/shop-1"):
        asked = list(_queries(shelf, admin, path))
        assert len(asked) <= 12, (path, asked)
    assert len(admin.get("/").data) < 40_000
    assert (STATIC / "app.css").stat().st_size < 30_000
    assert (STATIC / "app.js").stat().st_size < 10_000


def _queries(shelf: Shelf, browser: Browser, path: str) -> Iterator[str]:
    found: list[str] = []

    def note(*arguments: object) -> None:
        if str(arguments[2]).startswith("SELECT"):
            found.append(str(arguments[2]))

    engine = shelf.installation.database.engine
    event.listen(engine, "before_cursor_execute", note)
    assert browser.get(path).status_code == 200
    event.remove(engine, "before_cursor_execute", note)
    return iter(found)


def test_a_run_that_left_something_out_is_told(shelf: Shelf, admin: Browser) -> None:
    shelf.configure(**HOURLY)
    schedules.refresh(shelf.installation)
    shelf.verify(shelf.backup())
    run = runs.start(shelf.installation, NewRun("create", "system", config_id="shop"))
    runs.finish(shelf.installation, run.id, Outcome("warning"))
    assert "Its last run left something out." in words(admin)
    later = runs.start(shelf.installation, NewRun("create", "system", config_id="shop"))
    runs.finish(shelf.installation, later.id, Outcome("cancelled"))
    assert "Its last run left something out." in words(admin)


def test_a_copy_that_is_damaged_is_told_whichever_point_it_is_of(shelf: Shelf, admin: Browser) -> None:
    shelf.configure(**HOURLY)
    schedules.refresh(shelf.installation)
    old, new = shelf.backup(), shelf.backup()
    shelf.verify(new)
    assert verdict(admin) == "The backup is protected"
    records.set_states(shelf.installation, shelf.place(), {parse("bk", old): "damaged"})
    assert "Copies of its restore points are damaged or lost." in words(admin)
    assert "Damaged" in words(admin, f"/restore-points/{old}")


def test_what_holds_only_a_part_does_not_count(shelf: Shelf, admin: Browser, tmp_path: Path) -> None:
    database = tmp_path / "some.db"
    with closing(sqlite3.connect(database)) as made:
        made.execute("CREATE TABLE t (n)")
    sources = {"paths": [{"path": str(shelf.source)}], "databases": [{"url": f"sqlite:///{database}"}]}
    shelf.configure(type="full", sources=sources, **HOURLY)
    schedules.refresh(shelf.installation)
    order = backups.Order("shop", "local:test", as_type="database")
    backups.create(shelf.installation, order, cwd=tmp_path, progress=Silent(), tell=shelf.told.append)
    assert "It has no restore point." in words(admin)

"""The pages of configurations: the list, and one of them."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

from sqlalchemy import event

from tests.webapp.forms import page, words
from tests.webapp.reading import at_odds
from tests.webapp.shelf import Shelf
from tests.webapp.site import Browser, Site, person
from webapp.services import schedules

NIGHTLY = {"schedule": "0 2 * * *", "objectives": {"rpoMinutes": 1500}}


def many(shelf: Shelf) -> None:
    for number in range(53):
        shelf.configure(f"shop-{number:02}", name=f"Shop {number:02}", **NIGHTLY)
    schedules.refresh(shelf.installation)


def test_without_any_there_is_one_button(site: Site, admin: Browser) -> None:
    text = page(admin, "/backups")
    assert "No backups yet" in text
    assert 'href="/backups/new"' in text
    assert "backup-cli config import FILE" in text
    assert 'href="/backups/new"' not in page(person(site, "mona", "manager"), "/backups")


def test_the_list_is_filtered_searched_and_sorted_by_its_address(shelf: Shelf, admin: Browser) -> None:
    shelf.configure("wiki", name="Wiki", **NIGHTLY)
    shelf.configure("shop", name="Shop", **NIGHTLY)
    schedules.refresh(shelf.installation)
    schedules.pause(shelf.installation, "wiki")
    shelf.verify(shelf.backup())
    assert "Paused 1" in words(page(admin, "/backups"))
    paused = page(admin, "/backups?show=paused")
    assert "Wiki" in paused
    assert ">Shop<" not in paused
    assert ">Wiki<" not in page(admin, "/backups?q=SHO")
    assert "No backup matches" in page(admin, "/backups?q=nothing")
    down = page(admin, "/backups?sort=-name")
    assert 'aria-sort="descending"' in down
    assert down.index(">Wiki<") < down.index(">Shop<")
    assert "No backup matches" in page(admin, "/backups?show=risk&q=shop")


def test_rows_say_in_words_when_it_runs(shelf: Shelf, admin: Browser) -> None:
    shelf.configure("wiki", **NIGHTLY)
    shelf.configure("shop", **NIGHTLY, timezone="Europe/Zagreb")
    for path in ("/backups", "/"):
        text = page(admin, path)
        assert 'title="0 2 * * *">At 02:00 every day</span>' in text, path
        assert 'title="0 2 * * *">At 02:00 every day, Europe/Zagreb</span>' in text, path


def test_an_address_that_makes_no_sense_is_refused(shelf: Shelf, admin: Browser) -> None:
    shelf.configure()
    for query in ("show=nothing", "sort=size", "page=0", "page=9", "page=x", f"page={'9' * 40}"):
        assert admin.get(f"/backups?{query}").status_code == 400, query


def test_many_are_on_pages_that_stay_small(shelf: Shelf, admin: Browser) -> None:
    many(shelf)
    first, last = page(admin, "/backups"), page(admin, "/backups?page=3")
    assert "1–20 of 53" in first
    assert "41–53 of 53" in last


def test_pages_ask_little_and_stay_small(shelf: Shelf, admin: Browser) -> None:
    many(shelf)
    for _ in range(3):
        shelf.backup(config_id="shop-01")
    for path in ("/backups", "/backups/shop-01", "/backups/shop-01/edit", "/backups/new"):
        asked: list[str] = []

        def note(*arguments: Any, found: list[str] = asked) -> None:
            found.append(str(arguments[2]))

        engine = shelf.installation.database.engine
        event.listen(engine, "before_cursor_execute", note)
        answer = admin.get(path)
        event.remove(engine, "before_cursor_execute", note)
        selects = [re.sub(r"(?s).*FROM", "FROM", each)[:160] for each in asked if each.startswith("SELECT")]
        assert len(selects) <= 12, selects
        assert answer.status_code == 200
        assert len(answer.data) < 40_000


def test_one_says_what_would_be_lost_and_when_it_runs_next(shelf: Shelf, admin: Browser) -> None:
    shelf.configure(**NIGHTLY, timezone="Europe/Zagreb", retention={"daily": 7, "weekly": 1})
    schedules.refresh(shelf.installation)
    fresh = page(admin, "/backups/shop")
    assert at_odds(fresh) == []
    said = words(fresh)
    assert "all of it" in said
    assert "Deleting stops its runs. It can be undone." in said
    assert "First run" in said
    shelf.verify(shelf.backup())
    shelf.hands.now += timedelta(hours=3)
    said = words(page(admin, "/backups/shop"))
    assert "3 h, limit 25 h" in said
    assert "At 02:00 every day" in said
    assert "Tue 24 Nov 2026, 02:00 CET (01:00 UTC)" in said
    assert "the last 7 days and week; never fewer than 3 good ones." in said


def test_pause_is_undone_from_the_message(shelf: Shelf, admin: Browser) -> None:
    shelf.configure(**NIGHTLY)
    schedules.refresh(shelf.installation)
    admin.submit("/backups/shop/pause", form="/backups/shop")
    text = page(admin, "/backups/shop")
    assert 'action="/backups/shop/resume"' in text[: text.index("<h1")]
    admin.submit("/backups/shop/resume", form="/backups/shop")
    assert "It is paused." not in page(admin, "/backups/shop")


def test_deleted_it_can_be_brought_back_with_its_restore_points(shelf: Shelf, admin: Browser) -> None:
    shelf.configure(**NIGHTLY)
    shelf.backup()
    admin.submit("/backups/shop/delete", form="/backups/shop")
    text = page(admin, "/backups")
    assert "Its restore point stays." in text
    assert admin.get("/backups/shop").status_code == 404
    admin.submit("/backups/shop/undelete", form="/backups")
    assert "At 02:00 every day" in page(admin, "/backups/shop")
    assert admin.submit("/backups/nothing/undelete", form="/backups").status_code == 404


def test_an_export_holds_no_secret(shelf: Shelf, admin: Browser) -> None:
    shelf.configure(notifications={"onFailure": ["slack://very-secret"]})
    answer = admin.get("/backups/shop/export")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="shop.json"'
    assert json.loads(answer.data)["id"] == "shop"
    assert b"very-secret" not in answer.data


def test_a_manager_reads_and_changes_nothing(shelf: Shelf, site: Site) -> None:
    shelf.configure(places=["hidden-place"], **NIGHTLY)
    schedules.refresh(shelf.installation)
    manager = person(site, "mona", "manager")
    text = page(manager, "/backups/shop")
    for word in ("Change", "Pause", "Delete", "Export", "hidden-place", "Test<"):
        assert word not in text
    for path in ("edit", "test", "retention", "export"):
        refused = manager.get(f"/backups/shop/{path}")
        assert refused.status_code == 403
        assert "The role admin is needed" in refused.text
    for path in ("/backups/shop/delete", "/backups/shop/undelete", "/backups/new", "/backups/new/preview"):
        assert manager.submit(path, form="/").status_code == 403

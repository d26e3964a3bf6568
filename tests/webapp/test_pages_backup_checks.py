"""The test of a configuration and the preview of its retention, as pages."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from tests.webapp.forms import page, send, stored, words
from tests.webapp.shelf import Shelf
from tests.webapp.site import Browser
from webapp.models.run import QUEUED
from webapp.services import configurations, pins, runs

DAILY = {"retention": {"daily": 3, "keepMin": 1}}


def test_each_step_is_told_with_its_time(shelf: Shelf, admin: Browser, tmp_path: Path) -> None:
    database = tmp_path / "some.db"
    with closing(sqlite3.connect(database)) as made:
        made.execute("CREATE TABLE t (n)")
    sources = {"paths": [{"path": str(shelf.source)}], "databases": [{"url": f"sqlite:///{database}"}]}
    shelf.configure(type="full", sources=sources)
    assert "Test now" in page(admin, "/backups/shop/test")
    fresh = admin.submit("/backups/shop/test")
    assert "the first backup makes it" in fresh.text
    shelf.backup()
    said = words(admin.submit("/backups/shop/test").text)
    assert "A run would work: 3 of 3 answered." in said
    for step in ("Read", "Version", "Connect", "Free space", "Repository", "Write", "Read back", "Delete"):
        assert re.search(rf"\b{step}\b", said), step
    assert re.search(r"\d+ ms", said)


def test_a_step_that_fails_says_why_and_what_to_do(shelf: Shelf, admin: Browser) -> None:
    shelf.configure(sources={"paths": [{"path": f"{shelf.source}/<gone>"}]})
    answer = admin.submit("/backups/shop/test")
    said = words(answer.text)
    assert "A run would not work as it is now: 1 of 2 cannot be used." in said
    assert "<gone>" not in answer.text
    assert "Failed" in said


def test_what_cannot_be_tried_is_told(shelf: Shelf, admin: Browser) -> None:
    shelf.configure(sources={"paths": [{"path": "${NOT_SET_ANYWHERE}"}]})
    answer = admin.submit("/backups/shop/test")
    assert answer.status_code == 422
    assert "NOT_SET_ANYWHERE" in answer.text
    assert 'href="/backups/shop/edit"' in answer.text


def test_the_retention_says_what_goes_and_why_the_rest_stays(shelf: Shelf, admin: Browser) -> None:
    shelf.configure(**DAILY)
    points = shelf.series(5)
    shelf.verify(points[0])
    said = words(page(admin, "/backups/shop/retention"))
    assert "1 restore point would go" in said
    assert "daily 3" in said
    assert "the last verified restore point" in said
    assert "no rule keeps it" in said
    assert "Move 1 restore point to the trash" in said


def test_nothing_to_delete_and_nothing_there(shelf: Shelf, admin: Browser) -> None:
    shelf.configure(**DAILY)
    assert "It was never backed up" in words(page(admin, "/backups/shop/retention"))
    shelf.backup()
    said = words(page(admin, "/backups/shop/retention"))
    assert "Nothing would be deleted" in said
    assert "to the trash" not in said


def test_other_numbers_are_tried_without_storing_them(shelf: Shelf, admin: Browser) -> None:
    shelf.configure(**DAILY)
    shelf.series(5)
    text = page(admin, "/backups/shop/retention?daily=1&keepMin=1")
    assert "4 restore points would go" in words(text)
    assert "to the trash" not in words(text)
    assert stored(shelf)["retention"] == DAILY["retention"]
    form = text[text.index('action="/backups/shop/edit"') :]
    review = send(admin, "/backups/shop/edit", f"<main{form}", do="review")
    assert "retention / daily 3 1" in words(review.text)
    send(admin, "/backups/shop/edit", review.text, do="save")
    assert stored(shelf)["retention"] == {"daily": 1, "keepMin": 1}


def test_numbers_that_are_none_are_refused(shelf: Shelf, admin: Browser) -> None:
    shelf.configure(**DAILY)
    shelf.backup()
    for query, said in (("daily=-1", "whole number"), ("daily=x", "whole number"), ("keepMin=3", "keeps nothing")):
        answer = admin.get(f"/backups/shop/retention?{query}")
        assert answer.status_code == 422
        assert said in words(answer.text)


def test_much_at_once_needs_the_number_typed(shelf: Shelf, admin: Browser) -> None:
    shelf.configure(retention={"daily": 1, "keepMin": 1})
    shelf.series(5)
    address = "/backups/shop/retention"
    assert "This would remove 4 of 5 restore points." in words(page(admin, address))
    for typed in ("", "5", "four"):
        refused = admin.submit(address, count=typed)
        assert refused.status_code == 422
        assert "Type 4, the number of restore points" in refused.text
    asked = admin.submit(address, count="4")
    run = runs.find(shelf.installation, asked.location.rsplit("/", 1)[1])
    assert (run.kind, run.state, run.config_id) == ("cleanup", QUEUED, "shop")
    assert run.arguments["confirmed"] == ["shop"]
    assert len(run.arguments["going"]["shop"]) == 4


def test_what_is_pinned_meanwhile_is_not_confirmed(shelf: Shelf, admin: Browser) -> None:
    shelf.configure(retention={"daily": 1, "keepMin": 1})
    points = shelf.series(5)
    begun = page(admin, "/backups/shop/retention")
    pins.pin(shelf.installation, points[0], identity="local:test", reason="court", tell=shelf.told.append)
    form = begun[begun.index("<h2>Apply it now") - 300 :]
    refused = send(admin, "/backups/shop/retention", f"<main{form}", do="", count="4")
    assert refused.status_code == 422
    assert "Type 3" in refused.text
    assert runs.listing(shelf.installation, limit=5, kind="cleanup") == []


def test_little_goes_without_typing(shelf: Shelf, admin: Browser) -> None:
    shelf.configure(**DAILY)
    shelf.series(4, noise=50_000)
    assert "Type the number" not in page(admin, "/backups/shop/retention")
    asked = admin.submit("/backups/shop/retention")
    arguments = runs.find(shelf.installation, asked.location.rsplit("/", 1)[1]).arguments
    assert arguments["confirmed"] == []
    assert len(arguments["going"]["shop"]) == 1


def test_of_many_a_page_is_shown(shelf: Shelf, admin: Browser) -> None:
    shelf.configure(**DAILY)
    shelf.series(60, every=timedelta(hours=1))
    answer = admin.get("/backups/shop/retention")
    assert "more, of which" in words(answer.text)
    assert len(answer.data) < 40_000


def test_there_is_nothing_to_test_of_what_is_not_there(shelf: Shelf, admin: Browser) -> None:
    shelf.configure(**DAILY)
    shelf.backup()
    configurations.delete(shelf.installation, "shop")
    for path in ("/backups/nothing/retention", "/backups/nothing/test", "/backups/shop/retention"):
        assert admin.get(path).status_code == 404

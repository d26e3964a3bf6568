"""Destinations on the pages: added, tested, changed, taken off the list; for each role, empty, broken, hostile."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.webapp.reading import said, words
from tests.webapp.shelf import Shelf
from tests.webapp.site import Browser, Site, person
from tests.webapp.support import document
from webapp.models import Destination
from webapp.services import audit, configurations, destinations, runs
from webapp.services.access import SYSTEM

SECRET = "CANARY-secret-value"


@pytest.fixture
def ada(site: Site) -> Browser:
    return person(site, "ada", "admin")


def place(shelf: Shelf, name: str) -> Destination:
    return destinations.find(shelf.installation, name)


def added(shelf: Shelf, name: str = "cellar") -> Destination:
    path = str(shelf.installation.settings.home / name)
    return destinations.add(shelf.installation, name, "local", {"path": path}, tell=shelf.told.append).destination


def test_without_a_destination_the_page_says_what_one_is(ada: Browser) -> None:
    assert "There is no destination yet." in words(ada, "/destinations")


def test_a_destination_is_added_tested_and_shown(shelf: Shelf, ada: Browser, tmp_path: Path) -> None:
    made = ada.submit("/destinations/new", name="cellar", path=str(tmp_path / "cellar"))
    number = place(shelf, "cellar").id
    assert made.location == f"/destinations/{number}"
    assert "It was never tested." in words(ada, made.location)
    assert "Never tested" in words(ada, "/destinations")
    ada.submit(f"/destinations/{number}/test", form=made.location)
    page = words(ada, made.location)
    assert "cellar was tested: it can be used." in page
    assert "The same bytes came back." in page
    assert "Ready" in words(ada, "/destinations")
    assert [entry.action for entry in audit.listing(shelf.installation, SYSTEM, action="destination")] == [
        "destination.added"
    ]


@pytest.mark.parametrize(
    ("fields", "status", "sentence"),
    [
        ({"name": "", "path": "/tmp"}, 422, "Please fill this in."),
        ({"name": "x", "path": ""}, 422, "Please fill this in."),
        ({"name": "x", "path": "${NOT_SET}/x"}, 422, "NOT_SET"),
        ({"name": "x" * 201, "path": "x"}, 422, "At most 200 characters."),
        ({"name": "cellar", "path": "elsewhere"}, 409, "There is a destination cellar already."),
        ({"name": "again", "path": "cellar"}, 409, "This place is the destination cellar already."),
        ({"name": "<script>alert(1)</script>", "path": "cellar"}, 409, "This place is the destination cellar already."),
    ],
)
def test_what_cannot_be_added_is_told_and_kept(
    shelf: Shelf, ada: Browser, fields: dict[str, str], status: int, sentence: str
) -> None:
    added(shelf)
    refused = ada.submit("/destinations/new", **fields)
    assert refused.status_code == status
    assert 'role="alert"' in refused.text
    assert sentence in said(refused)
    assert "<script>alert" not in refused.text
    assert len(destinations.listing(shelf.installation)) == 1


def test_keys_of_a_bucket_are_never_shown_again(shelf: Shelf, ada: Browser) -> None:
    fields = {"bucket": "No_Such_Bucket!", "accessKeyId": "CANARY-key", "secretAccessKey": SECRET}
    refused = ada.submit("/destinations/new?type=s3", name="offsite", **fields)
    assert refused.status_code == 422
    assert "No_Such_Bucket!" in refused.text
    assert 'href="#bucket"' in refused.text
    assert "It must have 3 to 63 lower-case letters, digits, dots and hyphens." in said(refused)
    assert "CANARY" not in refused.text
    row = destinations._row(
        shelf.installation, "offsite", "s3", {**fields, "bucket": "offsite"}, "0" * 64, shelf.told.append
    )
    with shelf.installation.database.transaction() as session:
        session.add(row)
    for path in (f"/destinations/{row.id}", f"/destinations/{row.id}/edit", "/destinations"):
        assert "CANARY" not in ada.get(path).text
    assert ada.get("/destinations/new?type=tape").status_code == 400


def test_a_destination_that_vanished_is_told(shelf: Shelf, ada: Browser) -> None:
    shelf.configure()
    shelf.backup()
    number = shelf.place().id
    shutil.rmtree(shelf.installation.settings.home / "backups")
    ada.submit(f"/destinations/{number}/test", form="/destinations")
    assert "Not usable" in words(ada, "/destinations")
    assert "The last test failed." in words(ada, f"/destinations/{number}")


def test_a_name_that_configurations_hold_stays(shelf: Shelf, ada: Browser) -> None:
    number = added(shelf).id
    configurations.store(shelf.installation, document(destinations=[{"ref": "cellar"}]))
    path = str(shelf.installation.settings.home / "cellar")
    refused = ada.submit(f"/destinations/{number}/edit", name="attic", path=path)
    assert refused.status_code == 409
    assert "shop names this destination as cellar." in said(refused)
    assert "cellar is used by shop." in said_after(ada, f"/destinations/{number}/remove", f"/destinations/{number}")
    assert place(shelf, "cellar").deleted_at is None


def said_after(browser: Browser, path: str, form: str) -> str:
    answer = browser.submit(path, form=form)
    return words(browser, answer.location)


def test_settings_change_only_to_the_same_repository(shelf: Shelf, ada: Browser, tmp_path: Path) -> None:
    row, other = added(shelf), added(shelf, "other")
    address = f"/destinations/{row.id}"
    refused = ada.submit(f"{address}/edit", name="cellar", path=str(tmp_path / "empty"))
    assert refused.status_code in (409, 422, 503)
    moved = tmp_path / "moved"
    shutil.copytree(shelf.installation.settings.home / "cellar", moved)
    assert ada.submit(f"{address}/edit", name="vault", path=str(moved)).location == address
    assert place(shelf, "vault").settings["path"] == str(moved)
    taken = ada.submit(f"{address}/edit", name="other", path=str(moved))
    assert taken.status_code == 409
    assert other.name in said(taken)
    changed = audit.listing(shelf.installation, SYSTEM, action="destination.changed")
    assert [json.loads(entry.after or "")["name"] for entry in changed] == ["vault"]


def test_the_place_of_a_configuration_is_changed_there(shelf: Shelf, ada: Browser, tmp_path: Path) -> None:
    shelf.configure()
    shelf.backup()
    number = shelf.place().id
    refused = ada.submit(f"/destinations/{number}/edit", name="backups", path=str(tmp_path / "x"))
    assert refused.status_code == 409
    assert "Change them in that configuration." in said(refused)
    assert ada.submit(f"/destinations/{number}/edit", name="main", path="backups").status_code == 302


def test_the_only_copies_keep_their_destination(shelf: Shelf, ada: Browser) -> None:
    shelf.configure(places=("backups", "other"))
    shelf.backup()
    shelf.configure(places=("other",))
    shelf.backup()
    first, second = shelf.place("backups").id, shelf.place("other").id
    shelf.configure(places=("third",))
    removed = ada.submit(f"/destinations/{first}/remove", form=f"/destinations/{first}")
    assert removed.location == "/destinations"
    assert f'action="/destinations/{first}/put-back"' in ada.get("/destinations").text
    page = said_after(ada, f"/destinations/{second}/remove", f"/destinations/{second}")
    assert "holds 2 restore points that are nowhere else, of shop." in page
    ada.submit(f"/destinations/{first}/put-back", form="/destinations")
    assert len(destinations.listing(shelf.installation)) == 2


def test_copying_is_a_run(shelf: Shelf, ada: Browser) -> None:
    row = added(shelf)
    started = ada.submit(f"/destinations/{row.id}/sync", form=f"/destinations/{row.id}", repair="y")
    run = runs.find(shelf.installation, started.location.rsplit("/", 1)[1])
    assert (run.kind, run.arguments) == ("sync", {"target": "cellar", "repair": True})


def test_where_backups_are_is_not_for_managers(shelf: Shelf, site: Site) -> None:
    row, mona = added(shelf), person(site, "mona", "manager")
    listed = mona.get("/destinations").text
    assert "cellar" in listed
    assert str(shelf.installation.settings.home) not in listed
    assert mona.get(f"/destinations/{row.id}").status_code == 403
    for what in ("test", "sync", "remove", "put-back", "edit"):
        assert mona.submit(f"/destinations/{row.id}/{what}", form="/account").status_code == 403

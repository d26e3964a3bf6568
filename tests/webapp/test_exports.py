"""A download put into a bucket: the store's own link gives exactly the bytes, ends, and the object is removed."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import timedelta

import pytest
from werkzeug.test import TestResponse

from tests.support.s3 import Store, start_moto
from tests.webapp.shelf import Shelf
from tests.webapp.site import Site
from webapp.models import Run
from webapp.services import destinations, exports, links, queued, repositories, runs


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with start_moto() as started:
        yield started


@pytest.fixture
def site(shelf: Shelf, store: Store) -> Site:
    """With a restore point of a folder, on a disk and in a bucket."""
    keys = {"accessKeyId": store.access_key, "secretAccessKey": store.secret_key}
    place = {"bucket": store.bucket, "prefix": shelf.source.parent.name, "endpoint": store.endpoint}
    bucket = {"type": "s3", "config": {**place, **keys}}
    shelf.configure(places=("backups", bucket))
    (shelf.source / "file").write_bytes(b"content")
    shelf.backup()
    return Site(shelf.installation)


def asked(site: Site, shelf: Shelf, **body: str) -> Run:
    (backup,) = shelf.state
    answer = site.api(
        "POST",
        f"backups/{backup}/export",
        token=site.token("admin", "admin"),
        json={"path": f"{shelf.source}/file", **body},
    )
    assert answer.status_code == 202, answer.text
    assert answer.headers["Location"].endswith(answer.json["runId"])
    return runs.find(shelf.installation, answer.json["runId"])


def worked(shelf: Shelf, run: Run) -> Run:
    return queued.carry_out(
        shelf.installation, run.public_id, cwd=shelf.source, stop=threading.Event(), end=lambda: None
    )


def link(site: Site, run: Run, role: str = "admin") -> TestResponse:
    return site.api("POST", f"runs/{run.public_id}/download-link", token=site.token(role, "admin"))


def objects(shelf: Shelf) -> list[str]:
    place = next(each for each in destinations.listing(shelf.installation) if each.kind == "s3")
    storage = repositories.open_storage(shelf.installation, place)
    return [item.name for item in storage.list(exports.FOLDER)]


def test_an_export_is_fetched_by_the_link_of_the_store_and_removed(site: Site, shelf: Shelf, store: Store) -> None:
    run = asked(site, shelf)
    waiting = link(site, run)
    assert (waiting.status_code, objects(shelf)) == (409, [])
    done = worked(shelf, run)
    assert (done.state, done.kind, done.error) == ("succeeded", "export", None)
    assert "url" not in (done.result or {})["export"]
    made = link(site, run)
    assert (made.status_code, made.json["size"], made.json["name"]) == (201, 7, "file"), made.text
    assert store.secret_key not in made.json["url"]
    with urllib.request.urlopen(made.json["url"], timeout=20) as answer:
        assert (answer.read(), 'filename="file"' in answer.headers["Content-Disposition"]) == (b"content", True)
    assert links.sweep(shelf.installation) == 0
    shelf.hands.now += timedelta(minutes=5)
    assert exports.sweep(shelf.installation) == 1
    assert objects(shelf) == []
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(made.json["url"], timeout=20)
    assert link(site, run).status_code == 404


def test_the_link_is_for_who_asked_and_waits_an_hour(site: Site, shelf: Shelf) -> None:
    run = worked(shelf, asked(site, shelf))
    assert link(site, run, "super_admin").status_code == 404
    shelf.hands.now += timedelta(minutes=59)
    assert exports.sweep(shelf.installation) == 0
    shelf.hands.now += timedelta(minutes=1)
    assert (exports.sweep(shelf.installation), objects(shelf)) == (1, [])


def test_an_export_that_cannot_be_made_leaves_nothing(
    site: Site, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "MOST_BYTES", 6)
    run = worked(shelf, asked(site, shelf))
    assert (run.state, "5 GiB" in str(run.error)) == ("failed", True)
    assert (exports.sweep(shelf.installation), objects(shelf)) == (1, [])
    assert link(site, run).status_code == 404
    (backup,) = shelf.state
    for body in ({"path": "/nowhere"}, {"path": str(shelf.source)}):
        assert site.api("POST", f"backups/{backup}/export", json=body).status_code in (404, 422)


def test_what_is_in_no_bucket_is_not_exported(shelf: Shelf) -> None:
    shelf.configure()
    backup = shelf.backup()
    site = Site(shelf.installation)
    body = {"path": f"{shelf.source}/counter"}
    assert site.api("POST", f"backups/{backup}/export", json=body).status_code == 404

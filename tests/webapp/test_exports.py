"""A download put into a bucket: the store's own link gives exactly the bytes, ends, and the object is removed."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import timedelta

import pytest

from tests.support.s3 import Store, start_moto
from tests.webapp.shelf import Shelf
from tests.webapp.site import Site
from webapp.services import destinations, exports, links, repositories


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with start_moto() as started:
        yield started


def test_an_export_is_fetched_by_the_link_of_the_store_and_removed(shelf: Shelf, store: Store) -> None:
    keys = {"accessKeyId": store.access_key, "secretAccessKey": store.secret_key}
    bucket = {"type": "s3", "config": {"bucket": store.bucket, "prefix": "out", "endpoint": store.endpoint, **keys}}
    shelf.configure(places=("backups", bucket))
    (shelf.source / "file").write_bytes(b"content")
    backup = shelf.backup()
    site = Site(shelf.installation)
    body = {"path": f"{shelf.source}/file", "place": "bucket"}
    made = site.api("POST", f"backups/{backup}/download-link", token=site.token("admin", "admin"), json=body)
    assert (made.status_code, made.json["size"], made.json["name"]) == (201, 7, "file"), made.text
    assert store.secret_key not in made.json["url"]
    with urllib.request.urlopen(made.json["url"], timeout=20) as answer:
        assert (answer.read(), 'filename="file"' in answer.headers["Content-Disposition"]) == (b"content", True)
    assert links.sweep(shelf.installation) == 0
    shelf.hands.now += timedelta(minutes=5)
    assert exports.sweep(shelf.installation) == 1
    place = next(each for each in destinations.listing(shelf.installation) if each.kind == "s3")
    storage = repositories.open_storage(shelf.installation, place)
    assert list(storage.list(exports.FOLDER)) == []
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(made.json["url"], timeout=20)


def test_what_is_in_no_bucket_is_not_exported(shelf: Shelf) -> None:
    shelf.configure()
    backup = shelf.backup()
    site = Site(shelf.installation)
    body = {"path": f"{shelf.source}/counter", "place": "bucket"}
    assert site.api("POST", f"backups/{backup}/download-link", json=body).status_code == 404

"""Where backups lie is not for managers, not even as the name of a destination that nobody gave one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.webapp.shelf import Shelf
from tests.webapp.site import Site, person
from webapp.models import Destination
from webapp.services.access import Actor
from webapp.services.destination_names import renamed, shown_name

MANAGER, ADMIN = Actor("user:m", "manager"), Actor("user:a", "admin")


@pytest.mark.parametrize(
    ("kind", "name", "settings", "said"),
    [
        ("local", "/mnt/nas/x", {"path": "/mnt/nas/x"}, "folder 7"),
        ("local", "./backups", {"path": "./backups"}, "folder 7"),
        ("local", "backups (2)", {"path": "backups"}, "folder 7"),
        ("local", "/mnt/old", {"path": "/mnt/new"}, "folder 7"),
        ("s3", "s3://vault/shop", {"bucket": "vault", "prefix": "shop/"}, "bucket 7"),
        ("s3", "s3://vault (3)", {"bucket": "vault"}, "bucket 7"),
        ("local", "Disk at the office", {"path": "/mnt/nas"}, "Disk at the office"),
        ("s3", "Frankfurt / cold (2)", {"bucket": "vault"}, "Frankfurt / cold (2)"),
    ],
)
def test_only_names_that_tell_the_place_are_replaced(kind: str, name: str, settings: dict[str, str], said: str) -> None:
    row = Destination(id=7, name=name, kind=kind, settings=settings)
    assert (shown_name(row, MANAGER), shown_name(row, ADMIN)) == (said, name)


def test_other_texts_of_a_document_stay() -> None:
    names = {"backups": "folder 1"}
    document = {"configId": "backups", "name": "backups", "items": ({"name": "backups", "type": "local"},)}
    assert renamed(document, names) == {**document, "items": [{"name": "folder 1", "type": "local"}]}
    assert renamed({"byDestination": {"backups": 3}}, names) == {"byDestination": {"folder 1": 3}}


def test_no_page_and_no_answer_tells_a_manager_a_place(shelf: Shelf, tmp_path: Path) -> None:
    secret = {"type": "local", "config": {"path": str(tmp_path / "secretplace")}}
    shelf.configure(places=("backups", secret), retention={"last": 1, "keepMin": 1})
    shelf.backup()
    point = shelf.backup()
    shelf.verify(point)
    run = shelf.clean(confirmed=["shop"]).run.public_id
    site = Site(shelf.installation)
    readers = {role: person(site, f"the-{role}", role) for role in ("manager", "admin")}
    token = site.token("manager", "read")
    told = {"manager": set(), "admin": set()}
    ids = {"backup_id": point, "config_id": "shop", "run_id": run}
    for rule in site.app.url_map.iter_rules():
        if "GET" not in (rule.methods or ()) or rule.endpoint == "static":
            continue
        path = re.sub(r"<(?:\w+:)?(\w+)>", lambda match: ids.get(match[1], "1"), rule.rule)
        if path.startswith("/api/backup/"):
            assert "secretplace" not in site.api("GET", path.removeprefix("/api/backup/"), token=token).text, path
            continue
        for address in (path, "/stats?csv=destinations") if path == "/stats" else (path,):
            for role, reader in readers.items():
                if "secretplace" in reader.get(address).text:
                    told[role].add(address)
    assert told["manager"] == set()
    assert {"/", "/stats", "/stats?csv=destinations", "/restore-points", "/destinations"} <= told["admin"]

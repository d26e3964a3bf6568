"""Hostile input to every endpoint, generated from the API itself: always a sentence with a status of the document."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.webapp.site import Site
from webapp.api.docs import endpoints, openapi
from webapp.api.endpoint import Endpoint

DEEP = b"[" * 5000 + b"]" * 5000
BODIES = [
    b"",
    b"null",
    b"[]",
    b"true",
    b'"\\u0000"',
    b"{",
    b"\xff\xfe",
    b"\x00" * 100,
    DEEP,
    b'{"a":' * 3000 + b"1" + b"}" * 3000,
    b'{"\\ud800": "\\udfff"}',
    b"9" * 5000,
    b"1e999",
    b'{"__proto__": {}, "id": "x"}',
]
VALUES: list[Any] = [
    None,
    True,
    -1,
    10**30,
    1e308,
    "",
    "\0",
    "\ud800",
    "x" * 100_000,
    "'; DROP TABLE users; --",
    "${HOME}",
    "../../etc/passwd",
    "\u202e\r\n",
    [],
    {},
    [[[[]]]],
    {"a": {"b": None}},
]
PATHS = ["%00", "%ff%fe", "..", "%2e%2e%2f", "x" * 3000, "%F0%9F%92%A9", "%d8%00", "'--", "bk_", "0", "-1", "9" * 40]
WORDS = ["", "%00", "%ff", "-1", "9" * 40, "x" * 5000, "a&" * 300]
KINDS = ["text/plain", "application/xml", "multipart/form-data; boundary=x", "application/json; charset=utf-16", "\xe9"]


def where(endpoint: Endpoint, part: str = "nope") -> str:
    return re.sub(r"<\w+>", part, endpoint.path).lstrip("/")


def fields(endpoint: Endpoint) -> list[str]:
    assert endpoint.body is not None
    return list(endpoint.body.model_json_schema(by_alias=True).get("properties", {}))


def requests(endpoint: Endpoint) -> list[tuple[str, dict[str, Any]]]:
    """Paths with options of the test client."""
    plain = where(endpoint)
    made: list[tuple[str, dict[str, Any]]] = [(where(endpoint, part), {"json": {}}) for part in PATHS]
    names = [*(endpoint.query.model_json_schema(by_alias=True)["properties"] if endpoint.query else {}), "unknown"]
    for name in names:
        made += [(f"{plain}?{name}={value}", {}) for value in WORDS]
    made.append((plain, {"headers": {"Idempotency-Key": "\x7f" * 300, "If-Match": '"' * 50}, "json": {}}))
    if endpoint.body is not None:
        made += [(plain, {"data": body, "content_type": "application/json"}) for body in BODIES]
        made += [(plain, {"data": b"{}", "content_type": kind}) for kind in KINDS]
        for name in fields(endpoint):
            bodies = [json.dumps({name: value}) for value in VALUES]
            made += [(plain, {"data": body, "content_type": "application/json"}) for body in bodies]
    return made


def refused(site: Site, step: int) -> int:
    """Sends every `step`-th request; how many there were. 404 and 405 are also said by the router, for paths that lead
    elsewhere; 308 makes doubled slashes one."""
    operations = openapi()["paths"]
    wrong, count = [], 0
    for endpoint in endpoints():
        path = "/api/backup" + re.sub(r"<(\w+)>", r"{\1}", endpoint.path)
        known = {int(status) for status in operations[path][endpoint.method.lower()]["responses"]} | {308, 404, 405}
        for sent, options in requests(endpoint)[count % step :: step]:
            count += 1
            answer = site.api(endpoint.method, sent, **options)
            said = answer.status_code < 400 or answer.content_type == "application/problem+json"
            if answer.status_code not in known or not said:
                wrong.append((endpoint.method, sent[:80], str(options)[:80], answer.status_code, answer.text[:200]))
    assert wrong == []
    return count


def test_nothing_hostile_gets_more_than_a_sentence(site: Site) -> None:
    assert refused(site, 7) > 250


@pytest.mark.full
def test_nothing_at_all_hostile_gets_more_than_a_sentence(site: Site) -> None:
    assert refused(site, 1) > 2000

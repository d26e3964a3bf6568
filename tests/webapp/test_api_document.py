"""The API keeps to its own document: whatever schemathesis sends, nothing undocumented, which every 5xx but 503 is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.webapp.shelf import Shelf
from tests.webapp.site import Site
from tests.webapp.support import Hands
from webapp.installation import open_installation
from webapp.roles import ROLES
from webapp.services import accounts, sessions, tokens
from webapp.services.access import SYSTEM
from webapp.services.tokens import Wish
from webapp.settings import read_settings

CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
MODES = list(schemathesis.GenerationMode)


@dataclass(frozen=True)
class Peopled:
    """A site with something in it, its document, and the ids of what is there, by the name of the parameter."""

    site: Site
    document: Any
    known: dict[str, str]


@pytest.fixture(scope="module")
def peopled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peopled]:
    base = tmp_path_factory.mktemp("document")
    hands = Hands(datetime(2026, 11, 23, 2, 0, tzinfo=UTC))
    installation = open_installation(read_settings({"HOLDFAST_HOME": str(base / "home")}), clock=hands)
    source = base / "source"
    source.mkdir()
    shelf = Shelf(installation, hands, source)
    shelf.configure()
    backup = shelf.backup()
    site = Site(installation)
    user = accounts.add(installation, SYSTEM, "somebody", "manager").user
    (run,) = site.api("GET", "history").json["items"]
    known = {
        "config_id": "shop",
        "backup_id": backup,
        "run_id": run["runId"],
        "destination_id": site.api("GET", "destinations").json["items"][0]["id"],
        "user_id": user.public_id,
        "token_id": tokens.create(installation, SYSTEM, user, Wish("x", "read")).token.public_id,
        "session_id": sessions.open_trusted(installation, user, sessions.Browser("192.0.2.1")).session.public_id,
    }
    yield Peopled(site, schemathesis.openapi.from_wsgi("/api/openapi.json", site.app), known)
    installation.close()


def ask(peopled: Peopled, examples: int) -> dict[str, int]:
    """Sends `examples` of each kind to each operation, for things that are there and that are not; how many of each
    status were answered."""
    seen: dict[str, int] = {}
    for result in peopled.document.get_all_operations():
        operation = result.ok()
        named = {name: known for name, known in peopled.known.items() if f"{{{name}}}" in operation.path}
        for fixed in [{}, named] if named else [{}]:
            for mode in MODES:
                cases = operation.as_strategy(generation_mode=mode, path_parameters=fixed)
                _try(cases, _sender(peopled, seen), examples)
    return seen


def _sender(peopled: Peopled, seen: dict[str, int]) -> Callable[[Any, str], None]:
    def send(case: Any, role: str) -> None:
        response = case.call(headers={"Authorization": f"Bearer {peopled.site.token(role, role_scope(role))}"})
        case.validate_response(response, checks=CHECKS)
        seen[str(response.status_code)] = seen.get(str(response.status_code), 0) + 1

    return send


def role_scope(role: str) -> str:
    return role if role != "manager" else "run"


def _try(cases: Any, send: Callable[[Any, str], None], examples: int) -> None:
    roles = hypothesis.strategies.sampled_from(ROLES[::-1])

    @hypothesis.settings(
        max_examples=examples,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(cases, roles)
    def sent(case: Any, role: str) -> None:
        send(case, role)

    sent()


def test_the_answers_are_those_of_the_document(peopled: Peopled) -> None:
    seen = ask(peopled, 2)
    assert seen["200"] > 5
    assert seen["422"] > 5


@pytest.mark.full
def test_the_answers_are_those_of_the_document_whatever_is_asked(peopled: Peopled) -> None:
    assert ask(peopled, 60)["200"] > 300

"""What reads (hidden) in a document that comes back takes the secret that it stood for, and never another one."""

from __future__ import annotations

from typing import Any

import pytest

from webapp.errors import ConfigurationInvalid
from webapp.schema.redact import HIDDEN
from webapp.services import hidden


def bucket(name: str, secret: str = HIDDEN, **more: Any) -> dict[str, Any]:
    return {"type": "s3", "config": {"bucket": name, "secretAccessKey": secret, **more}}


SHOWN = [bucket("one"), bucket("two")]
STORED = [bucket("one", "first"), bucket("two", "second")]


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (SHOWN, STORED),
        (SHOWN[::-1], STORED[::-1]),
        (SHOWN[1:], STORED[1:]),
        ([bucket("new", "third"), *SHOWN], [bucket("new", "third"), *STORED]),
        ([bucket("two", region="eu")], [bucket("two", "second", region="eu")]),
        ([bucket("other"), SHOWN[1]], [bucket("other"), STORED[1]]),
        ([bucket("one", endpoint="https://elsewhere.example")], [bucket("one", endpoint="https://elsewhere.example")]),
        ([bucket("one", "anew"), SHOWN[1]], [bucket("one", "anew"), STORED[1]]),
        ([*SHOWN, SHOWN[0]], [*STORED, SHOWN[0]]),
    ],
)
def test_each_destination_keeps_its_own_keys(sent: list[Any], expected: list[Any]) -> None:
    assert hidden.filled_in({"destinations": sent}, {"destinations": SHOWN}, {"destinations": STORED}) == {
        "destinations": expected
    }


def test_of_those_that_look_alike_none_is_guessed() -> None:
    shown, stored = ["slack://(hidden)"] * 2, ["slack://a", "slack://b"]
    assert hidden.filled_in(list(shown), shown, stored) == stored
    assert hidden.filled_in(shown[:1], shown, stored) == shown[:1]
    assert hidden.filled_in(shown[:1], shown, ["slack://a"] * 2) == ["slack://a"]
    assert hidden.filled_in([*shown, shown[0]], shown, stored) == [*shown, shown[0]]


def test_what_stays_hidden_is_refused_with_its_place() -> None:
    with pytest.raises(ConfigurationInvalid, match="/destinations/1/config/secretAccessKey: reads"):
        hidden.refuse({"destinations": [STORED[0], SHOWN[1]]})
    hidden.refuse({"destinations": STORED})

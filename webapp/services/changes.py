"""What differs between two versions of a configuration, value by value. Secrets are compared, and never shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from webapp.schema.redact import without_secrets

NONE = "–"
ANOTHER = "(hidden), another one"
_GONE = object()


@dataclass(frozen=True)
class Change:
    """One value: where (a JSON pointer), as it was and as it is; `–` where there is none."""

    pointer: str
    before: str
    after: str


def between(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """In the order of the later version, what is gone last."""
    found = []
    was, now = dict(_values(before)), dict(_values(after))
    was_shown, now_shown = dict(_values(without_secrets(before))), dict(_values(without_secrets(after)))
    for pointer in [*now, *(each for each in was if each not in now)]:
        if pointer in was and pointer in now and was[pointer] == now[pointer]:
            continue
        old, new = _text(was_shown.get(pointer)), _text(now_shown.get(pointer))
        found.append(Change(pointer, old, ANOTHER if old == new else new))
    return found


def joined(began: Mapping[str, Any], mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Both changes of what two people read as `began`; where both changed the same value, it is as in `mine`."""
    found = {}
    for key in dict.fromkeys([*theirs, *mine]):
        old, own, other = (each.get(key, _GONE) for each in (began, mine, theirs))
        if isinstance(own, Mapping) and isinstance(other, Mapping):
            value: Any = joined(old if isinstance(old, Mapping) else {}, own, other)
        else:
            value = other if own == old else own
        if value is not _GONE:
            found[key] = value
    return found


def _values(node: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from _values(value, f"{at}/{key}")
    elif isinstance(node, list) and any(isinstance(item, Mapping) for item in node):
        for number, value in enumerate(node):
            yield from _values(value, f"{at}/{number}")
    else:
        yield at, node


def _text(value: Any) -> str:
    if value is None or value == [] or value == {}:
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)

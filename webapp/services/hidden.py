"""Documents that were read and sent back: what still reads (hidden) in them is as it was, though nobody saw it. What
cannot be told for certain stays (hidden), and such a document is refused: a secret never moves to another place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from webapp.errors import ConfigurationInvalid, Fault
from webapp.schema.redact import HIDDEN

# What makes a destination the one that it was: its keys are for this bucket at this store and for no other.
_PLACE = ("bucket", "endpoint", "path")


def filled_in(new: Any, was_shown: Any, was: Any) -> Any:
    """`new`, in which what is still as it was shown (`was_shown`) is as it was (`was`)."""
    if new == was_shown:
        return was
    if isinstance(new, dict) and isinstance(was_shown, dict):
        return {key: filled_in(value, was_shown.get(key), was.get(key)) for key, value in new.items()}
    if isinstance(new, list) and isinstance(was_shown, list):
        return list(_each_filled_in(new, was_shown, was))
    return new


def refuse(document: Mapping[str, Any], message: str = "The configuration was not stored.") -> None:
    """Raises ConfigurationInvalid for what reads (hidden) and has no value that it could stand for."""
    faults = [Fault(at, "reads (hidden); give the value itself.") for at in places(document)]
    if faults:
        raise ConfigurationInvalid(message, faults)


def places(node: Any, at: str = "") -> list[str]:
    """The JSON pointers of what reads (hidden)."""
    if isinstance(node, dict):
        return [place for key, value in node.items() for place in places(value, f"{at}/{key}")]
    if isinstance(node, list):
        return [place for number, value in enumerate(node) for place in places(value, f"{at}/{number}")]
    return [at] if isinstance(node, str) and HIDDEN in node else []


def _each_filled_in(new: list[Any], was_shown: list[Any], was: list[Any]) -> Iterator[Any]:
    """Items may have been removed, added and moved: each takes from the one that it was, not from that in its place."""
    for number, value in enumerate(new):
        same = [before for shown, before in zip(was_shown, was, strict=True) if shown == value]
        alike = [(shown, before) for shown, before in zip(was_shown, was, strict=True) if _is_place(shown, value)]
        if same:
            before = new[:number].count(value)
            # Those that look alike may hide different secrets: when one of them is gone, nobody can tell which.
            is_sure = before < len(same) and (len(same) == new.count(value) or all(one == same[0] for one in same))
            yield same[before] if is_sure else value
        else:
            yield filled_in(value, *alike[0]) if len(alike) == 1 else value


def _is_place(shown: Any, value: Any) -> bool:
    """Whether both are the same destination, however it was changed otherwise."""
    if not (isinstance(shown, dict) and isinstance(value, dict)) or "config" not in shown:
        return False
    before, now = shown["config"], value.get("config")
    same_kind = shown.get("type") == value.get("type")
    return same_kind and isinstance(now, dict) and all(before.get(key) == now.get(key) for key in _PLACE)

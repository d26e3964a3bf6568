"""What a destination is called. One that nobody named goes by its path or bucket, which is not for everybody: who may
not read destinations gets a neutral name in its place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from webapp.installation import Installation
from webapp.models import Destination
from webapp.services.access import Actor

LONGEST = 200
_WORDS = {"local": "folder", "s3": "bucket"}
_NUMBER = re.compile(r" \(\d+\)$")
# A destination that was moved is still called after the place where it was.
_OF_A_PLACE = re.compile(r"^[/~$]|^\.{1,2}/|://")


def title(kind: str, typed: Mapping[str, Any]) -> str:
    """How people are told of a destination that has no name: its path or its bucket."""
    main = str(typed.get("path") or typed.get("bucket") or kind)
    prefix = str(typed.get("prefix") or "").strip("/")
    text = main if kind == "local" else f"{kind}://{main}" + (f"/{prefix}" if prefix else "")
    return text[: LONGEST - 5]


def shown_name(destination: Destination, actor: Actor) -> str:
    """Its name; `folder 3` or `bucket 3`, by its row, where the name tells a place that this person may not know."""
    if actor.may("destinations.read") or not _tells_a_place(destination):
        return destination.name
    return f"{_WORDS.get(destination.kind, destination.kind)} {destination.id}"


def shown_names(installation: Installation, actor: Actor) -> dict[str, str]:
    """The names of all destinations, also removed ones, that this person gets another name for. At most one query."""
    if actor.may("destinations.read"):
        return {}
    with installation.database.reading() as session:
        pairs = [(each.name, shown_name(each, actor)) for each in session.scalars(select(Destination))]
    return {name: shown for name, shown in pairs if name != shown}


def renamed(document: Any, names: Mapping[str, str]) -> Any:
    """A JSON document with these names of destinations replaced: where it has a name and a type, in `destination`, and
    as the keys of `byDestination`."""
    if isinstance(document, list | tuple):
        return [renamed(each, names) for each in document]
    if not isinstance(document, dict):
        return document
    found = {key: renamed(value, names) for key, value in document.items()}
    for key in ("name", "destination"):
        value = found.get(key)
        if isinstance(value, str) and (key == "destination" or found.get("type") in _WORDS):
            found[key] = names.get(value, value)
    if isinstance(places := found.get("byDestination"), dict):
        found["byDestination"] = {names.get(name, name): value for name, value in places.items()}
    return found


def _tells_a_place(destination: Destination) -> bool:
    plain, made = _NUMBER.sub("", destination.name), title(destination.kind, destination.settings)
    return made in (plain, destination.name) or _OF_A_PLACE.search(plain) is not None

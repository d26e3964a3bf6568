"""Checks a configuration document: JSON text or a parsed object in, the same object out, or every fault at once."""

from __future__ import annotations

import difflib
import json
import os
import select
import stat
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from webapp.errors import ConfigurationInvalid, Fault
from webapp.schema.defaults import Document

if TYPE_CHECKING:
    from pydantic import ValidationError

MAX_BYTES = 1 << 20
PIPE_SECONDS = 10.0
_SENTENCES = {
    "missing": "is missing.",
    "string_type": "must be text.",
    "int_type": "must be a whole number.",
    "int_from_float": "must be a whole number.",
    "bool_type": "must be true or false.",
    "list_type": "must be a list.",
    "dict_type": "must be an object.",
    "model_type": "must be an object.",
    "model_attributes_type": "must be an object.",
    "greater_than_equal": "must be {ge} or more.",
    "less_than_equal": "must be {le} or less.",
    "literal_error": "must be {expected}.",
    "string_too_long": "must not be longer than {max_length} characters.",
    "too_long": "must not have more than {max_length} entries.",
}
_EMPTY = {"string_too_short", "too_short"}


def parse(text: str | bytes, *, name: str = "the document") -> Document:
    """The JSON object in `text`, checked. Raises ConfigurationInvalid; `name` is what messages call the document."""
    if len(text) > MAX_BYTES:
        raise ConfigurationInvalid(f"{name} is not a configuration.", [Fault("", "is larger than 1 MiB.")])
    try:
        document = loads(text)
    except ValueError as error:
        raise ConfigurationInvalid(f"{name} is not a configuration.", [Fault("", str(error))]) from None
    return validate(document, name=name)


def loads(text: str | bytes) -> Any:
    """What JSON says, strictly: no key twice, no NaN. Raises ValueError with a sentence."""
    try:
        return json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        raise ValueError(_json_fault(error)) from None


def read(path: Path) -> Document:
    """The configuration in a file or pipe, checked. Raises ConfigurationInvalid, also when it cannot be read."""
    try:
        text = _bounded(path)
    except TimeoutError:
        raise ConfigurationInvalid(
            f"{path} cannot be read: its end did not come in {PIPE_SECONDS:.0f} s.", []
        ) from None
    except OSError as error:
        raise ConfigurationInvalid(f"{path} cannot be read: {error.strerror}.", []) from error
    return parse(text, name=str(path))


def _bounded(path: Path) -> bytes:
    """At most MAX_BYTES + 1 of what it holds. A pipe that nobody writes to, or never to its end, is given up: raises
    TimeoutError. Raises OSError."""
    with open(path, "rb", buffering=0, opener=_without_waiting) as file:
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return file.read(MAX_BYTES + 1)
        waiter = select.poll()
        waiter.register(file, select.POLLIN)
        until = time.monotonic() + PIPE_SECONDS
        text = b""
        while len(text) <= MAX_BYTES:
            if not waiter.poll(max(0.0, until - time.monotonic()) * 1000):
                raise TimeoutError
            piece = file.read(MAX_BYTES + 1 - len(text))
            if not piece:
                break
            text += piece
        return text


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def validate(document: Any, *, name: str = "the document") -> Document:
    """`document` itself (as typed, placeholders kept) when it fits the schema, else ConfigurationInvalid with every
    fault: a JSON pointer and one sentence each, never a value."""
    from pydantic import ValidationError

    from webapp.schema.configuration import Configuration

    try:
        Configuration.model_validate(document)
    except ValidationError as error:
        raise ConfigurationInvalid(f"{name} is not a valid configuration.", faults(error, document)) from None
    if not isinstance(document, dict):
        raise ConfigurationInvalid(f"{name} is not a valid configuration.", [Fault("", "must be an object.")])
    return document


def faults(error: ValidationError, document: Any) -> list[Fault]:
    """What pydantic found in `document`, in our words, each once; never a value."""
    found = (_fault(item, document) for item in error.errors(include_url=False, include_input=False))
    return list(dict.fromkeys(found))


def pointer(parts: Sequence[str | int]) -> str:
    """The JSON pointer (RFC 6901) of a path into a document."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def _fault(error: Mapping[str, Any], document: Any) -> Fault:
    kind = error["type"]
    context = error.get("ctx", {})
    parts = _path(error["loc"], document, missing=kind == "missing")
    if kind == "extra_forbidden":
        return Fault(pointer(parts), _unknown_key(str(parts[-1])))
    if kind == "misfit":
        return Fault(f"{pointer(parts)}/{context['at']}", context["sentence"])
    if kind == "value_error":
        return Fault(pointer(parts), str(context["error"]))
    if kind == "string_pattern_mismatch":
        return Fault(pointer(parts), _pattern_sentence(str(parts[-1])))
    if kind in _EMPTY:
        return Fault(pointer(parts), "must not be empty.")
    sentence = _SENTENCES.get(kind)
    detail = sentence.format(**context) if sentence else str(error["msg"]) + "."
    return Fault(pointer(parts), detail)


def _path(location: Sequence[str | int], document: Any, *, missing: bool) -> list[str | int]:
    """The part of pydantic's location that exists in the document: names of union members are not part of it."""
    parts: list[str | int] = []
    node = document
    for position, part in enumerate(location):
        inside = isinstance(node, dict) and part in node
        if inside or (isinstance(node, list) and isinstance(part, int) and part < len(node)):
            parts.append(part)
            node = node[part]
        elif missing and position == len(location) - 1:
            parts.append(part)
    return parts


def _unknown_key(key: str) -> str:
    near = [known for known in difflib.get_close_matches(key, _known_keys(), n=1) if known != key]
    return f"is not a key that is known here{f'; did you mean {near[0]}' if near else ''}."


def _known_keys() -> list[str]:
    from webapp.schema.publish import schema

    found: set[str] = set()
    document = schema()
    for part in (document, *document["$defs"].values()):
        found.update(part.get("properties", {}))
    return sorted(found)


def _pattern_sentence(key: str) -> str:
    if key == "id":
        return "must have 1 to 64 lower-case letters, digits and hyphens, and begin with a letter or digit."
    return "is not spelled as it must be."


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"has the key {key!r} twice in one object.")
        found[key] = value
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"holds {name}, which is not JSON.")


def _json_fault(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
    if isinstance(error, UnicodeDecodeError):
        return "is not text in UTF-8."
    if isinstance(error, RecursionError):
        return "is nested too deeply."
    return str(error)

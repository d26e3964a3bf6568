"""The kinds of destinations and what their settings are: read from the `Config` of each storage kind of the engine.

Schema, defaults, redaction and CLI options follow from it, so a new kind needs nothing here.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any, get_type_hints

from engine.storage import KINDS

_UPPER = re.compile(r"_([a-z])")


def names() -> tuple[str, ...]:
    """Every kind that a configuration may name, in the order in which people are told."""
    return tuple(KINDS)


def config_class(kind: str) -> type[Any]:
    """The dataclass of the kind's settings: names in snake_case, `help` and `secret` in each field's metadata."""
    built: type[Any] = KINDS[kind].Config
    return built


def field_types(kind: str) -> dict[str, Any]:
    """The type of each setting, by its name in snake_case."""
    return get_type_hints(config_class(kind))


def settings_defaults(kind: str) -> dict[str, Any]:
    """The default of every optional setting, by its name outside."""
    return {
        outside(item.name): item.default
        for item in dataclasses.fields(config_class(kind))
        if item.default is not dataclasses.MISSING
    }


def secret_settings(kind: str) -> frozenset[str]:
    """The names outside of settings that are never shown."""
    return frozenset(
        outside(item.name) for item in dataclasses.fields(config_class(kind)) if item.metadata.get("secret")
    )


def configure(kind: str, settings: dict[str, Any]) -> Any:
    """The kind's `Config` from resolved settings with their names outside. Raises BadSetting."""
    return config_class(kind)(**{inside(name): value for name, value in settings.items()})


def outside(name: str) -> str:
    """`access_key_id` as it is written in documents: `accessKeyId`."""
    return _UPPER.sub(lambda match: match[1].upper(), name)


def inside(name: str) -> str:
    """`accessKeyId` as it is written in code: `access_key_id`."""
    return re.sub(r"([A-Z])", lambda match: "_" + match[1].lower(), name)

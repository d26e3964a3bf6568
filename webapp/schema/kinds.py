"""The kinds of destinations and what their settings are: read from the `Config` of each storage kind of the engine.

Schema, defaults, redaction and CLI options follow from it, so a new kind needs nothing here.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from typing import Any, get_type_hints

from engine.storage import KINDS as BUILT

_UPPER = re.compile(r"_([a-z])")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


@dataclass(frozen=True)
class PlannedS3:
    """Settings of an S3 destination, known as data until the engine has the kind: stored, validated, not run."""

    bucket: str = field(metadata={"help": "Name of the bucket"})
    prefix: str = field(default="", metadata={"help": "Names of objects begin with it"})
    region: str | None = field(default=None, metadata={"help": "Region of the bucket; else AWS_REGION"})
    endpoint: str | None = field(default=None, metadata={"help": "URL of the store, for others than Amazon's"})
    access_key_id: str | None = field(default=None, metadata={"help": "Else AWS_ACCESS_KEY_ID", "secret": True})
    secret_access_key: str | None = field(default=None, metadata={"help": "Else AWS_SECRET_ACCESS_KEY", "secret": True})

    def __post_init__(self) -> None:
        if "${" not in self.bucket and not _BUCKET.fullmatch(self.bucket):
            raise ValueError("the bucket's name must have 3 to 63 lower-case letters, digits, dots and hyphens")
        if self.endpoint and "${" not in self.endpoint and not self.endpoint.startswith(("https://", "http://")):
            raise ValueError("the endpoint must begin with https:// or http://")
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("accessKeyId and secretAccessKey belong together: give both or none")


PLANNED: dict[str, type[Any]] = {"s3": PlannedS3}


def names() -> tuple[str, ...]:
    """Every kind that a configuration may name, in the order in which people are told."""
    return tuple(dict.fromkeys([*BUILT, *PLANNED]))


def is_built(kind: str) -> bool:
    """Whether this version can run a destination of this kind."""
    return kind in BUILT


def config_class(kind: str) -> type[Any]:
    """The dataclass of the kind's settings: names in snake_case, `help` and `secret` in each field's metadata."""
    if kind in BUILT:
        built: type[Any] = BUILT[kind].Config
        return built
    return PLANNED[kind]


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
    """The kind's `Config` from resolved settings with their names outside. Raises ValueError with a sentence."""
    return config_class(kind)(**{inside(name): value for name, value in settings.items()})


def outside(name: str) -> str:
    """`access_key_id` as it is written in documents: `accessKeyId`."""
    return _UPPER.sub(lambda match: match[1].upper(), name)


def inside(name: str) -> str:
    """`accessKeyId` as it is written in code: `access_key_id`."""
    return re.sub(r"([A-Z])", lambda match: "_" + match[1].lower(), name)

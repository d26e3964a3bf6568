"""Where a configuration's backups go: a model for each kind of storage, or the name of a stored destination.

The models are made from the kinds' own settings (webapp/schema/kinds.py).
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal, Union

from pydantic import Discriminator, Field, Tag, create_model, model_validator
from pydantic.json_schema import SkipJsonSchema

from engine.storage.base import BadSetting
from webapp.schema import kinds
from webapp.schema.fields import Label, Model, Open, misfit
from webapp.schema.retention import Retention

TAG_PREFIX = "kind:"
_TYPES = {str: Open, str | None: Open | None, int: int, bool: bool}


class StoredDestination(Model):
    """A destination that was added by `destination add`."""

    ref: Annotated[Label, Field(description="The name of a stored destination.")]
    retention: Retention | None = None


class _UnknownDestination(Model):
    """Stands for every type that does not exist, so that the error says which exist."""

    type: Any

    @model_validator(mode="before")
    @classmethod
    def _refuse(cls, value: Any) -> Any:
        raise ValueError(f"needs a type, one of {', '.join(kinds.names())}, or a ref to a stored destination.")


class _Settings(Model):
    """Base of the settings of each kind; the kind's own rules are asked last."""

    @model_validator(mode="after")
    def _kind_agrees(self) -> _Settings:
        kind = type(self).__name__
        try:
            kinds.configure(kind, self.model_dump(by_alias=True))
        except BadSetting as error:
            raise misfit(kinds.outside(error.setting), f"{error.sentence}.") from None
        return self


def _settings_model(kind: str) -> type[_Settings]:
    types = kinds.field_types(kind)
    fields: dict[str, Any] = {}
    for item in dataclasses.fields(kinds.config_class(kind)):
        # An empty text is a value of its own only where it is the default, as for a prefix.
        of: Any = str if item.default == "" else _TYPES[types[item.name]]
        described: Any = Annotated[of, Field(description=item.metadata.get("help"))]
        fields[item.name] = (described, ... if item.default is dataclasses.MISSING else item.default)
    return create_model(kind, __base__=_Settings, __doc__=f"Settings of a destination of the kind {kind}.", **fields)


def _destination_model(kind: str) -> Any:
    fields: dict[str, Any] = {
        "type": (Literal[kind], ...),
        "config": (_settings_model(kind), ...),
        "retention": (Retention | None, None),
    }
    doc = f"A destination of the kind {kind}."
    model = create_model(f"{kind.capitalize()}Destination", __base__=Model, __doc__=doc, **fields)
    return Annotated[model, Tag(TAG_PREFIX + kind)]


def _tag(value: Any) -> str:
    if isinstance(value, Model):  # already built: it is being written out again
        return TAG_PREFIX + getattr(value, "type", "ref")
    if not isinstance(value, dict):
        return f"{TAG_PREFIX}unknown"
    if "ref" in value and "type" not in value:
        return f"{TAG_PREFIX}ref"
    kind = value.get("type")
    return f"{TAG_PREFIX}{kind}" if isinstance(kind, str) and kind in kinds.names() else f"{TAG_PREFIX}unknown"


_MEMBERS: tuple[Any, ...] = (
    *(_destination_model(kind) for kind in kinds.names()),
    Annotated[StoredDestination, Tag(f"{TAG_PREFIX}ref")],
    SkipJsonSchema[Annotated[_UnknownDestination, Tag(f"{TAG_PREFIX}unknown")]],
)
_ANY: Any = Union[_MEMBERS]  # noqa: UP007 (made from a tuple)
Destination: Any = Annotated[_ANY, Discriminator(_tag)]

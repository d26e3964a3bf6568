"""Where backups are kept: fields for the settings of each kind, made from what the kind says of itself."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

from flask_wtf import FlaskForm
from wtforms import PasswordField, StringField
from wtforms.validators import InputRequired, Length

from webapp.schema import kinds

_LONGEST, _NAME = 4096, 200
_LABELS = {
    "path": "Folder",
    "bucket": "Bucket",
    "prefix": "Prefix",
    "region": "Region",
    "endpoint": "Endpoint",
    "access_key_id": "Access key",
    "secret_access_key": "Secret key",
}
KIND_WORDS = {"local": "A folder of this machine", "s3": "A bucket (S3)"}


class Destination(FlaskForm):  # type: ignore[misc]
    """The name, and in subclasses the settings of a kind. A secret is never put into a page again."""

    name = StringField(
        "Name", validators=[InputRequired("Please fill this in."), Length(max=_NAME, message="At most 200 characters.")]
    )

    def typed(self) -> dict[str, Any]:
        """The settings as typed; what was left empty is as if it was not there."""
        values = {name: (item.data or "").strip() for name, item in self._fields.items() if name in self.settings}
        return {name: value for name, value in values.items() if value}

    settings: tuple[str, ...] = ()
    hints: dict[str, str] = {}  # noqa: RUF012 (replaced whole, never changed)


@cache
def of_kind(kind: str) -> type[Destination]:
    """The form for a kind of destination."""
    items = dataclasses.fields(kinds.config_class(kind))
    secret = kinds.secret_settings(kind)
    fields: dict[str, Any] = {
        "settings": tuple(kinds.outside(item.name) for item in items),
        "hints": {kinds.outside(item.name): item.metadata.get("help", "") for item in items},
    }
    for item in items:
        name = kinds.outside(item.name)
        label = _LABELS.get(item.name, item.name.replace("_", " ").capitalize())
        checks: list[Any] = [Length(max=_LONGEST, message="At most 4096 characters.")]
        if item.default is dataclasses.MISSING:
            checks.insert(0, InputRequired("Please fill this in."))
        fields[name] = (PasswordField if name in secret else StringField)(label, validators=checks)
    return type(f"{kind.capitalize()}Destination", (Destination,), fields)

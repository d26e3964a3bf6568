"""The form of a configuration. It has no rules: what is typed becomes a document (backup_document.py), and the schema
that the API uses says what is wrong with that."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args

from flask_wtf import FlaskForm
from wtforms import BooleanField, FieldList, Form, FormField, HiddenField, PasswordField, SelectField, StringField
from wtforms import TextAreaField as Lines

from webapp.schema import kinds
from webapp.schema.configuration import MAX_DESTINATIONS, Configuration
from webapp.schema.defaults import TYPES
from webapp.schema.retention import COUNTED

STORED = "stored"
KIND_NAMES = {"local": "A folder", "s3": "An S3 bucket"}
_KEPT = {
    "last": "Newest, of any age",
    "hourly": "Hours",
    "daily": "Days",
    "weekly": "Weeks",
    "monthly": "Months",
    "yearly": "Years",
}


def _choice(label: str, key: str) -> SelectField:
    """The values that the schema allows for a key, as they are written in documents."""
    values = get_args(Configuration.model_fields[key].annotation)
    return SelectField(label, choices=list(values), validate_choice=False)


def setting_names(kind: str) -> list[str]:
    """The settings of a kind of destination as fields, in the order of people."""
    return [f"{kind}_{item.name}" for item in dataclasses.fields(kinds.config_class(kind))]


def _place_fields() -> dict[str, Any]:
    choices = {
        "": "None",
        **{kind: KIND_NAMES.get(kind, kind) for kind in kinds.names()},
        STORED: "One that was added before",
    }
    fields: dict[str, Any] = {
        "was": HiddenField(),
        "kind": SelectField("Kind", choices=choices, validate_choice=False),
        "ref": SelectField("Which one", validate_choice=False),
        "removed": BooleanField("Remove this destination"),
    }
    for kind in kinds.names():
        for item in dataclasses.fields(kinds.config_class(kind)):
            label = item.name.replace("_", " ").capitalize().replace(" id", " ID")
            of = PasswordField if item.metadata.get("secret") else StringField
            fields[f"{kind}_{item.name}"] = of(label, description=item.metadata.get("help", ""))
            if item.metadata.get("secret"):
                fields[f"{kind}_{item.name}_removed"] = BooleanField(f"Remove the stored {label.lower()}")
    return fields


Place = type("Place", (Form,), {"__doc__": "One destination, of any kind; `was` is its number.", **_place_fields()})


class Backup(FlaskForm):  # type: ignore[misc]
    """What people change often. `base` is the document that the fields were filled from, `began` the one that was read
    first, `version` its version; `draft` holds, sealed, the secrets that were typed on the way."""

    id = StringField("Id")
    name = StringField("Name")
    type = SelectField("Type", choices=list(TYPES), validate_choice=False)
    databases = Lines("Databases")
    folders = Lines("Folders")
    exclude = Lines("Left out of every folder")
    environment = _choice("Environment", "environment")
    schedule = StringField("Schedule")
    timezone = StringField("Time zone")
    enabled = BooleanField("It runs by its schedule")
    places = FieldList(FormField(Place), max_entries=MAX_DESTINATIONS)
    compression = _choice("Compression", "compression")
    encryption = BooleanField("Encrypt the contents")
    cipher = _choice("Cipher", "cipher")
    on_failure = Lines("When a run fails")
    on_success = Lines("When a run succeeds")
    rpo = StringField("Accepted loss, in minutes")
    rto = StringField("Accepted time to restore, in minutes")
    keep_min = StringField("Never fewer than")
    base = HiddenField()
    began = HiddenField()
    version = HiddenField()
    draft = HiddenField()

    @property
    def kept(self) -> list[StringField]:
        """The numbers of the retention."""
        return [self[f"keep_{name}"] for name in COUNTED]


for _name in COUNTED:
    setattr(Backup, f"keep_{_name}", StringField(_KEPT[_name]))


class Text(FlaskForm):  # type: ignore[misc]
    """A whole document as JSON, on its way through the review or to be edited."""

    document = Lines("The configuration as JSON")
    began = HiddenField()
    version = HiddenField()
    draft = HiddenField()

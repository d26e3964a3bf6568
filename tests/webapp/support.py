"""Helpers of the tests in this folder."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from webapp.errors import ConfigurationInvalid
from webapp.schema.document import validate


@dataclass
class Hands:
    """A clock that stands still."""

    now: datetime

    def __call__(self) -> datetime:
        return self.now


def document(**changes: Any) -> dict[str, Any]:
    """The smallest valid configuration, with changes; a change to `...` removes the key."""
    whole: dict[str, Any] = {
        "id": "shop",
        "name": "Shop",
        "type": "full",
        "destinations": [{"type": "local", "config": {"path": "./backups"}}],
        **changes,
    }
    return {key: value for key, value in whole.items() if value is not ...}


def faults_of(checked: Any) -> dict[str, str]:
    """Pointer → sentence of a document that must be refused."""
    try:
        validate(checked)
    except ConfigurationInvalid as error:
        return {fault.pointer: fault.detail for fault in error.faults}
    raise AssertionError("the document was accepted")

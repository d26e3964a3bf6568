"""Secrets that were typed into a form which was not saved yet: they go through the browser sealed, never as text."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from engine.errors import EngineError
from webapp.errors import Invalid, ServiceError
from webapp.installation import Installation
from webapp.schema.defaults import Document
from webapp.schema.redact import without_secrets
from webapp.services import hidden, sealed
from webapp.services.access import Actor

_NAME = "draft"


def kept(installation: Installation, actor: Actor, document: Document) -> tuple[Document, str]:
    """The document without its secrets, and these sealed for this person; "" where there are none.

    The document must have the shape of one. Raises KeyMissing, SettingsInvalid, WrongKey."""
    shown = without_secrets(document)
    if shown == document:
        return shown, ""
    closed = sealed.seal(installation, {_NAME: json.dumps(document)}, bound=_bound(actor))
    return shown, base64.urlsafe_b64encode(closed).decode()


def whole(installation: Installation, actor: Actor, document: Any, draft: str) -> Any:
    """A document that came back from the browser, with the secrets of its draft. Raises Invalid for a draft that is not
    this person's, or was changed."""
    if not draft:
        return document
    try:
        opened = sealed.opened(installation, base64.urlsafe_b64decode(draft), bound=_bound(actor))
        typed = json.loads(opened[_NAME])
    except (binascii.Error, EngineError, ServiceError, KeyError, ValueError):
        raise Invalid("What was typed before cannot be read any more.", hint="Open the form again.") from None
    return hidden.filled_in(document, without_secrets(typed), typed)


def _bound(actor: Actor) -> str:
    return f"draft of {actor.identity}"

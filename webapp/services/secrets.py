"""Secrets of destinations at rest: sealed under a key that is derived from the encryption key."""

from __future__ import annotations

import json
from collections.abc import Mapping

from engine import crypto
from engine.errors import WrongKey
from webapp.keyfile import encryption_key
from webapp.services.keyrings import Tell
from webapp.settings import Settings

_INFO = b"holdfast-1 service secrets"


def seal(settings: Settings, values: Mapping[str, str], *, bound: str, may_generate: bool, tell: Tell) -> bytes:
    """The values, sealed; `bound` (the place they belong to) must be the same when they are opened.

    Raises KeyMissing, SettingsInvalid.
    """
    key = encryption_key(settings, may_generate=may_generate, tell=tell)
    return _cipher(key).seal(json.dumps(dict(values), sort_keys=True).encode(), bound.encode())


def unseal(settings: Settings, sealed: bytes, *, bound: str, tell: Tell) -> dict[str, str]:
    """What was sealed. Raises KeyMissing, SettingsInvalid, and WrongKey under another key."""
    key = encryption_key(settings, may_generate=False, tell=tell)
    try:
        opened: dict[str, str] = json.loads(_cipher(key).open(sealed, bound.encode()))
    except crypto.OpenFailed:
        raise WrongKey(
            "The stored credentials of a destination were sealed with another encryption key.",
            hint="Set BACKUP_ENCRYPTION_KEY to that key, or add the destination's credentials again.",
        ) from None
    return opened


def _cipher(key: bytes) -> crypto.Gcm:
    return crypto.Gcm(crypto.hkdf(key, b"", _INFO))

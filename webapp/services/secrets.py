"""Secrets of destinations at rest: sealed under a key that is derived from the encryption key. While that key is being
changed they are sealed twice, so that the old and the new one open them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from engine import crypto
from engine.errors import WrongKey
from webapp.keyfile import encryption_key
from webapp.services import keyrings
from webapp.services.keyrings import Tell
from webapp.settings import Settings

_INFO = b"holdfast-1 service secrets"
_TWICE = b"holdfast-1 twice"


def seal(settings: Settings, values: Mapping[str, str], *, bound: str, may_generate: bool, tell: Tell) -> bytes:
    """The values, sealed; `bound` (the place they belong to) must be the same when they are opened.

    Raises KeyMissing, SettingsInvalid, and WrongKey while a change of keys waits for the new key to be set.
    """
    key = encryption_key(settings, may_generate=may_generate, tell=tell)
    keyrings.require_present_key(settings, key)
    return _seal(key, values, bound)


def unseal(settings: Settings, sealed: bytes, *, bound: str, tell: Tell) -> dict[str, str]:
    """What was sealed. Raises KeyMissing, SettingsInvalid, and WrongKey under another key."""
    opened = unseal_with([encryption_key(settings, may_generate=False, tell=tell)], sealed, bound=bound)
    if opened is not None:
        return opened
    raise WrongKey(
        "The stored credentials of a destination were sealed with another encryption key.",
        hint="Set BACKUP_ENCRYPTION_KEY to that key, or add the destination's credentials again.",
    )


def unseal_with(keys: Sequence[bytes], sealed: bytes, *, bound: str) -> dict[str, str] | None:
    """The values, when one of the keys opens them."""
    for key, part in itertools.product(keys, _parts(sealed)):
        with suppress(crypto.OpenFailed):
            opened: dict[str, str] = json.loads(_cipher(key).open(part, bound.encode()))
            return opened
    return None


def reseal(values: Mapping[str, str], keys: Sequence[bytes], *, bound: str) -> bytes:
    """The values, sealed so that one key or each of two opens them."""
    first, *others = (_seal(key, values, bound) for key in dict.fromkeys(keys))
    if not others:
        return first
    return b"".join((_TWICE, len(first).to_bytes(4, "little"), first, *others))


def _seal(key: bytes, values: Mapping[str, str], bound: str) -> bytes:
    return _cipher(key).seal(json.dumps(dict(values), sort_keys=True).encode(), bound.encode())


def _parts(sealed: bytes) -> Iterator[bytes]:
    if not sealed.startswith(_TWICE):
        yield sealed
        return
    start = len(_TWICE) + 4
    length = int.from_bytes(sealed[len(_TWICE) : start], "little")
    yield sealed[start : start + length]
    yield sealed[start + length :]


def _cipher(key: bytes) -> crypto.Gcm:
    return crypto.Gcm(crypto.hkdf(key, b"", _INFO))

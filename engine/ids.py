"""Random identities and their spelling for people; the engine's only source of randomness."""

from __future__ import annotations

import base64
import os

ID_BYTES = 16


def random_bytes(count: int) -> bytes:
    """`count` bytes from the operating system's generator."""
    return os.urandom(count)


def new_id() -> bytes:
    """A random 128-bit identity."""
    return os.urandom(ID_BYTES)


def spell(prefix: str, identity: bytes) -> str:
    """`bk_` and 26 lower-case base32 letters for a 16-byte identity."""
    return f"{prefix}_{base64.b32encode(identity).decode().rstrip('=').lower()}"


def parse(prefix: str, text: str) -> bytes:
    """The identity that `spell` wrote. Raises ValueError when `text` is not such a spelling."""
    head, _, body = text.partition("_")
    if head != prefix or len(body) != 26:
        raise ValueError(f"{text!r} is not an id that begins with {prefix}_")
    identity = base64.b32decode(body.upper() + "======")
    if spell(prefix, identity) != text:
        raise ValueError(f"{text!r} is not a canonical id")
    return identity

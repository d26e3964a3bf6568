"""Names of the objects of a repository (docs/format.md, 2)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from engine.storage.base import Item

ID_BYTES, HASH_BYTES = 16, 32
_HEX = re.compile("[0-9a-f]+")
DESCRIPTION = "holdfast.json"
KEYS, PACKS, INDEX, MANIFESTS = "keys/", "packs/", "index/", "manifests/"
HEADS, TOMBSTONES, SESSIONS, MARKS = "heads/", "tombstones/", "sessions/", "marks/"
FENCES, QUARANTINE = "fences/", "quarantine/"
RESERVE = "reserve"


def pack(name: bytes) -> str:
    """The object of the pack whose bytes have this SHA-256."""
    digits = name.hex()
    return f"{PACKS}{digits[:2]}/{digits}"


def index(name: bytes) -> str:
    """The index object whose bytes have this SHA-256."""
    return INDEX + name.hex()


def manifest(identity: bytes) -> str:
    """The manifest of a restore point."""
    return MANIFESTS + identity.hex()


def head(keyed_config: bytes) -> str:
    """The head of a configuration, from the keyed hash of its id."""
    return HEADS + keyed_config.hex()


def session(identity: bytes, count: int) -> str:
    """A writer's session marker; `count` grows with each renewal."""
    return f"{SESSIONS}{identity.hex()}.{count}"


def mark(identity: bytes) -> str:
    """The mark of a pruner."""
    return MARKS + identity.hex()


def tombstone(restore_point: bytes) -> str:
    """The tombstone of a restore point."""
    return TOMBSTONES + restore_point.hex()


def fence(session_identity: bytes) -> str:
    """The fence of a session."""
    return FENCES + session_identity.hex()


def quarantine(name: str, number: int = 1) -> str:
    """Where a damaged object is set aside: a pack under its own name, another one with its folder before it. `number`
    counts those that were set aside under one name."""
    plain = name.rsplit("/", 1)[1] if name.startswith(PACKS) else name.replace("/", "-")
    return QUARANTINE + (plain if number == 1 else f"{plain}.{number}")


def named(items: Iterable[Item], length: int) -> Iterator[tuple[Item, bytes]]:
    """Objects with the identity or hash of `length` bytes that they are named by; what is not ours is passed over."""
    for item in items:
        digits = item.name.rsplit("/", 1)[-1].split(".")[0]
        if len(digits) == 2 * length and _HEX.fullmatch(digits):
            yield item, bytes.fromhex(digits)


def last_part(name: str) -> bytes:
    """The identity or hash that an object's name ends with. Raises ValueError for a name that is not ours."""
    return bytes.fromhex(name.rsplit("/", 1)[1].split(".")[0])

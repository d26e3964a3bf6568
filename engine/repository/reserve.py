"""A reserve of room at a destination, so that a full disk can still be cleaned: room for a mark and for tombstones."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from engine.errors import AlreadyExists, StorageError
from engine.ids import random_bytes
from engine.repository import layout
from engine.storage.base import Storage

# 32 bytes a pack in a mark, and a block of the file system for each tombstone: enough for some 250 points a time.
_BYTES = 1 << 20


def keep(storage: Storage) -> None:
    """Set the reserve aside, unless it is there. Where there is no room for it there is none to keep."""
    with suppress(StorageError):
        storage.put(layout.RESERVE, random_bytes(_BYTES))


def spend(storage: Storage, write: Callable[[], None]) -> None:
    """Carry out a small write; if it fails, once more with the reserve given up. Raises what the write raises."""
    try:
        write()
    except AlreadyExists:
        raise
    except StorageError:
        if not _give_up(storage):
            raise
        write()


def _give_up(storage: Storage) -> bool:
    try:
        storage.delete(layout.RESERVE)
    except StorageError:
        return False
    return True

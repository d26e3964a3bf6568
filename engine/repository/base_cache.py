"""Bases that only a distant destination has, kept on this machine as they were sealed: fetched once, not by every run.

Each is fetched only if there is room to keep it. Otherwise a database that is larger than the room would be fetched
anew every day, since what is used in a fixed order is always gone again when its turn comes."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from engine import crypto
from engine.ids import random_bytes

ROOM_BYTES = 4 << 30
UNUSED = timedelta(days=30)
_DIGEST_BYTES = 32


class BaseCache:
    """Sealed blobs in a folder, at most `room` bytes of them but for what other runs add meanwhile. Safe from several
    threads. A file that was cut off or changed counts as absent."""

    def __init__(self, folder: Path, now: datetime, *, room: int = ROOM_BYTES) -> None:
        """What no run used for 30 days before `now` is removed."""
        self._folder = folder
        self._left = room
        self._lock = threading.Lock()
        with suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for path in folder.iterdir():
                self._review(path, now - UNUSED)

    def _review(self, path: Path, oldest: datetime) -> None:
        with suppress(OSError):
            status = path.stat()
            if datetime.fromtimestamp(status.st_mtime, UTC) < oldest:
                path.unlink()
            else:
                self._left -= status.st_size

    def find(self, name: str, length: int) -> memoryview | None:
        """The blob of this name and length, if it is kept."""
        path = self._folder / name
        with suppress(OSError):
            kept = path.read_bytes()
            if len(kept) == _DIGEST_BYTES + length and crypto.sha256(kept[_DIGEST_BYTES:]) == kept[:_DIGEST_BYTES]:
                os.utime(path)
                return memoryview(kept)[_DIGEST_BYTES:]
        return None

    def holds(self, name: str) -> bool:
        """Whether there is something of this name."""
        return (self._folder / name).exists()

    def reserve(self, length: int) -> bool:
        """Whether there is room for a blob of this length; it is set aside then."""
        with self._lock:
            if self._left < _DIGEST_BYTES + length:
                return False
            self._left -= _DIGEST_BYTES + length
        return True

    def release(self, length: int) -> None:
        """Give back the room that was reserved for a blob of this length, which did not come."""
        with self._lock:
            self._left += _DIGEST_BYTES + length

    def keep(self, name: str, data: bytes | memoryview) -> None:
        """Put down a blob for which room was reserved. What cannot be written is not kept."""
        fresh = self._folder / random_bytes(16).hex()
        try:
            fresh.write_bytes(b"".join((crypto.sha256(data), data)))
            fresh.rename(self._folder / name)
        except OSError:
            self.release(len(data))
            with suppress(OSError):
                fresh.unlink()

"""What differences lean on, decoded: each base is decoded once for all that lean on it, within a bound of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Protocol

from engine.errors import Corrupt
from engine.repository.index import Location
from engine.repository.table import IndexTable

# Of a stream each chunk has a chain of its own, so what is kept serves chunks that share a base and little else.
_KEPT_BYTES = 32 << 20
_KEPT_FAILURES = 10_000


class Source(Protocol):
    """What reads a base that is not known yet, its id compared."""

    table: IndexTable

    def locate(self, id: bytes, below: int) -> tuple[Location, bytes]:
        """Where a copy of less depth than `below` lies, and its plaintext. Raises Corrupt, StorageError."""


class _Hand(threading.local):
    """The base that a thread decoded last: what it decodes next leans on it, whatever others do to the rest."""

    id = plain = b""


class DecodedBases:
    """Plaintexts of bases by id, those that were used last; safe to use from several threads."""

    def __init__(self, source: Source, *, limit: int = _KEPT_BYTES) -> None:
        self._source = source
        self._limit = limit
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()
        self._bytes = 0
        # By id, with the depth below which no copy opens. Without it a chain whose end is damaged at each of several
        # places would be tried in every combination of them.
        self._failed: dict[bytes, tuple[int, Corrupt]] = {}
        self._hand = _Hand()
        self._lock = threading.Lock()

    def read(self, id: bytes, below: int) -> bytes:
        """The plaintext of the base of a difference whose depth is `below`, from a copy of less depth.

        Raises Corrupt, whose name is the damaged object, StorageError."""
        waiting: list[tuple[bytes, int]] = []
        plain = self.known(id)
        while plain is None:  # down first, then up: a chain may be longer than calls may be nested
            waiting.append((id, below))
            location = self._first(id, below)
            if location is None or location.base is None:
                break
            id, below = location.base.id, location.entry.depth
            plain = self.known(id)
        while waiting:
            plain = self._decode(*waiting.pop())
        assert plain is not None
        return plain

    def known(self, id: bytes) -> bytes | None:
        """The plaintext of a base that was decoded lately."""
        if self._hand.id == id:
            return self._hand.plain
        with self._lock:
            if id in self._kept:
                self._kept.move_to_end(id)
                return self._kept[id]
        return None

    def forget(self) -> None:
        """Give the memory back: a reader and its bases hold each other, and may live on for long."""
        with self._lock:
            self._kept.clear()
            self._bytes = 0

    def _first(self, id: bytes, below: int) -> Location | None:
        """The copy that is tried first."""
        location = self._source.table.find(id)
        return location if location is not None and location.entry.depth < below else None

    def _decode(self, id: bytes, below: int) -> bytes:
        depth, failure = self._failed.get(id, (0, None))
        if failure is not None and below <= depth:
            raise failure
        try:
            plain = self._source.locate(id, below)[1]
        except Corrupt as error:
            with self._lock:
                if len(self._failed) >= _KEPT_FAILURES:
                    self._failed.clear()
                self._failed[id] = below, error
            raise
        self._hand.id, self._hand.plain = id, plain
        with self._lock:
            if id not in self._kept:
                self._kept[id] = plain
                self._bytes += len(plain)
            while self._bytes > self._limit:
                self._bytes -= len(self._kept.popitem(last=False)[1])
        return plain

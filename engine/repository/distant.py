"""Reads bases that only a distant destination has: through the cache on this machine, and what lies behind each other
in one pack by one request. A first dump lies there chunk behind chunk, and so do the differences of each later day."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from itertools import islice

from engine.errors import Unavailable
from engine.repository.base_cache import BaseCache
from engine.repository.index import Location
from engine.repository.pack import Entry
from engine.repository.reader import BlobReader
from engine.repository.repository import Repository
from engine.repository.table import IndexTable

# A request brings the blob alone, with its neighbours if it is small, until it shows that they are read in a row; then
# more each time. Over a way of 40 ms a turn and 60 MB/s, 4 MB take 107 ms by one request, 470 ms by ten.
_SMALL_BYTES, _LARGE_BYTES, _GROWTH = 256 << 10, 4 << 20, 4
# What was not wanted, or was kept already, does not end a row; nor does what another thread asks for a little late.
_GAP_BYTES = 1 << 20


class DistantBases(BlobReader):
    """Reads bases of a distant destination. `fetched_bytes` is what came from there."""

    def __init__(self, repository: Repository, table: IndexTable, cache: BaseCache | None) -> None:
        super().__init__(repository, table)
        self._cache = cache
        self._lock = threading.Lock()
        self._coming: dict[str, Future[dict[str, memoryview]]] = {}
        # By pack: where the last request ended, and how many bytes the next one may bring.
        self._rows: dict[bytes, tuple[int, int]] = {}
        self.fetched_bytes = 0

    def sealed(self, location: Location) -> bytes | memoryview:
        """As BlobReader.sealed. Raises Unavailable also when there is no room to keep the blob."""
        name = _name(location, location.entry.position)
        if self._cache is None:
            with self._lock:
                self.fetched_bytes += location.entry.stored
            return super().sealed(location)
        kept = self._cache.find(name, location.entry.stored)
        return self._fetched(self._cache, location, name) if kept is None else kept

    def _fetched(self, cache: BaseCache, location: Location, name: str) -> memoryview:
        """Fetched by this thread, or by another one that is at it, or has been since this one looked."""
        with self._lock:
            coming = self._coming.get(name)
            if coming is None:
                kept = cache.find(name, location.entry.stored)
                if kept is not None:
                    return kept
                mine: Future[dict[str, memoryview]] = Future()
                wanted = list(self._row(cache, location))
                self._coming |= {_name(location, position): mine for position, _ in wanted}
        if coming is not None:
            return coming.result()[name]
        try:
            mine.set_result(self._fetch(cache, location, wanted))
        except BaseException as error:  # noqa: BLE001 - others wait for it, whatever it is
            mine.set_exception(error)
        with self._lock:
            for position, _ in wanted:
                self._coming.pop(_name(location, position), None)
        return mine.result()[name]

    def _fetch(self, cache: BaseCache, location: Location, wanted: list[tuple[int, int]]) -> dict[str, memoryview]:
        """The blobs at these positions of a pack, of these lengths, the first of which is the one at `location`."""
        if not wanted:
            raise Unavailable("There is no room to keep another base.")
        start, length = wanted[0][0], sum(stored for _, stored in wanted)
        try:
            data = memoryview(super().sealed(replace(location, entry=location.entry._replace(stored=length))))
        except BaseException:
            for _, stored in wanted:
                cache.release(stored)
            raise
        with self._lock:
            self.fetched_bytes += length
        found = {_name(location, at): data[at - start : at - start + stored] for at, stored in wanted}
        for name, part in found.items():
            cache.keep(name, part)
        return found

    def _row(self, cache: BaseCache, location: Location) -> Iterator[tuple[int, int]]:
        """Position and length of the blob and of those behind it that come along; nothing when there is no room."""
        pack, first = location.pack.name, location.entry.position
        before, most = self._rows.get(pack, (first, 0))
        is_next, is_late = 0 <= first - before <= _GAP_BYTES, 0 < before - first <= _GAP_BYTES
        most = min(_GROWTH * most, _LARGE_BYTES) if most and is_next else _SMALL_BYTES
        end = first
        for entry in self._behind(location):
            name = _name(location, entry.position)
            if entry.position > first and (
                entry.position + entry.stored - first > most or name in self._coming or cache.holds(name)
            ):
                break
            if entry.position != end or not cache.reserve(entry.stored):
                break
            yield entry.position, entry.stored
            end += entry.stored
        if not is_late:
            self._rows[pack] = end, most

    def _behind(self, location: Location) -> Iterator[Entry]:
        """The blob and each one behind it in its pack."""
        places = self.table.places_of_pack(location.pack.name)
        first = next(place for place in self.table.places(location.entry.id) if place in places)
        return (entry for _, entry, _ in islice(self.table.records(first), places.stop - first))


def _name(location: Location, position: int) -> str:
    return f"{location.pack.name.hex()}-{position}"

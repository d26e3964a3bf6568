"""Opens differences from their bases upwards, so that whoever reads everything decodes each blob once and holds no more
than one chain of plaintexts a thread."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterator

from engine.errors import EngineError
from engine.repository.index import Location, Pack
from engine.repository.reader import BlobReader
from engine.repository.table import IndexTable


class Chains:
    """The differences in some packs, and which of them were found to open; safe to use from several threads. Takes 9
    bytes a difference."""

    def __init__(self, reader: BlobReader, packs: Collection[Pack]) -> None:
        self._reader = reader
        self._table = reader.table
        self._leaning = array("Q", sorted(_pairs(self._table, {pack.name for pack in packs})))
        self._sound = bytearray(len(self._leaning))

    def follow(self, base: Location, plain: bytes) -> None:
        """Open what leans on a blob, whose id was compared, and what leans on that, and so on. What does not open is
        left, and so is what leans on it."""
        place = self._table.first(base.entry.id)
        if place is None:
            return
        at = bisect_left(self._leaning, place << 32)
        while at < len(self._leaning) and self._leaning[at] >> 32 == place:
            found = self._table.location(self._leaning[at] & 0xFFFFFFFF)
            if not self._sound[at] and base.entry.depth < found.entry.depth:
                try:
                    opened = self._reader.open(found, self._reader.sealed(found), base=plain)
                except EngineError:
                    opened = None
                if opened is not None:
                    self._sound[at] = True
                    self.follow(found, opened)
            at += 1

    def left(self) -> Iterator[Location]:
        """Differences that were not opened so far although what they lean on is there, pack by pack. One without its
        base is no damage unless somebody needs it: a clean-up may take the base of what nobody needs."""
        for place in sorted(
            pair & 0xFFFFFFFF for pair, sound in zip(self._leaning, self._sound, strict=True) if not sound
        ):
            location = self._table.location(place)
            if location.base is not None and self._table.holds(location.base.id, below=location.entry.depth):
                yield location


def missing_base(table: IndexTable, id: bytes) -> bytes | None:
    """The id at which the chain of a blob breaks off, its own if there is no copy; None when it can be opened."""
    if table.holds(id):
        return None
    for location in table.chain(id):
        id = location.base.id if location.base else id
    return id


def _pairs(table: IndexTable, packs: Collection[bytes]) -> Iterator[int]:
    """The place of a base, that of its first copy, with the place of a difference."""
    numbers = {number for number, pack in enumerate(table.packs()) if pack.name in packs}
    for place, base in table.differences():
        first = table.first(base.id)
        if first is not None and table.pack_of(place) in numbers:
            yield first << 32 | place

"""Which blob lies where: index objects (docs/format.md, 7), and a sorted table of 52 bytes a blob in memory."""

from __future__ import annotations

import struct
import threading
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import overload

from engine.errors import Corrupt
from engine.keyring import Keyring
from engine.repository import box, pack
from engine.repository.box import HEADER_BYTES, Header
from engine.repository.pack import Entry, PackInfo

_SECTION = struct.Struct("<32sI96sI")
_COUNT = struct.Struct("<I")
_RECORD = struct.Struct("<32sIIIBBBxI")
_ID_BYTES = 32


@dataclass(frozen=True)
class Pack:
    """A pack that the index knows: SHA-256 name and size in bytes."""

    name: bytes
    size: int
    raw_header: bytes
    keyring: Keyring

    @cached_property
    def header(self) -> Header:
        """The checked header with its keys."""
        return box.read_header(self.keyring, self.raw_header, box.PACK_MAGIC, f"pack {self.name.hex()}")


@dataclass(frozen=True)
class Location:
    """Where one blob is."""

    pack: Pack
    entry: Entry


def encode(packs: Iterable[PackInfo]) -> bytes:
    """The plaintext of an index object."""
    return b"".join(
        _SECTION.pack(info.name, info.size, info.header, len(info.directory)) + info.directory for info in packs
    )


def decode(plain: bytes, name: str) -> Iterator[PackInfo]:
    """The sections of an index object. Raises Corrupt."""
    position = 0
    while position < len(plain):
        try:
            pack_name, size, header, length = _SECTION.unpack_from(plain, position)
        except struct.error as error:
            raise Corrupt(f"{name} is damaged: it is cut off.", name=name) from error
        position += _SECTION.size
        if position + length > len(plain):
            raise Corrupt(f"{name} is damaged: it is cut off.", name=name)
        yield PackInfo(pack_name, size, header, plain[position : position + length])
        position += length


class IndexTable:
    """Finds blobs by id. Filled once with `load`, then grown with `add`; lookups are safe from any thread."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._packs: list[Pack] = []
        self._numbers: dict[bytes, int] = {}
        self._sorted = _Records(b"")
        self._recent: dict[bytes, bytes] = {}
        self._places: list[array[int]] | None = None
        self._lock = threading.Lock()

    def load(self, sections: Iterable[PackInfo]) -> None:
        """Take in sections."""
        records: list[bytes] = []
        for info in sections:
            if info.name not in self._numbers:
                records.extend(self._register(info))
        records.extend(self._sorted)
        records.sort()
        self._sorted = _Records(b"".join(records))
        self._places = None

    def add(self, info: PackInfo) -> None:
        """Take in a pack that was just written."""
        if info.name not in self._numbers:
            for record in self._register(info):
                self._recent.setdefault(record[:_ID_BYTES], record)

    def find(self, id: bytes) -> Location | None:
        """The place of a blob; of several copies the one of lowest depth."""
        places = self.find_all(id)
        return places[0] if places else None

    def find_all(self, id: bytes) -> list[Location]:
        """Every place of a blob, lowest depth first."""
        places = [self._location(record) for record in self._sorted.find_all(id)]
        if id in self._recent:
            places.append(self._location(self._recent[id]))
        return sorted(places, key=lambda place: place.entry.depth) if len(places) > 1 else places

    def __contains__(self, id: bytes) -> bool:
        return id in self._recent or bool(self._sorted.find_all(id))

    def __len__(self) -> int:
        return len(self._sorted) + len(self._recent)

    def of_pack(self, wanted: Pack) -> Iterator[Location]:
        """The blobs of one pack among those that were loaded, in no order."""
        for place in self._by_pack()[self._numbers[wanted.name]]:
            yield self._location(self._sorted[place])

    def _by_pack(self) -> list[array[int]]:
        with self._lock:
            if self._places is None:
                places = [array("I") for _ in self._packs]
                for place, record in enumerate(self._sorted):
                    places[_RECORD.unpack(record)[-1]].append(place)
                self._places = places
            return self._places

    def packs(self) -> Sequence[Pack]:
        """All packs that were taken in."""
        return self._packs

    def _location(self, record: bytes) -> Location:
        *fields, number = _RECORD.unpack(record)
        return Location(self._packs[number], Entry._make(fields))

    def _register(self, info: PackInfo) -> list[bytes]:
        if len(info.header) != HEADER_BYTES:
            raise Corrupt("An index section has no header.")
        number = _COUNT.pack(len(self._packs))
        self._numbers[info.name] = len(self._packs)
        self._packs.append(Pack(info.name, info.size, info.header, self._keyring))
        (count,) = _COUNT.unpack_from(info.directory)
        end = _COUNT.size + count * pack.ENTRY_BYTES
        if len(info.directory) < end:
            raise Corrupt("An index section is cut off.")
        return [info.directory[i : i + pack.ENTRY_BYTES] + number for i in range(_COUNT.size, end, pack.ENTRY_BYTES)]


class _Records(Sequence[bytes]):
    """Sorted records in one block of memory; ids are uniform, so a search starts near the right place."""

    def __init__(self, block: bytes) -> None:
        self._block = block
        self._count = len(block) // _RECORD.size

    def find_all(self, id: bytes) -> list[bytes]:
        """The records with this id."""
        guess = int.from_bytes(id[:4], "big") * self._count >> 32
        reach = 64
        low, high = max(0, guess - reach), min(self._count, guess + reach)
        while low > 0 and self._key(low - 1) >= id:
            reach *= 4
            low = max(0, guess - reach)
        while high < self._count and self._key(high - 1) < id:
            reach *= 4
            high = min(self._count, guess + reach)
        found = bisect_left(range(self._count), id, low, high, key=self._key)
        end = found
        while end < self._count and self._key(end) == id:
            end += 1
        return [self[place] for place in range(found, end)]

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> bytes: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[bytes]: ...
    def __getitem__(self, place: int | slice) -> bytes | Sequence[bytes]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(self._count))]
        if not 0 <= place < self._count:
            raise IndexError(place)
        return self._block[place * _RECORD.size : (place + 1) * _RECORD.size]

    def _key(self, place: int) -> bytes:
        start = place * _RECORD.size
        return self._block[start : start + _ID_BYTES]

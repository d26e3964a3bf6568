"""Which blob lies where, in memory: at most 64 bytes a blob, while it is filled too (docs/performance.md).

Entries are kept as packs list them, found by a hash table of their numbers. So nothing is sorted, packs can be added at
any time, and the number of an entry, its *place*, stays. A difference takes 36 bytes more, for its base."""

from __future__ import annotations

import struct
import threading
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

from engine.errors import Corrupt
from engine.keyring import Keyring
from engine.repository import pack
from engine.repository.box import HEADER_BYTES
from engine.repository.index import Location, Pack
from engine.repository.pack import Base, Entry, PackInfo

_COUNT = struct.Struct("<I")
_ENTRY = struct.Struct("<32sIIIBBBx")
_PACK = struct.Struct(f"<32sI{HEADER_BYTES}s")
# Two thirds of the slots are taken after they were laid out, four fifths before they are laid out anew: with both sets
# in memory that is 11 bytes a record.
_FREE, _FULL = 3 / 2, 4 / 5
_ENTRY_BITS, _PACK_BITS = 12, 8
# Packs made from their records and kept: a header's keys cost more to derive than a blob to open.
_KEPT_PACKS = 1024
_DEPTH_OFFSET = 46
ANY_DEPTH = 256


class IndexTable:
    """Finds blobs by id. Packs are taken in by one thread at a time; lookups are safe from any thread meanwhile.

    Of a blob in several packs the copy of lowest depth comes first, then the one that was taken in first."""

    def __init__(self, keyring: Keyring) -> None:
        self._entries = _Records(pack.ENTRY_BYTES, _ENTRY_BITS)
        self._packs = _Packs(keyring)
        # By the number of the pack: the bases of its differences, in the order of their places.
        self._bases: dict[int, bytes] = {}
        self._lock = threading.Lock()

    def load(self, sections: Iterable[PackInfo]) -> None:
        """Take in many sections; they are found when this returns. Raises Corrupt."""
        with self._lock:
            for info in sections:
                self._append(info)
            self._entries.settle()

    def add(self, info: PackInfo) -> None:
        """Take in a pack that was just written. Raises Corrupt."""
        self.load((info,))

    def find(self, id: bytes) -> Location | None:
        """Where a blob is."""
        place = self.place(id)
        return None if place is None else self.location(place)

    def find_all(self, id: bytes) -> list[Location]:
        """Every place where a blob is."""
        return [self.location(place) for place in self.places(id)]

    def chain(self, id: bytes, *, below: int = ANY_DEPTH) -> Iterator[Location]:
        """The copy of a blob that readers try first, that of what it leans on, and so on."""
        while (location := self.find(id)) is not None and location.entry.depth < below:
            yield location
            if location.base is None:
                return
            id, below = location.base.id, location.entry.depth

    def place(self, id: bytes) -> int | None:
        """The place of a blob."""
        places = self.places(id)
        return places[0] if places else None

    def first(self, id: bytes) -> int | None:
        """The place of that copy of a blob that was taken in first: the lowest one, whatever is added later."""
        places = self._entries.find(id, most=1)
        return places[0] if places else None

    def places(self, id: bytes) -> list[int]:
        """The places of all copies of a blob."""
        places = self._entries.find(id)
        return sorted(places, key=lambda place: (self._entry(place).depth, place)) if len(places) > 1 else places

    def location(self, place: int) -> Location:
        """What lies at a place. Raises IndexError."""
        entry = self._entry(place)
        return Location(self._packs[self.pack_of(place)], entry, self.base_of(place) if entry.depth else None)

    def base_of(self, place: int) -> Base | None:
        """What the blob at a place leans on; None when it is no difference. Raises IndexError."""
        number = self.pack_of(place)
        block, start = self._entries.at(place)
        if not block[start + _DEPTH_OFFSET]:
            return None
        rank = self._differences_between(self._packs.start(number), place)
        records = memoryview(self._bases[number])
        return pack.unpack_base(records[rank * pack.BASE_BYTES : (rank + 1) * pack.BASE_BYTES])

    def differences(self) -> Iterator[tuple[int, Base]]:
        """The place of each difference with what it leans on."""
        for number, records in list(self._bases.items()):
            place = self._packs.start(number)
            rank = 0
            for part in self._entries.parts(place, self._places_in(number).stop):
                for depth in bytes(part[_DEPTH_OFFSET :: pack.ENTRY_BYTES]):
                    if depth:
                        yield place, pack.unpack_base(records[rank : rank + pack.BASE_BYTES])
                        rank += pack.BASE_BYTES
                    place += 1

    def holds(self, id: bytes, *, below: int = ANY_DEPTH) -> bool:
        """Whether a copy of the blob, of less than this depth, could be opened with nothing but what the table has: it
        is complete, or its base is held in the same way. Only then may anybody refer to it: a clean-up may leave a
        difference that nobody needs, and take its base."""
        return self.held(id, below=below) is not None

    def held(self, id: bytes, *, below: int = ANY_DEPTH) -> int | None:
        """The place of the lowest copy that `holds` is about; None without one."""
        first = self._entries.find(id, most=1)  # complete as a rule, and then no other is looked for
        for place in first if first and not self._entry(first[0]).depth else self.places(id):
            depth = self._entry(place).depth
            if depth < below:
                base = self.base_of(place)
                if base is None or self.holds(base.id, below=depth):
                    return place
        return None

    def _differences_between(self, start: int, end: int) -> int:
        parts = self._entries.parts(start, end)
        return sum(
            len(depths) - depths.count(0)
            for part in parts
            if (depths := bytes(part[_DEPTH_OFFSET :: pack.ENTRY_BYTES]))
        )

    def pack_of(self, place: int) -> int:
        """The number of the pack in `packs()` that holds a place. Raises IndexError."""
        if not 0 <= place < len(self):
            raise IndexError(place)
        return self._packs.holder(place)

    def __contains__(self, id: bytes) -> bool:
        return bool(self._entries.find(id, most=1))

    def __len__(self) -> int:
        return len(self._entries)

    def records(self, start: int = 0) -> Iterator[tuple[int, Entry, int]]:
        """Place, entry and number of the pack of every blob from the place `start` on, pack by pack."""
        place = start
        for number in range(self._packs.holder(start) if start else 0, len(self._packs)):
            for part in self._entries.parts(place, self._places_in(number).stop):
                for entry in map(Entry._make, _ENTRY.iter_unpack(part)):
                    yield place, entry, number
                    place += 1

    def of_pack(self, wanted: Pack) -> Iterator[Location]:
        """The blobs of one pack."""
        return map(self.location, self.places_of_pack(wanted.name))

    def places_of_pack(self, name: bytes) -> range:
        """The places of one pack; none when it was not taken in."""
        number = self._packs.number(name)
        return range(0) if number is None else self._places_in(number)

    def packs(self) -> Sequence[Pack]:
        """All packs that were taken in."""
        return self._packs

    def _places_in(self, number: int) -> range:
        is_last = number + 1 == len(self._packs)
        return range(self._packs.start(number), len(self) if is_last else self._packs.start(number + 1))

    def _entry(self, place: int) -> Entry:
        return Entry._make(_ENTRY.unpack_from(*self._entries.at(place)))

    def _append(self, info: PackInfo) -> None:
        if self._packs.number(info.name) is not None:
            return
        if len(info.header) != HEADER_BYTES:
            raise Corrupt("An index section has no header.")
        if len(info.directory) < _COUNT.size:
            raise Corrupt("An index section is cut off.")
        (count,) = _COUNT.unpack_from(info.directory)
        end = _COUNT.size + count * pack.ENTRY_BYTES
        if len(info.directory) < end:
            raise Corrupt("An index section is cut off.")
        bases = info.directory[end:]
        differences = count - info.directory[_COUNT.size + _DEPTH_OFFSET : end : pack.ENTRY_BYTES].count(0)
        if len(bases) != differences * pack.BASE_BYTES:
            raise Corrupt("An index section is cut off.")
        if bases:
            self._bases[len(self._packs)] = bases
        self._packs.append(info, start=len(self))
        self._entries.append(memoryview(info.directory)[_COUNT.size : end])


class _Packs(Sequence[Pack]):
    """The packs of a table, by number and by name, with the place of the first blob of each."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._records = _Records(_PACK.size, _PACK_BITS)
        self._starts = array("I")
        self._kept: dict[int, Pack] = {}

    def append(self, info: PackInfo, *, start: int) -> None:
        self._starts.append(start)
        self._records.append(_PACK.pack(info.name, info.size, info.header))
        self._records.settle()

    def number(self, name: bytes) -> int | None:
        found = self._records.find(name, most=1)
        return found[0] if found else None

    def start(self, number: int) -> int:
        return self._starts[number]

    def holder(self, place: int) -> int:
        return bisect_right(self._starts, place) - 1

    def __len__(self) -> int:
        return len(self._records)

    @overload
    def __getitem__(self, number: int) -> Pack: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[Pack]: ...
    def __getitem__(self, number: int | slice) -> Pack | Sequence[Pack]:
        if isinstance(number, slice):
            return [self[each] for each in range(*number.indices(len(self)))]
        if not 0 <= number < len(self):
            raise IndexError(number)
        made = self._kept.get(number)
        if made is None:
            if len(self._kept) >= _KEPT_PACKS:
                self._kept = {}
            name, size, header = _PACK.unpack_from(*self._records.at(number))
            made = self._kept[number] = Pack(name, size, header, self._keyring)
        return made


class _Records:
    """Records of one size, numbered from 0, and found by the 32 uniform bytes that each begins with."""

    def __init__(self, size: int, block_bits: int) -> None:
        self._size = size
        self._bits, self._mask = block_bits, (1 << block_bits) - 1
        self._blocks: list[bytearray] = []
        self._count = self._settled = 0
        self._slots = array("I", [0])
        self._keys = struct.Struct(f"<I{size - 4}x")

    def append(self, records: bytes | memoryview) -> None:
        """Take in whole records; `settle` makes that they are found."""
        view = memoryview(records)
        while view:
            used = self._count & self._mask
            if not used:
                self._blocks.append(bytearray(self._size << self._bits))
            part = view[: (self._mask + 1 - used) * self._size]
            self._blocks[-1][used * self._size : used * self._size + len(part)] = part
            self._count += len(part) // self._size
            view = view[len(part) :]

    def settle(self) -> None:
        """Give a slot to each record that has none yet."""
        slots, done = self._slots, self._settled
        if self._count > len(slots) * _FULL:
            slots, done = array("I", [0]) * int(self._count * _FREE + 8), 0
        size = len(slots)
        for key in self._keys_from(done):
            slot = key * size >> 32
            while slots[slot]:
                slot = slot + 1 if slot + 1 < size else 0
            done += 1
            slots[slot] = done
        self._slots, self._settled = slots, done

    def find(self, key: bytes, *, most: int = 0) -> list[int]:
        """The numbers of the records with this key, lowest first since they got their slots in this order. `most`
        spares looking for more: a blob has one copy as a rule, and to see that there is no other takes three times
        as long as to find it."""
        slots, blocks, bits, mask, record = self._slots, self._blocks, self._bits, self._mask, self._size
        size, found = len(slots), list[int]()
        slot = int.from_bytes(key[:4], "little") * size >> 32
        while number := slots[slot]:
            number -= 1
            # As `at`, but inline: a call would double the time of a look-up.
            if blocks[number >> bits].startswith(key, (number & mask) * record):
                found.append(number)
                if len(found) == most:
                    break
            slot = slot + 1 if slot + 1 < size else 0
        return found

    def at(self, number: int) -> tuple[bytearray, int]:
        """The block that holds a record, and where in it."""
        return self._blocks[number >> self._bits], (number & self._mask) * self._size

    def __len__(self) -> int:
        return self._count

    def parts(self, number: int, end: int) -> Iterator[memoryview]:
        """The records from `number` to before `end`, some at a time."""
        while number < end:
            block, start = self.at(number)
            stop = min(len(block), start + (end - number) * self._size)
            yield memoryview(block)[start:stop]
            number += (stop - start) // self._size

    def _keys_from(self, number: int) -> Iterator[int]:
        """The hashed part of the keys of all records from `number` on."""
        for part in self.parts(number, self._count):
            yield from (key for (key,) in self._keys.iter_unpack(part))

"""Differences: which chunk of the version before a new chunk leans on, and what is stored of it then.

A difference and its base are at each destination that the difference is written to, the base at a lower depth and
before it (docs/format.md, 12). Where anything is in the way there is no difference, and the chunk is stored in full."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from engine import compress, crypto
from engine.errors import Corrupt, EngineError
from engine.model.content import Chunk
from engine.repository import pack
from engine.repository.base_cache import BaseCache
from engine.repository.copy import Copy
from engine.repository.distant import DistantBases
from engine.repository.index import Location
from engine.repository.pack import Base
from engine.repository.reader import BlobReader

# Rarely reached: see EarlierVersion.
MAX_DEPTH = 8
# Of what the chunk would take in full. Nearly all are far below it or far above: 0.5 and 0.95 give the same.
KEPT_SHARE = 0.8
# Chunks of the version before on each side of the last base that are known: some 16 GiB, 12 MB of memory.
WINDOW_CHUNKS = 16_384
# Of content that nothing can be found for, such as what somebody else encrypted, only some chunks are tried.
_GIVE_UP_AFTER, _TRY_EVERY = 4, 8
_ID_BYTES = 32

Tools = tuple[compress.Compressor, compress.Decompressor]


class EarlierVersion:
    """The chunks of a file or stream as it was before, which those of the new version are held against in order.

    Cut points depend on the content around them, so what begins anew behind a change ends as it ended before: the base
    is the chunk with the same tail. Without one it is the chunk behind the last base: offsets shift with whatever was
    inserted in front, the order does not (by offset a week of dumps took 13 % more).

    Were each version to lean on the one before it, chains would soon be long, and each step is read by every restore.
    So of the versions, numbered from 1, an odd one leans on the one before it, and one whose number ends with n zero
    bits on what lies n steps further down in that one's chain. After a month the longest chain has five steps instead
    of thirty. A week of dumps takes 4 to 8 % more than with chains of up to eight, and half the steps to read."""

    def __init__(self, chunks: Iterator[Chunk], *, number: int) -> None:
        """`chunks` may raise EngineError, which ends them. `number` is that of the new version."""
        self.number = number
        self.steps_down = (number & -number).bit_length() - 1
        self._chunks = chunks
        self._known: list[bytes] = []
        self._first = self._next = 0
        self._numbers: dict[bytes, int] = {}
        self._failures = 0

    def base_for(self, tail: bytes) -> bytes | None:
        """The id of the chunk that the next chunk of the new version, with this tail fingerprint, may lean on."""
        self._read_on()
        number = self._next if self._tail_of(self._next) == tail else self._numbers.get(tail)
        is_guessed = number is None
        if number is None:
            number = self._next
        self._next = number + 1
        if is_guessed and self._failures >= _GIVE_UP_AFTER and number % _TRY_EVERY:
            return None
        place = number - self._first
        return self._known[place][:_ID_BYTES] if place < len(self._known) else None

    def judge(self, *, was_kept: bool) -> None:
        """Whether a difference was worth it; called by any thread."""
        self._failures = 0 if was_kept else self._failures + 1

    def _tail_of(self, number: int) -> bytes:
        place = number - self._first
        return self._known[place][_ID_BYTES:] if place < len(self._known) else b""

    def _read_on(self) -> None:
        """Know what is ahead, and forget what is long past."""
        while self._first + len(self._known) <= self._next + WINDOW_CHUNKS:
            try:
                chunk = next(self._chunks, None)
            except EngineError:
                chunk = None
            if chunk is None:
                self._chunks = iter(())
                break
            self._numbers.setdefault(chunk.tail, self._first + len(self._known))
            self._known.append(chunk.id + chunk.tail)
        if self._next - self._first > 2 * WINDOW_CHUNKS:
            for record in self._known[:WINDOW_CHUNKS]:
                if self._numbers.get(record[_ID_BYTES:], self._next) < self._first + WINDOW_CHUNKS:
                    del self._numbers[record[_ID_BYTES:]]
            del self._known[:WINDOW_CHUNKS]
            self._first += WINDOW_CHUNKS


class Hint(NamedTuple):
    """The chunk that a new one may lean on, and the version that it is of."""

    id: bytes
    version: EarlierVersion


class Form(NamedTuple):
    """A blob as it is stored: in full, or as a difference with a `depth` and a `base`."""

    codec: int
    payload: bytes | memoryview
    depth: int = 0
    base: Base | None = None


class Bases:
    """Makes differences for one writer to these destinations. Safe from several threads."""

    def __init__(self, copies: Sequence[Copy], suite: int, cache: BaseCache | None) -> None:
        """`cache` keeps what has to be fetched from a distant destination."""
        self._suite = suite
        # One request at a time is best where only a disk counts.
        distant = [copy for copy in copies if copy.repository.storage.requests_at_once > 1]
        self._fetching = [DistantBases(copy.repository, copy.table, cache) for copy in distant]
        near = [(copy, BlobReader(copy.repository, copy.table)) for copy in copies if copy not in distant]
        self._readers = [*near, *zip(distant, self._fetching, strict=True)]

    @property
    def fetched_bytes(self) -> int:
        """What came from distant destinations for differences."""
        return sum(reader.fetched_bytes for reader in self._fetching)

    def difference(self, tools: Tools, plain: memoryview, hint: Hint, lacking: Sequence[Copy]) -> Form | None:
        """The chunk as it is stored at destinations that lack it; None when it is better stored in full. Raises Corrupt
        when it does not come back from what was made of it."""
        chosen = self._choose(hint, lacking)
        base_plain = None if chosen is None else self._read(chosen.id)
        if chosen is None or base_plain is None:
            return None
        full = min(int(chosen.full_share * len(plain)), crypto.sealed_length(self._suite, len(plain)))
        compressor, decompressor = tools
        payload = compressor.difference(plain, base_plain)
        is_kept = crypto.sealed_length(self._suite, len(payload)) < full * KEPT_SHARE
        hint.version.judge(was_kept=is_kept)
        if not is_kept:
            return None
        if not decompressor.decompress(compress.ZSTD, payload, len(plain), base_plain).startswith(plain):
            raise Corrupt("A difference did not give its chunk again.", hint="Check this machine's memory.")
        return Form(compress.ZSTD, payload, chosen.depth + 1, Base(chosen.id, full))

    def _choose(self, hint: Hint, lacking: Sequence[Copy]) -> _Chosen | None:
        """The wanted base, or one that it leans on itself. None unless each destination holds it."""
        id, steps = hint.id, hint.version.steps_down
        while True:
            places = [copy.table.location(place) for copy in lacking if (place := copy.table.held(id)) is not None]
            if len(places) < len(lacking) or not all(map(self._fits, places)):
                return None
            deepest = max(places, key=lambda location: location.entry.depth)
            if deepest.base is None or (steps <= 0 and deepest.entry.depth < MAX_DEPTH):
                full = min(map(_full_length, places))
                return _Chosen(id, deepest.entry.depth, full / max(1, deepest.entry.plain)) if full else None
            id, steps = deepest.base.id, steps - 1

    def _fits(self, location: Location) -> bool:
        return location.entry.type == pack.DATA and location.pack.header.suite == self._suite

    def _read(self, id: bytes) -> bytes | None:
        """The plaintext of a base from the nearest destination that has it; None when it does not open there."""
        for copy, reader in self._readers:
            if copy.is_alive and copy.has(id):
                try:
                    return reader.read(id)
                except EngineError:
                    return None
        return None


class _Chosen(NamedTuple):
    """A base: its greatest depth, and what a byte of it takes in full."""

    id: bytes
    depth: int
    full_share: float


def _full_length(location: Location) -> int:
    """Sealed bytes that the blob takes in full, or would; 0 when unknown."""
    return location.base.full if location.base else location.entry.stored

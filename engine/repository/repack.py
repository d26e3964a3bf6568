"""Writes what is still needed of half-dead and of small packs anew, so that the old ones can go.

Every blob is opened and its id compared first. One that is damaged is reported and left where it is, with its pack: a
fresh pack would hide the damage. A difference stays one, with its depth and its base: so nothing leans on anything that
it did not lean on before, and no circle can come about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from engine import crypto
from engine.errors import Corrupt, NotFound, ShortRead
from engine.progress import Progress
from engine.repository import box, index, layout
from engine.repository import pack as packs
from engine.repository.index import Location, Pack
from engine.repository.pack import OpenPack, PackInfo
from engine.repository.reader import BlobReader
from engine.repository.repository import Repository
from engine.repository.spans import runs
from engine.repository.table import ANY_DEPTH, IndexTable
from engine.spool import scratch_folder

# Hourly runs leave packs of some kilobytes. Below this size they are merged, once there are so many of a kind.
SMALL_BYTES = 8 << 20
MANY_SMALL = 8

Live = tuple[Pack, Sequence[Location]]


@dataclass(frozen=True)
class Usage:
    """How much of a pack is needed: `live_bytes` are sealed bytes of blobs, and those that tell what they lean on."""

    pack: Pack
    live_bytes: int
    live_blobs: int
    total_blobs: int

    @property
    def needed_bytes(self) -> int:
        """What its live blobs and their entries take."""
        return self.live_bytes + self.live_blobs * packs.ENTRY_BYTES

    @property
    def is_half_dead(self) -> bool:
        """Some blobs are needed, and less than half of the bytes."""
        return 0 < self.live_blobs < self.total_blobs and self.needed_bytes * 2 < self.pack.size

    @property
    def is_small(self) -> bool:
        """Worth merging with others of its kind."""
        return self.live_blobs > 0 and self.pack.size < SMALL_BYTES


@dataclass(frozen=True)
class Rewritten:
    """New packs, their bytes, and for each pack that must stay the damage that was met in it."""

    infos: list[PackInfo] = field(default_factory=list)
    written_bytes: int = 0
    damaged: dict[bytes, Corrupt] = field(default_factory=dict)


def choose(usages: Iterable[Usage], *, limit_bytes: int) -> list[Pack]:
    """The packs that are worth writing anew: half-dead ones, those first that free the most for what they cost, then
    small ones where many are of one kind. Together they need at most `limit_bytes`. Packs without live blobs are left
    out: they can simply go."""
    half_dead, small = list[Usage](), dict[bytes, list[Usage]]()
    for usage in usages:
        if usage.is_half_dead:
            half_dead.append(usage)
        elif usage.is_small:
            small.setdefault(_kind(usage.pack), []).append(usage)
    half_dead.sort(key=lambda usage: (usage.needed_bytes / usage.pack.size, usage.pack.name))
    chosen, room = _fitting(half_dead, limit_bytes)
    for alike in small.values():
        alike.sort(key=lambda usage: (usage.pack.size, usage.pack.name))
        merged, left = _fitting(alike, room)
        if len(merged) >= MANY_SMALL:
            chosen, room = chosen + merged, left
    return chosen


def rewritten_size(live: Iterable[Live]) -> int:
    """The bytes of the packs that `rewrite` would write for these blobs."""
    filling: dict[bytes, tuple[int, int, int]] = {}
    total = 0
    for pack, locations in live:
        for location in locations:
            size, count, differences = filling.get(_kind(pack), (box.HEADER_BYTES, 0, 0))
            size, count = size + location.entry.stored, count + 1
            differences += location.base is not None
            filling[_kind(pack)] = size, count, differences
            if size >= packs.FULL_BYTES or count >= packs.MAX_BLOBS:
                total += packs.finished_size(_suite(pack), size, count, differences=differences)
                del filling[_kind(pack)]
    for kind, (size, count, differences) in filling.items():
        total += packs.finished_size(kind[0], size, count, differences=differences)
    return total


def rewrite(
    repository: Repository, live: Iterable[Live], *, table: IndexTable, spool: Path, progress: Progress
) -> Rewritten:
    """Put the given blobs of the given packs into new packs, publish an index of these, delete nothing.

    Raises StorageError, Cancelled, Corrupt when a new pack does not come back as it was written; what was written
    until then does no harm."""
    with scratch_folder(spool) as scratch, ExitStack() as cleanup:
        work = _Rewriting(repository, BlobReader(repository, table), scratch)
        cleanup.callback(work.abandon)
        for pack, locations in live:
            progress.checkpoint()
            work.take(pack, locations)
            progress.advance(items=1, read=sum(location.entry.stored for location in locations))
        work.finish()
        return Rewritten(work.infos, sum(info.size for info in work.infos), work.damaged)


class _Rewriting:
    """The packs that are being filled, one for each kind and suite."""

    def __init__(self, repository: Repository, reader: BlobReader, scratch: Path) -> None:
        self._repository = repository
        self._reader = reader
        self._scratch = scratch
        self._open: dict[bytes, OpenPack] = {}
        self._unindexed: list[PackInfo] = []
        self._done: dict[bytes, int] = {}  # with the depth of the copy
        self.infos: list[PackInfo] = []
        self.damaged: dict[bytes, Corrupt] = {}

    def take(self, pack: Pack, locations: Sequence[Location]) -> None:
        """All blobs of one pack, or none: where one of them does not open, the pack must stay in any case."""
        try:
            payloads = list(self._payloads(filter(self._is_new, locations)))
        except Corrupt as error:
            self.damaged[pack.name] = error
            return
        for location, payload in payloads:
            self._append(location, payload)

    def finish(self) -> None:
        for kind in list(self._open):
            self._put(self._open.pop(kind))
        self._publish()

    def abandon(self) -> None:
        for open_pack in self._open.values():
            open_pack.abandon()

    def _is_new(self, location: Location) -> bool:
        """Something may lean on a copy of less depth, and on no other."""
        return location.entry.depth < self._done.get(location.entry.id, ANY_DEPTH)

    def _payloads(self, locations: Iterable[Location]) -> Iterator[tuple[Location, bytes]]:
        """The compressed bytes of blobs whose plaintext was found to be what their id says. Raises Corrupt."""
        for run in runs(locations):
            name, start = layout.pack(run[0].pack.name), run[0].entry.position
            end = run[-1].entry.position + run[-1].entry.stored
            try:
                data = memoryview(self._repository.storage.get(name, start, end - start))
            except (NotFound, ShortRead) as error:
                raise Corrupt(error.message, name=name) from error
            for location in run:
                entry = location.entry
                sealed = data[entry.position - start : entry.position - start + entry.stored]
                self._reader.open(location, sealed)
                base = location.base.id if location.base else box.NO_ID
                yield location, packs.open_payload(location.pack.header, entry, sealed, name=name, base=base)

    def _append(self, location: Location, payload: bytes) -> None:
        kind, header, entry = _kind(location.pack), location.pack.header, location.entry
        if kind not in self._open:
            self._open[kind] = OpenPack(self._repository.keyring, header.kind, header.suite, self._scratch)
        open_pack = self._open[kind]
        open_pack.append(entry.id, entry.type, entry.codec, entry.plain, payload, depth=entry.depth, base=location.base)
        self._done[entry.id] = entry.depth
        if open_pack.is_full:
            self._put(self._open.pop(kind))

    def _put(self, open_pack: OpenPack) -> None:
        """Store a pack and read it back: what it was made from will be deleted on its word."""
        try:
            info = open_pack.finish()
            name, storage = layout.pack(info.name), self._repository.storage
            storage.put(name, open_pack.path)
            if crypto.sha256(storage.get(name)) != info.name:
                raise Corrupt(f"{name} came back other than it was written.", name=name)
        finally:
            open_pack.abandon()
        self.infos.append(info)
        self._unindexed.append(info)
        if sum(map(index.length_of, self._unindexed)) >= index.FULL_BYTES:
            self._publish()

    def _publish(self) -> None:
        if self._unindexed:
            self._repository.write_index(self._unindexed)
            self._unindexed = []


def _fitting(usages: Iterable[Usage], room: int) -> tuple[list[Pack], int]:
    """Those that fit, in their order, and the room that is left."""
    chosen = []
    for usage in usages:
        if usage.needed_bytes <= room:
            chosen.append(usage.pack)
            room -= usage.needed_bytes
    return chosen, room


def _kind(pack: Pack) -> bytes:
    """Suite and kind of a pack, as its header has them: blobs move between packs alike in both only."""
    return pack.raw_header[5:7]


def _suite(pack: Pack) -> int:
    return pack.raw_header[5]

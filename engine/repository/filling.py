"""Gives a destination the blobs that it lacks: whole packs, byte for byte, from where they are sound; else single
blobs, each opened and compared with its id, then sealed anew. Damage is never copied, and a difference not before its
base."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from engine import compress, crypto
from engine.errors import Corrupt, StorageError
from engine.progress import Progress
from engine.repository import box, layout
from engine.repository.copy import Copy
from engine.repository.failover import FailoverReader
from engine.repository.pack import DATA, OpenPack, PackInfo, info_of
from engine.repository.repository import Repository
from engine.repository.table import ANY_DEPTH

# What leans on so many blobs is stored in full: nobody writes that, and calls may not be nested much deeper.
_DEEP = 64


class Filler:
    """Adds blobs to one destination, whose session is on and whose index is loaded. Used by one thread; after `flush`
    everything that was added is confirmed and indexed. `abandon` removes what lies in the spool."""

    def __init__(self, target: Copy, reader: FailoverReader, *, spool: Path, progress: Progress) -> None:
        self._target = target
        self._reader = reader
        self._spool = spool
        self._progress = progress
        self._open_packs: dict[tuple[int, int], OpenPack] = {}
        self._waiting: set[bytes] = set()
        self._unsound: set[tuple[bytes, bytes]] = set()
        self.packs = 0
        self.blobs = 0
        self.stored = 0

    def has(self, id: bytes, below: int = ANY_DEPTH) -> bool:
        """Whether the destination has a good copy of the blob, of less depth than `below`, and all that it leans on; or
        will have it after `flush`."""
        if id in self._waiting or self._target.table.holds(id, below=below):
            return True
        return any(self.has(base, depth) for base, depth in self._leans_on(id, below))

    def fill(self, ids: Iterable[bytes]) -> None:
        """Add those of the blobs that the destination lacks. Raises Corrupt when no place has a good copy of one."""
        for id in ids:
            self._fill(id)
            self._progress.checkpoint()

    def _fill(self, id: bytes, below: int = ANY_DEPTH) -> None:
        if self.has(id, below) or self._fill_base(self._leans_on(id, below)) or self._copy_pack_with(id, below):
            return
        location, plain = self._reader.locate(id)
        self.add(id, plain, type=location.entry.type, suite=location.pack.header.suite)

    def _leans_on(self, id: bytes, below: int) -> list[tuple[bytes, int]]:
        """Id of the base, and depth, of each difference by which the destination has the blob."""
        found = self._target.table.find_all(id) if id in self._target.table else ()
        return [(each.base.id, each.entry.depth) for each in found if each.base and each.entry.depth < below]

    def _fill_base(self, differences: Iterable[tuple[bytes, int]]) -> bool:
        """Whether one of them has its base now, or will have it after `flush`."""
        for base, depth in differences:
            with suppress(Corrupt):
                self._fill(base, depth)
                return True
        return False

    def add(self, id: bytes, plain: bytes, *, type: int, suite: int) -> None:
        """Seal a blob, whose id was compared, anew."""
        kind, suite = (box.DATA_PACK, suite) if type == DATA else (box.TREE_PACK, suite or crypto.AES_256_GCM)
        if (kind, suite) not in self._open_packs:
            made = OpenPack(self._target.repository.keyring, kind, suite, self._spool)
            self._open_packs[kind, suite] = made
        open_pack = self._open_packs[kind, suite]
        codec, payload = compress.Compressor(compress.ZSTD).compress(plain)
        length = open_pack.append(id, type, codec, len(plain), payload)
        self._waiting.add(id)
        self.blobs += 1
        self.stored += length
        self._progress.advance(stored=length)
        if open_pack.is_full:
            self._finish((kind, suite))

    def put_pack(self, name: bytes, data: bytes) -> PackInfo:
        """Store a whole pack whose bytes were compared with its name. Raises Corrupt, StorageError."""
        info = info_of(self._target.repository.keyring, name, data)
        self._target.put_copy(info, data)
        self.packs += 1
        self.stored += len(data)
        self._progress.advance(stored=len(data))
        return info

    def is_whole(self, name: bytes) -> bool:
        """Whether the bytes of a pack at the destination fit its name."""
        return self._sound(self._target.repository, name) is not None

    def find_pack(self, name: bytes) -> bytes | None:
        """The bytes of a pack, from the first other place where they fit its name."""
        for place in self._reader.places():
            if place.repository is not self._target.repository:
                data = self._sound(place.repository, name)
                if data is not None:
                    return data
        return None

    def flush(self) -> None:
        """Everything that was added is confirmed and indexed at the destination."""
        for key in list(self._open_packs):
            self._finish(key)
        self._waiting.clear()
        self._target.write_index()

    def abandon(self) -> None:
        """Remove the packs that were not finished."""
        while self._open_packs:
            self._open_packs.popitem()[1].abandon()

    def _copy_pack_with(self, id: bytes, below: int) -> bool:
        for place in self._reader.places():
            if place.repository is self._target.repository:
                continue
            for location in place.table.find_all(id):
                name, depth = location.pack.name, location.entry.depth
                if self._target.is_marked(name) or self._target.is_distrusted(name) or depth >= min(below, _DEEP):
                    continue  # damaged, or about to be deleted here: what is needed of it gets a new place
                data = self._sound(place.repository, name)
                if data is None or (location.base and not self._fill_base([(location.base.id, depth)])):
                    continue
                with suppress(Corrupt):  # a damaged pack has the name here already
                    self.put_pack(name, data)
                    return True
        return False

    def _sound(self, repository: Repository, name: bytes) -> bytes | None:
        """A pack as `repository` holds it, if it can be read and its bytes fit its name."""
        if (repository.id, name) in self._unsound:
            return None
        try:
            data = repository.storage.get(layout.pack(name))
        except StorageError:
            data = b""
        if crypto.sha256(data) != name:
            self._unsound.add((repository.id, name))
            return None
        return data

    def _finish(self, key: tuple[int, int]) -> None:
        open_pack = self._open_packs.pop(key)
        try:
            self._target.put_copy(open_pack.finish(), open_pack.path)
        finally:
            open_pack.abandon()

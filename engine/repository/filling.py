"""Gives a destination the blobs that it lacks: whole packs, byte for byte, from where they are sound; else single
blobs, each opened and compared with its id, then sealed anew. Damage is never copied, and a difference not before its
base."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from engine import compress, crypto
from engine.errors import Corrupt, StorageError
from engine.progress import Progress
from engine.repository import box, layout
from engine.repository.copy import Copy
from engine.repository.failover import FailoverReader
from engine.repository.pack import DATA, OpenPack, PackInfo, bases_of, info_of
from engine.repository.repository import Repository


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
        # Of differences that came along with a pack, by id: their bases, which are filled once one of them is needed.
        self._bases: dict[bytes, bytes] = {}
        self.packs = 0
        self.blobs = 0
        self.stored = 0

    def has(self, id: bytes) -> bool:
        """Whether the destination has a good copy of the blob, or will have it after `flush`."""
        return id in self._target.table or id in self._waiting

    def fill(self, ids: Iterable[bytes]) -> None:
        """Add those of the blobs that the destination lacks. Raises Corrupt when no place has a good copy of one."""
        for id in ids:
            self._fill(id)
            self._progress.checkpoint()

    def _fill(self, id: bytes) -> None:
        base = self._bases.pop(id, None)
        is_whole = self._can_fill(base) if self.has(id) else self._copy_pack_with(id)
        if not is_whole:
            location, plain = self._reader.locate(id)
            self.add(id, plain, type=location.entry.type, suite=location.pack.header.suite)

    def _can_fill(self, base: bytes | None) -> bool:
        """Add the base of a difference, if it is one. Whether its base is there, or will be after `flush`."""
        try:
            if base is not None:
                self._fill(base)
        except Corrupt:
            return False
        return True

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

    def _copy_pack_with(self, id: bytes) -> bool:
        for place in self._reader.places():
            if place.repository is self._target.repository:
                continue
            for location in place.table.find_all(id):
                name = location.pack.name
                if self._target.is_marked(name):
                    continue  # it is about to be deleted here: what is needed of it gets a place of its own
                data = self._sound(place.repository, name)
                if data is None:
                    continue
                try:
                    bases = self._bases_in(name, data)
                    if not self._can_fill(bases.pop(id, None)):
                        continue
                    self.put_pack(name, data)
                except Corrupt:  # a damaged pack has the name here already
                    continue
                self._bases |= bases
                return True
        return False

    def _bases_in(self, name: bytes, data: bytes) -> dict[bytes, bytes]:
        """The bases of those differences in a pack that the destination has in no form yet."""
        info = info_of(self._target.repository.keyring, name, data)
        return {id: base for id, base in bases_of(info.directory, layout.pack(name)) if not self.has(id)}

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

"""One destination's share in a run: what it has, what it is given, and its own failure."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue

from engine import crypto
from engine.errors import AlreadyExists, Corrupt, EngineError, StorageError, Unavailable
from engine.repository import layout
from engine.repository.index import IndexTable
from engine.repository.pack import PackInfo
from engine.repository.repository import Repository
from engine.repository.session import Session

# Finished packs that wait for one destination; more would fill the spool without making anything faster.
_WAITING_PACKS = 2
# An index object after so many packs, so that a run that is killed has not sealed for nothing.
_PACKS_PER_INDEX = 64


@dataclass
class SealedPack:
    """A finished pack in the spool, removed once every destination has let go of it."""

    info: PackInfo
    path: Path
    holders: int
    lock: threading.Lock = field(default_factory=threading.Lock)

    def release(self) -> None:
        """One destination is done with it."""
        with self.lock:
            self.holders -= 1
            last = not self.holders
        if last:
            self.path.unlink(missing_ok=True)


class Copy:
    """Puts packs to one destination in a thread of its own. A failure is kept in `error` and ends only this copy.

    Packs in `distrusted` were found damaged: what they hold is stored again."""

    def __init__(
        self, name: str, repository: Repository, session: Session, *, distrusted: Collection[bytes] = ()
    ) -> None:
        self.name = name
        self.repository = repository
        self.session = session
        self.table = IndexTable(repository.keyring)
        self.error: EngineError | None = None
        self._marked: set[bytes] = set()
        self._distrusted = distrusted
        self._unindexed: list[PackInfo] = []
        self._packs: Queue[SealedPack | None] = Queue(_WAITING_PACKS)
        self._thread = threading.Thread(target=self._upload, name=f"upload {name}", daemon=True)

    def prepare(self) -> None:
        """Announce the writer, then learn what may be referred to: packs that are listed and in no mark."""
        try:
            self.session.start()
            self._marked = self.repository.marked_packs()
            present = self.repository.list_packs()
            self.table.load(self._usable_sections(present))
        except EngineError as error:
            self.error = error
        self._thread.start()

    def _usable_sections(self, present: dict[bytes, int]) -> Iterator[PackInfo]:
        """What may be referred to. A damaged index object is passed over, which costs room and nothing else."""
        for name in self.repository.index_names():
            try:
                sections = self.repository.read_index(name)
            except Corrupt:
                continue
            for info in sections:
                is_sound = present.get(info.name) == info.size and info.name not in self._distrusted
                if is_sound and info.name not in self._marked:
                    yield info

    @property
    def is_alive(self) -> bool:
        """Whether it still takes part in the run."""
        return self.error is None

    def send(self, sealed: SealedPack) -> None:
        """Hand over a finished pack; waits when the destination is behind."""
        self._packs.put(sealed)

    def put_copy(self, info: PackInfo, data: bytes) -> None:
        """Store a pack that another destination has, before the run sends packs of its own. Raises StorageError."""
        self._put(info, data)

    def write_index(self) -> None:
        """Publish an index of the packs that were confirmed since the last one. Raises StorageError."""
        if self._unindexed:
            self.repository.write_index(self._unindexed)
            self._unindexed = []

    def finish(self) -> None:
        """Wait until every pack is confirmed and indexed. May be called again, to no effect."""
        if self._thread.is_alive():
            self._packs.put(None)
            self._thread.join()

    def fail(self, error: EngineError) -> None:
        """Take this destination out of the run."""
        self.error = self.error or error

    def _upload(self) -> None:
        while (sealed := self._packs.get()) is not None:
            try:
                if self.is_alive:
                    self._put(sealed.info, sealed.path)
            except EngineError as error:
                self.fail(error)
            except Exception as error:  # noqa: BLE001 - a thread's fault must end the copy, not hang the run
                self.fail(StorageError(f"Writing to {self.name} failed: {error!r}."))
            finally:
                sealed.release()
        if self.is_alive:
            try:
                self.write_index()
            except EngineError as error:
                self.fail(error)

    def _put(self, info: PackInfo, data: bytes | Path) -> None:
        storage, name = self.repository.storage, layout.pack(info.name)
        if info.name in self._marked:
            raise Unavailable(f"{name} is about to be deleted at {self.name}.", hint="Try again after its clean-up.")
        try:
            storage.put(name, data)
        except AlreadyExists:
            if crypto.sha256(storage.get(name)) != info.name:
                raise Corrupt(f"{name} is at {self.name} already, and damaged.", name=name) from None
        if storage.stat(name).size != info.size:
            raise Corrupt(f"{name} arrived at {self.name} with another size.", name=name)
        self.table.add(info)
        self._unindexed.append(info)
        if len(self._unindexed) >= _PACKS_PER_INDEX:
            self.write_index()

"""One destination's share in a run: what it has, what it is given, and its own failure."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue

from engine import crypto
from engine.errors import AlreadyExists, Corrupt, EngineError, StorageError, Unavailable
from engine.repository import index, layout
from engine.repository.pack import PackInfo
from engine.repository.repository import Repository
from engine.repository.sections import indexed
from engine.repository.session import Session
from engine.repository.table import IndexTable

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
        """One destination is done with it. What cannot be removed goes with the scratch folder."""
        with self.lock:
            self.holders -= 1
            last = not self.holders
        if last:
            with suppress(OSError):
                self.path.unlink()


class Copy:
    """Puts packs to one destination in threads of its own. A failure is kept in `error` and ends only this copy.

    Packs in `distrusted` were found damaged: what they hold is stored again."""

    def __init__(
        self, name: str, repository: Repository, session: Session, *, distrusted: Collection[bytes] = ()
    ) -> None:
        self.name = name
        self.repository = repository
        self.session = session
        self.table = IndexTable(repository.keyring)
        # What is there, or was, and must not be referred to: whatever is in it is stored again only in full.
        self.unusable = IndexTable(repository.keyring)
        self.error: EngineError | None = None
        self._marked: set[bytes] = set()
        self._distrusted = distrusted
        self._unindexed: list[PackInfo] = []
        self._packs: Queue[SealedPack | None] = Queue(_WAITING_PACKS)
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._running = repository.storage.requests_at_once

    def prepare(self) -> None:
        """Announce the writer, then learn what may be referred to: packs that are listed and in no mark."""
        try:
            self.session.start()
            self._marked = self.repository.marked_packs()
            present = self.repository.list_packs()
            self.table.load(self._usable_sections(present))
        except EngineError as error:
            self.error = error
        names = [f"upload {self.name} {number}" for number in range(self._running)]
        self._threads = [threading.Thread(target=self._upload, name=name, daemon=True) for name in names]
        for thread in self._threads:
            thread.start()

    def _usable_sections(self, present: dict[bytes, int]) -> Iterator[PackInfo]:
        """What may be referred to. A damaged index object is passed over, which costs room and nothing else."""
        for info in indexed(self.repository, damage={}):
            is_sound = present.get(info.name) == info.size and info.name not in self._distrusted
            if is_sound and info.name not in self._marked:
                yield info
            else:
                self.unusable.add(info)

    def is_distrusted(self, pack: bytes) -> bool:
        """Whether the pack was found damaged."""
        return pack in self._distrusted

    def has(self, id: bytes) -> bool:
        """Whether the destination has the blob with all that it leans on, where none of it is about to go."""
        return self.table.holds(id)

    def ever_had(self, id: bytes) -> bool:
        """Whether the blob is there in any form, usable or not."""
        return id in self.table or id in self.unusable

    @property
    def is_alive(self) -> bool:
        """Whether it still takes part in the run."""
        return self.error is None

    def send(self, sealed: SealedPack) -> None:
        """Hand over a finished pack; waits when the destination is behind."""
        self._packs.put(sealed)

    def is_marked(self, pack: bytes) -> bool:
        """Whether some pruner is about to delete the pack: it is neither referred to nor touched."""
        return pack in self._marked

    def put_copy(self, info: PackInfo, data: bytes | Path) -> None:
        """Store a pack from elsewhere, before the run sends packs of its own. Raises StorageError."""
        self._put(info, data)

    def write_index(self) -> None:
        """Publish an index of the packs that were confirmed since the last one. Raises StorageError."""
        with self._lock:
            confirmed, self._unindexed = self._unindexed, []
        if confirmed:
            self.repository.write_index(confirmed)

    def finish(self) -> None:
        """Wait until every pack is confirmed and indexed. May be called again, to no effect."""
        threads, self._threads = self._threads, []
        for _ in threads:
            self._packs.put(None)
        for thread in threads:
            thread.join()

    def fail(self, error: EngineError) -> None:
        """Take this destination out of the run."""
        self.error = self.error or error

    def _upload(self) -> None:
        while (sealed := self._packs.get()) is not None:
            self._attempt(lambda info=sealed.info, path=sealed.path: self._put(info, path))  # type: ignore[misc]
            sealed.release()
        with self._lock:
            self._running -= 1
            is_last = not self._running
        if is_last:
            self._attempt(self.write_index)

    def _attempt(self, action: Callable[[], None]) -> None:
        """Whatever goes wrong in a thread must end the copy: a thread that just died would neither upload what waits
        nor keep the run from committing."""
        if not self.is_alive:
            return
        try:
            action()
        except EngineError as error:
            self.fail(error)
        except Exception as error:  # noqa: BLE001 - see above
            self.fail(StorageError(f"Writing to {self.name} failed: {error!r}."))

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
        with self._lock:
            self.table.add(info)
            self._unindexed.append(info)
            waiting_bytes = sum(map(index.length_of, self._unindexed))
            is_due = len(self._unindexed) >= _PACKS_PER_INDEX or waiting_bytes >= index.FULL_BYTES
        if is_due:
            self.write_index()

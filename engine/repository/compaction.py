"""Keeps index objects few: each run adds one, and whoever opens a repository reads them all.

An index object is removed only when another one, published before and read back, says all that is still true of it."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress

from engine.errors import Corrupt, NotFound, WrongKey
from engine.repository import index, layout
from engine.repository.pack import PackInfo
from engine.repository.repository import Repository

# Objects of this size are left alone: to merge them would write much and save few.
_LARGE_BYTES = index.FULL_BYTES // 2


def compact(repository: Repository, *, without: Collection[bytes] = (), at_least: int = 2) -> int:
    """Merge small index objects if there are `at_least` so many, and write those anew that name a pack in `without`,
    which is left out; so are packs that are gone. Damaged objects stay. Returns how many objects were removed.

    Safe beside writers, readers, pruners and another compaction. Needs room for one object of 4 MiB.
    Raises StorageError, Corrupt when an object does not come back as it was written."""
    items = [item for item, _ in layout.named(repository.storage.list(layout.INDEX), layout.HASH_BYTES)]
    small = {item.name for item in items if item.size < _LARGE_BYTES}
    if len(small) < at_least:
        small = set()
    # After the index objects: the packs that they name were there before them.
    present = repository.list_packs().keys() - set(without) if small or without else set()
    merger = _Merger(repository, present)
    for item in sorted(items, key=lambda item: item.size):
        if item.name not in small and not without:
            continue
        try:
            sections = repository.read_index(item.name)
        except (NotFound, Corrupt, WrongKey):
            continue  # replaced by another, or damage that verify reports
        if item.name in small or any(info.name in without for info in sections):
            merger.take(item.name, sections)
    merger.flush()
    return merger.removed


class _Merger:
    """Gathers sections until they fill an index object, and replaces the objects that they came from."""

    def __init__(self, repository: Repository, present: Collection[bytes]) -> None:
        self._repository = repository
        self._present = present
        self._sections: list[PackInfo] = []
        self._bytes = 0
        self._sources: list[str] = []
        self._told: set[bytes] = set()
        self._is_changed = False
        self.removed = 0

    def take(self, name: str, sections: list[PackInfo]) -> None:
        """All that is still true of one object."""
        self._sources.append(name)
        for info in sections:
            if info.name in self._told or info.name not in self._present:
                self._is_changed = True
                continue
            self._told.add(info.name)
            self._sections.append(info)
            self._bytes += index.length_of(info)
        if self._bytes >= index.FULL_BYTES:
            self.flush()

    def flush(self) -> None:
        """Publish what was gathered, then remove where it came from; one object as it was stays as it is."""
        if len(self._sources) > 1 or self._is_changed:
            is_told = not self._sections or self._publish()
            for name in self._sources if is_told else ():
                with suppress(NotFound):
                    self._repository.storage.delete(name)
                    self.removed += 1
        self._sections, self._bytes, self._sources, self._is_changed = [], 0, [], False

    def _publish(self) -> bool:
        """Whether the new object is there and as it was written. One that is gone was merged by another compaction, or
        was never stored: the objects that it should replace stay until the next time."""
        name = self._repository.write_index(self._sections)
        try:
            is_same = self._repository.read_index(name) == self._sections
        except NotFound:
            return False
        if not is_same:
            raise Corrupt(f"{name} came back other than it was written.", name=name)
        return True

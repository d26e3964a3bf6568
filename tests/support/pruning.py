"""A repository with a source that changes, and what tests of forgetting and pruning do with both."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from engine.errors import EngineError
from engine.model.manifest import FilesRoot, Manifest
from engine.progress import Silent
from engine.repository import layout, mark
from engine.repository.forget import empty_trash, forget
from engine.repository.index import Location
from engine.repository.mark import Mark
from engine.repository.prune import Freed, Rules, Waiting, begin, finish, prune_now
from engine.repository.reader import open_reader
from engine.repository.references import blobs_of
from engine.repository.repository import Repository
from engine.repository.usage import survey, weigh
from engine.repository.writer import SMALL_FILE_BYTES
from engine.storage.base import Storage
from tests.support.repositories import Bench

State = dict[str, bytes]
# Larger than a file that is bundled with others, and too small for the chunker to cut.
ONE_CHUNK_BYTES = SMALL_FILE_BYTES + 6


def stored_bytes(place: Path) -> int:
    """Bytes of all packs."""
    return sum(path.stat().st_size for path in (place / "packs").rglob("*") if path.is_file())


@dataclass
class Pruning:
    """A bench, its source, and for each restore point what the source held then. `like` is one to copy."""

    folder: Path
    rng: random.Random
    like: Pruning | None = None
    rules: Rules = field(default_factory=Rules)
    states: dict[bytes, State] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.bench = Bench(self.folder)
        self.source = self.folder / "source"
        if self.like is not None:
            shutil.copytree(self.like.folder, self.folder, ignore=shutil.ignore_patterns("copy*", "out*"))
            self.bench.keyring, self.states = self.like.bench.keyring, dict(self.like.states)
            self.bench.clock.now = self.like.bench.clock.now
        self.source.mkdir(parents=True, exist_ok=True)

    @property
    def repository(self) -> Repository:
        return self.bench.open()

    def write(self, name: str, size: int) -> None:
        (self.source / name).write_bytes(self.rng.randbytes(size))

    def remove_file(self, name: str) -> None:
        (self.source / name).unlink()

    def state(self) -> State:
        return {path.name: path.read_bytes() for path in self.source.iterdir()}

    def put_back(self, state: State) -> None:
        for path in self.source.iterdir():
            path.unlink()
        for name, data in state.items():
            (self.source / name).write_bytes(data)

    def change(self, name: str) -> None:
        """A few bytes of a file, where they are."""
        data = bytearray((self.source / name).read_bytes())
        for _ in range(3):
            data[self.rng.randrange(len(data))] ^= 1
        (self.source / name).write_bytes(data)

    def backup(self, storage: Storage | None = None, **changes: Any) -> Manifest:
        made = self.bench.backup(self.source, storage=storage, **changes).manifest
        self.states[made.id] = self.state()
        return made

    def ids(self) -> list[bytes]:
        """Restore points that were not removed, oldest first."""
        found = self.repository
        chosen = set(found.manifest_ids()) - found.removed_ids()
        return sorted(chosen, key=lambda identity: found.read_manifest(identity).manifest.sequence)

    def state_of(self, sequence: int) -> State:
        return next(self.states[m.id] for m in self.bench.manifests() if m.sequence == sequence)

    def remove(self, *sequences: int) -> None:
        """Through the trash, at once."""
        for manifest in self.bench.manifests():
            if manifest.sequence in sequences:
                forget(self.repository, manifest.id, reason="test", now=self.bench.clock())
                gone = empty_trash(self.repository, [manifest.id], delay=timedelta(), now=self.bench.clock())
                assert [each.manifest for each in gone] == [manifest.id]

    def begin(self, storage: Storage | None = None) -> Mark | None:
        opened, spool = self.bench.open(storage), self.folder / "spool"
        return begin(opened, rules=self.rules, clock=self.bench.clock, progress=Silent(), spool=spool)

    def finish(self, mark_id: bytes, storage: Storage | None = None) -> Freed | Waiting:
        opened = self.bench.open(storage)
        return finish(opened, mark_id, rules=self.rules, clock=self.bench.clock, progress=Silent())

    def prune_now(self, storage: Storage | None = None, *, mark_id: bytes | None = None) -> Freed:
        opened, spool, clock = self.bench.open(storage), self.folder / "spool", self.bench.clock
        freed = prune_now(opened, rules=self.rules, clock=clock, progress=Silent(), spool=spool, mark_id=mark_id)
        assert isinstance(freed, Freed)
        return freed

    def store_twice(self) -> list[Location]:
        """A file of one chunk that lies in two packs."""
        self.write("twice", ONE_CHUNK_BYTES)
        self.backup()
        held = mark.create(self.repository, self.repository.list_packs(), now=self.bench.clock())
        made = self.bench.backup(self.source).manifest
        mark.remove(self.repository, held.id)
        self.states[made.id] = self.state()
        reader = open_reader(self.repository)
        (places,) = [
            places
            for places in map(reader.table.find_all, set(blobs_of(reader, made, set())))
            if places[0].entry.plain == ONE_CHUNK_BYTES
        ]
        assert len(places) == 2
        return places

    def tree_packs_of(self, identity: bytes) -> list[str]:
        """Objects that hold the trees of a restore point."""
        reader = open_reader(self.repository)
        manifest = self.repository.read_manifest(identity).manifest
        found = (reader.table.find(id) for id in blobs_of(reader, manifest, set()))
        return sorted({layout.pack(each.pack.name) for each in found if each is not None and each.entry.type != 1})

    def listing(self) -> dict[str, int]:
        """All objects with their sizes."""
        return {item.name: item.size for item in self.bench.storage().list("") if not item.name.startswith("tmp/")}

    def assert_sound(self, *, only: Collection[bytes] | None = None) -> None:
        """Every restore point that is there, in the trash or not, gives back exactly what the source held; with `only`
        each of these is there."""
        manifests = self.bench.manifests()
        if only is not None:
            manifests = [manifest for manifest in manifests if manifest.id in only]
            assert len(manifests) == len(only)
        for manifest in manifests:
            root = manifest.roots[0]
            assert isinstance(root, FilesRoot)
            out = self.folder / "out"
            try:
                self.bench.restore(manifest, "out")
            except EngineError as error:
                raise AssertionError(f"restore point {manifest.sequence} does not restore: {error}") from error
            restored = out / os.fsdecode(root.path).lstrip("/")
            assert {path.name: path.read_bytes() for path in restored.iterdir()} == self.states[manifest.id]
            shutil.rmtree(out)

    def assert_nothing_superfluous(self) -> None:
        """No pack without anything that is needed is left, and every pack is indexed."""
        found = survey(self.repository, progress=Silent())
        assert all(usage.live_blobs for usage in weigh(found).usages)
        assert {pack.name for pack in found.table.packs()} == set(self.repository.list_packs())

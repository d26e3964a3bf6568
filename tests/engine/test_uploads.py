"""Where answers are slow several packs are put at once, and the index still names exactly what is confirmed."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from engine.errors import EngineError, Unavailable
from engine.repository import layout, pack
from engine.repository.sections import indexed
from engine.storage.base import Buffer
from engine.storage.local import LocalStorage
from tests.support.repositories import Bench
from tests.support.trees import snapshot

THREADS = 3
_SECONDS = 30


class Wide(LocalStorage):
    """A place worth several requests at once. The first packs wait until all threads are at work; one may fail."""

    requests_at_once = THREADS

    def __init__(self, root: Path, *, failing: int = 0) -> None:
        super().__init__(root)
        self._failing = failing
        self._lock = threading.Lock()
        self._together = threading.Barrier(THREADS)
        self.packs = 0

    def put(self, name: str, data: Buffer | Path, *, create: bool = True) -> None:
        if name.startswith(layout.PACKS):
            with self._lock:
                self.packs += 1
                number = self.packs
            if number <= THREADS:
                self._together.wait(_SECONDS)
            if number == self._failing:
                raise Unavailable("The line is dead.")
        super().put(name, data, create=create)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(pack, "FULL_BYTES", 1 << 20)
    source = tmp_path / "source"
    source.mkdir()
    for number in range(12):
        (source / str(number)).write_bytes(os.urandom(1 << 20))
    made = Bench(tmp_path)
    made.create()
    return made


def named(bench: Bench) -> set[bytes]:
    return {info.name for info in indexed(bench.open(), damage={})}


def test_packs_are_put_at_once_and_all_of_them_indexed(bench: Bench, tmp_path: Path) -> None:
    storage = Wide(bench.place)
    manifest = bench.backup(tmp_path / "source", storage=storage).manifest
    assert storage.packs > THREADS
    assert named(bench) == set(bench.open().list_packs())
    bench.restore(manifest, "restored")
    source = tmp_path / "source"
    assert snapshot(tmp_path / "restored" / str(source).lstrip("/")) == snapshot(source)


@pytest.mark.parametrize("failing", [1, THREADS, THREADS + 2])
def test_a_pack_that_was_not_stored_is_in_no_index(bench: Bench, tmp_path: Path, failing: int) -> None:
    storage = Wide(bench.place, failing=failing)
    with pytest.raises(EngineError, match="The line is dead"):
        bench.backup(tmp_path / "source", storage=storage)
    assert storage.packs >= failing
    assert named(bench) <= set(bench.open().list_packs())
    manifest = bench.backup(tmp_path / "source").manifest
    bench.restore(manifest, "restored")
    assert not bench.check().errors

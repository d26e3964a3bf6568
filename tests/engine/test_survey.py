"""What a survey asks of a distant store: several things at once, and no more than that store serves."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest

from engine.progress import Silent
from engine.repository import layout
from engine.repository.usage import Survey, survey
from engine.storage.local import LocalStorage
from tests.support.pruning import Pruning


class Distant(LocalStorage):
    """Reads that need each other: after the `first` of a folder, none comes back before three are on their way."""

    requests_at_once = 3

    def __init__(self, place: Path, folder: str, *, first: int) -> None:
        super().__init__(place)
        self._folder = folder
        self._first = first
        self._left = self.requests_at_once
        self._together = threading.Barrier(self.requests_at_once, timeout=60)
        self._lock = threading.Lock()
        self.at_work = self.most = 0

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        is_counted = name.startswith(self._folder) and (length is not None or self._folder != layout.PACKS)
        with self._lock:
            self._first -= is_counted
            waits = is_counted and self._first < 0 and self._left > 0
            self._left -= waits
            self.at_work += is_counted
            self.most = max(self.most, self.at_work)
        try:
            if waits:
                self._together.wait()
            return super().get(name, offset, length)
        finally:
            with self._lock:
                self.at_work -= is_counted


@pytest.mark.parametrize(("folder", "first"), [(layout.MANIFESTS, 0), (layout.PACKS, 1)])
def test_a_distant_store_is_read_ahead(tmp_path: Path, seed: int, folder: str, first: int) -> None:
    """Restore points and the directories of each, as many at once as it serves, and no more."""
    site = Pruning(tmp_path, random.Random(seed))
    site.bench.create()
    for number in range(9):
        inner = site.source / f"folder {number}"
        inner.mkdir()
        (inner / "file").write_bytes(site.rng.randbytes(10_000))
    for number in range(4):
        (site.source / "folder 0" / "file").write_bytes(bytes([number]) * 5_000)
        site.bench.backup(site.source)
    near = survey(site.repository, progress=Silent())
    storage = Distant(site.bench.place, folder, first=first)
    far = survey(site.bench.open(storage), progress=Silent())
    assert _needs(far) == _needs(near)
    assert storage.most == 3


def _needs(found: Survey) -> dict[bytes, int]:
    return {entry.id: found.need(place) for place, entry, _ in found.table.records()}

"""A restore that is killed, or whose storage fails, at any call: it is complete or says that it is not, the repository
stays as it was, and the next restore brings everything."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from engine.errors import EngineError, Unavailable
from engine.model.manifest import Manifest
from engine.progress import Silent
from engine.repository import reader
from engine.repository.reader import open_reader
from engine.restore import restore_folders
from engine.storage.base import Storage
from engine.storage.local import LocalStorage
from engine.targets.directory import DirectoryTarget
from tests.engine.test_destinations import files_below
from tests.support.faults import FaultyStorage, kill_this_process, run_and_wait
from tests.support.repositories import Bench
from tests.support.trees import make_tree, snapshot, write_file

KILLED, COMPLETE, INCOMPLETE = -9, 0, 99


@pytest.fixture
def bench(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """One restore point; read in one thread, so that call number n is always the same one."""
    monkeypatch.setattr(reader, "THREADS", 1)
    made, rng = Bench(tmp_path / "bench"), random.Random(seed)
    made.create()
    make_tree(tmp_path / "source", rng, files=10)
    write_file(tmp_path / "source" / "large", rng, 3_000_000)
    made.backup(tmp_path / "source")
    return made


def restore(bench: Bench, manifest: Manifest, storage: Storage, name: str) -> None:
    target = DirectoryTarget(bench.folder / name, Silent())
    target.probe(0)
    if restore_folders(open_reader(bench.open(storage)), manifest, target, progress=Silent()).lost:
        raise EngineError("The restore is not complete.")


def refuse() -> None:
    raise Unavailable("The disk is gone.")


@pytest.mark.parametrize("fault", [kill_this_process, refuse], ids=["killed", "failing"])
def test_a_fault_at_every_call(
    bench: Bench, tmp_path: Path, fault: Callable[[], None], record_property: Callable[[str, int], None]
) -> None:
    (manifest,), wanted = bench.manifests(), snapshot(tmp_path / "source")
    before = files_below(bench.place, "")
    counting = FaultyStorage(LocalStorage(bench.place), refuse, at=1_000_000)
    restore(bench, manifest, counting, "counted")
    assert counting.calls > 8
    record_property("trials", counting.calls)
    ended = Counter[int]()
    for at in range(1, counting.calls + 1):
        storage = FaultyStorage(LocalStorage(bench.place), fault, at=at)
        status = run_and_wait(partial(restore, bench, manifest, storage, f"out {at}"))
        ended[status] += 1
        if status == COMPLETE:
            assert snapshot(bench.folder / f"out {at}" / str(tmp_path / "source").lstrip("/")) == wanted, at
    assert ended[COMPLETE] == 0 or fault is refuse
    assert ended[KILLED if fault is kill_this_process else INCOMPLETE] > counting.calls // 2
    assert set(ended) <= {COMPLETE, INCOMPLETE if fault is refuse else KILLED}
    assert files_below(bench.place, "") == before
    restore(bench, manifest, bench.storage(), "last")
    assert snapshot(bench.folder / "last" / str(tmp_path / "source").lstrip("/")) == wanted

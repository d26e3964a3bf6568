"""What the kernel may answer to a local destination, at every call: death, EIO, ENOSPC, short and lost writes, lies."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.test_backup_faults import State, assert_sound
from tests.faults.test_prune_faults import Note
from tests.support.repositories import Bench
from tests.support.tracing import (
    CALLS,
    FAILED,
    MAIN,
    SUCCEEDED,
    UPLOAD,
    Fault,
    Pausing,
    count_calls,
    make_pack_folders,
    run_with,
)
from tests.support.trees import make_tree, snapshot, write_file

KILL, EIO, ENOSPC = "signal=SIGKILL", "error=EIO", "error=ENOSPC"
# `retval` makes strace answer so without doing anything: for write 0 is a short write, 1 a byte that got lost, and for
# the others it is a disk that says "done".
NOTHING, LOST_BYTE, LIE = "retval=0", "retval=1", "retval=0"
ANSWERS = dict.fromkeys(CALLS, (KILL, EIO, ENOSPC, LIE)) | {"write": (KILL, EIO, ENOSPC, NOTHING, LOST_BYTE)}
# Without --full so many of some 170 faults are tried: each call of each thread meets each answer.
DRAWN = 80


@pytest.fixture
def prepared(tmp_path: Path, seed: int) -> tuple[Bench, Path, State]:
    """One acknowledged restore point, then a change that the next backup shall store."""
    bench, source, rng = Bench(tmp_path / "bench"), tmp_path / "source", random.Random(seed)
    bench.create()
    make_tree(source, rng, files=5)
    bench.backup(source)
    make_pack_folders(bench.place)
    before = snapshot(source)
    write_file(source / "new", rng, 300_000)
    return bench, source, before


def copies(bench: Bench, folder: Path) -> Iterator[Bench]:
    """The repository again and again, as it was."""
    number = 0
    while True:
        number += 1
        made = Bench(folder / f"copy{number}", keyring=bench.keyring)
        made.folder.mkdir()
        shutil.copytree(bench.place, made.place)
        yield made


def remove_empty_folders(folder: Path) -> None:
    for path in folder.iterdir():
        if not any(path.iterdir()):
            path.rmdir()


def backing_up(bench: Bench, source: Path) -> Callable[[Pausing], object]:
    return lambda progress: bench.backup(source, progress=progress)


def plan(counts: dict[tuple[str, str], int]) -> list[Fault]:
    """Every call of both threads with every answer."""
    return [
        Fault(thread, call, number, answer)
        for (thread, call), count in counts.items()
        for number in range(1, count + 1)
        for answer in ANSWERS[call]
    ]


def drawn(faults: list[Fault], rng: random.Random) -> list[Fault]:
    """In an order by chance, but first one of each kind."""
    mixed = rng.sample(faults, len(faults))
    firsts = {(fault.thread, fault.call, fault.answer): fault for fault in mixed}
    assert len(firsts) <= DRAWN
    return [*firsts.values(), *(fault for fault in mixed if fault not in firsts.values())]


@pytest.mark.parametrize("most", [DRAWN, pytest.param(None, marks=pytest.mark.full)], ids=["drawn", "all"])
def test_every_system_call_may_fail(
    prepared: tuple[Bench, Path, State], tmp_path: Path, seed: int, most: int | None, record_property: Note
) -> None:
    bench, source, before = prepared
    places = copies(bench, tmp_path)
    counts = dict[tuple[str, str], int]()
    for thread in (MAIN, UPLOAD):
        copy = next(places)
        counts |= count_calls(backing_up(copy, source), thread, copy.folder / "trace")
    assert {thread for thread, _ in counts} == {MAIN, UPLOAD}
    new_folders = [Fault(UPLOAD, "mkdir", 1, answer) for answer in ANSWERS["mkdir"]]
    planned = [*plan(counts), *new_folders]
    assert len(planned) > 100
    faults = drawn(planned, random.Random(seed))[:most]
    for fault in faults:
        copy = next(places)
        if fault in new_folders:
            remove_empty_folders(copy.place / "packs")
        status = run_with(fault, backing_up(copy, source), copy.folder / "trace", lambda: None)
        assert status in ((-9,) if fault.answer == KILL else (SUCCEEDED, FAILED)), fault
        is_lossy = fault.answer == LOST_BYTE
        assert_sound(copy, source, before, f"out-{fault.thread}", may_have=1, may_rot=is_lossy)
        shutil.rmtree(copy.folder)
    record_property("trials", len(faults))


def test_every_write_is_short(prepared: tuple[Bench, Path, State], monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel takes a third of what it is given, each time: it says so, and the rest is written by another call."""
    bench, source, before = prepared
    write, short = os.write, []

    def third(descriptor: int, data: bytes) -> int:
        short.append(len(data))
        return write(descriptor, memoryview(data)[: max(1, len(data) // 3)])

    monkeypatch.setattr(os, "write", third)
    assert bench.backup(source).is_complete
    monkeypatch.undo()
    assert len(short) > 20
    assert_sound(bench, source, before, "out", may_have=1)

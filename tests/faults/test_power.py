"""Power cuts: what a run acknowledged is on the disk, in whatever moment everything stops."""

from __future__ import annotations

import os
import random
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.test_backup_faults import State
from tests.support.power import after_a_cut, ext4
from tests.support.repositories import Bench
from tests.support.tracing import (
    MAIN,
    SUCCEEDED,
    UPLOAD,
    Fault,
    Pausing,
    count_calls,
    make_pack_folders,
    record,
    run_with,
)
from tests.support.trees import snapshot, write_file

SAMPLE = 10


@dataclass
class Disk:
    """A repository on a disk of its own; `states` is what was acknowledged, by restore point."""

    bench: Bench
    image: Path
    source: Path
    states: dict[bytes, State]
    folder: Path

    def back_up(self) -> None:
        made = self.bench.backup(self.source)
        self.states[made.manifest.id] = snapshot(self.source)

    def back_up_in_child(self, progress: Pausing) -> None:
        self.bench.backup(self.source, progress=progress)

    def acknowledge(self) -> None:
        """Keeps what the child, which said that all is well, has backed up last."""
        newest = max(self.bench.manifests(), key=lambda manifest: manifest.sequence)
        self.states[newest.id] = snapshot(self.source)

    def survivors(self) -> list[bytes]:
        """Which acknowledged restore points restore wholly after a cut; what is there at all must be sound."""
        found = []
        with after_a_cut(self.image, self.folder / "cut") as place:
            bench = Bench(place, keyring=self.bench.keyring)
            if not (bench.place / "holdfast.json").exists():
                return []
            manifests = {manifest.id: manifest for manifest in bench.manifests()}
            assert bench.check().errors == []
            for identity in self.states.keys() & manifests.keys():
                bench.restore(manifests[identity], "out")
                assert snapshot(bench.folder / "out" / str(self.source).lstrip("/")) == self.states[identity]
                shutil.rmtree(bench.folder / "out")
                found.append(identity)
            assert bench.backup(self.source).is_complete
        return found


@pytest.fixture(params=[True, False], ids=["journal", "no journal"])
def disk(tmp_path: Path, seed: int, request: pytest.FixtureRequest) -> Iterator[Disk]:
    source = tmp_path / "source"
    source.mkdir()
    write_file(source / "old", random.Random(seed), 100_000)
    with ext4(tmp_path / "disk", tmp_path / "place", journal=request.param) as place:
        bench = Bench(place)
        bench.create()
        yield Disk(bench, tmp_path / "disk", source, {}, tmp_path)


@pytest.mark.parametrize("sample", [SAMPLE, pytest.param(None, marks=pytest.mark.full)], ids=["sample", "all"])
def test_what_was_acknowledged_survives_a_cut_at_any_call(  # type: ignore[no-untyped-def]
    disk: Disk, seed: int, sample: int | None, record_property
) -> None:
    """The n-th call of a thread stops the whole process; then the disk is looked at, and the process goes on."""
    rng, log, counts = random.Random(seed), disk.folder / "trace", dict[tuple[str, str], int]()
    disk.back_up()
    make_pack_folders(disk.bench.place)
    for thread in (MAIN, UPLOAD):
        write_file(disk.source / f"for {thread}", rng, 5_000)
        counts |= count_calls(disk.back_up_in_child, thread, log)
        disk.acknowledge()
    moments = [
        Fault(thread, call, number, "signal=SIGSTOP")
        for (thread, call), count in counts.items()
        for number in range(1, count + 1)
    ]
    cuts = list[bool]()

    def cut() -> None:
        cuts.append(set(disk.survivors()) == set(disk.states))

    for number, moment in enumerate(moments if sample is None else rng.sample(moments, sample)):
        write_file(disk.source / f"new {number}", rng, 20_000)
        assert run_with(moment, disk.back_up_in_child, log, cut) == SUCCEEDED
        disk.acknowledge()
        cut()
    assert all(cuts)
    record_property("trials", len(cuts))


def test_each_run_is_on_the_disk_when_it_says_so(disk: Disk, seed: int) -> None:
    rng = random.Random(seed)
    for number in range(4):
        write_file(disk.source / f"file {number}", rng, 30_000)
        disk.back_up()
        assert set(disk.survivors()) == set(disk.states)


def test_a_writer_that_does_not_sync_loses_everything(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof that these tests can fail."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    for _ in range(3):
        disk.back_up()
    monkeypatch.undo()
    assert len(disk.states) == 3
    assert disk.survivors() == []


def test_every_name_is_published_in_order(tmp_path: Path, seed: int) -> None:
    """Of each thread's calls: a file is synced before it gets its name, and the folder before the next name is given.
    This needs no file system of its own, and holds for every kind."""
    bench, source = Bench(tmp_path / "bench"), tmp_path / "source"
    source.mkdir()
    bench.create()
    write_file(source / "file", random.Random(seed), 300_000)
    for thread in (MAIN, UPLOAD):
        write_file(source / thread, random.Random(seed), 300_000)
        lines = record(lambda progress: bench.backup(source, progress=progress), thread, tmp_path / "trace")
        published, faults = unsafe_names(lines, bench.place)
        assert faults == []
        folders = {name.split("/")[0] for name in published}
        assert folders == ({"sessions", "manifests", "heads"} if thread == MAIN else {"packs", "index"})


def unsafe_names(lines: list[str], place: Path) -> tuple[list[str], list[str]]:
    """Names that a thread gave in the repository, and what was wrong with how it did."""
    synced, published, faults, waiting = set[str](), list[str](), list[str](), ""
    for line in lines:
        made = re.match(r'(?:link|rename)\("([^"]+)", "([^"]+)"\) += 0', line)
        if done := re.match(r"fsync\(\d+<([^>]+)>\) += 0", line):
            synced.add(done[1])
            waiting = "" if done[1] == waiting else waiting
        elif written := re.match(r"write\(\d+<([^>]+)>", line):
            synced.discard(written[1])
        elif folder := re.match(r'mkdir\("([^"]+)".*= 0', line):
            waiting = os.path.dirname(folder[1])
        elif made and made[2].startswith(f"{place}/") and not made[2].startswith(f"{place}/tmp/"):
            if waiting:
                faults.append(f"{waiting} was not synced before {made[2]}")
            if made[1] not in synced and not _is_synced_link(lines, made[1]):
                faults.append(f"{made[2]} was not synced")
            waiting = os.path.dirname(made[2])
            published.append(str(Path(made[2]).relative_to(place)))
    return published, faults + ([f"{waiting} was not synced at the end"] if waiting else [])


def _is_synced_link(lines: list[str], staged: str) -> bool:
    """A pack is linked from the spool: what is synced is the same file under its first name."""
    first = [m[1] for line in lines if (m := re.match(r'link\("([^"]+)", "' + re.escape(staged) + '"', line))]
    return bool(first) and any(f"<{first[0]}>" in line and line.startswith("fsync") for line in lines)

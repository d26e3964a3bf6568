"""Repair that is killed or fails at any call to the storage: nothing gets worse, and a second repair ends it."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest

from engine.errors import Unavailable
from engine.repository import layout
from engine.storage.base import Item
from engine.storage.local import LocalStorage
from tests.engine.test_destinations import Fleet, assert_restores_all
from tests.engine.test_heal import cut, flip, mend, packs
from tests.support.faults import FaultyStorage, kill_this_process, run_and_wait
from tests.support.trees import make_tree, snapshot, write_file

KILLED = -9
T = TypeVar("T")


@pytest.fixture
def source(tmp_path: Path, seed: int) -> Path:
    make_tree(tmp_path / "source", random.Random(seed), files=8)
    # Two files in one pack: damage to the end of it leaves the first one whole.
    write_file(tmp_path / "source" / "early", random.Random(seed + 1), 300_000)
    write_file(tmp_path / "source" / "large", random.Random(seed), 1_500_000)
    return tmp_path / "source"


def damaged_fleet(folder: Path, source: Path) -> Fleet:
    """Two destinations with the same restore point; of the second every kind of object is damaged or lost."""
    fleet = Fleet(folder)
    for name in fleet.names:
        fleet.create(name)
    fleet.backup(source)
    place = fleet.bench("two").place
    flip(packs(fleet, "two")[0])
    packs(fleet, "two")[-1].unlink()
    for kind in ("index", "heads", "manifests"):
        flip(next((place / kind).iterdir()))
    return fleet


def refuse() -> None:
    raise Unavailable("The disk is gone.")


def twin(fleet: Fleet, name: str) -> Fleet:
    """The same destinations, byte for byte, somewhere else."""
    folder = fleet.folder.with_name(name)
    shutil.copytree(fleet.folder, folder)
    return Fleet(folder, keyring=fleet.keyring)


class Changes(FaultyStorage):
    """The fault comes after call number `at` of those that have changed something."""

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        return self._inner.get(name, offset, length)

    def stat(self, name: str) -> Item:
        return self._inner.stat(name)

    def list(self, prefix: str) -> Iterator[Item]:
        return self._inner.list(prefix)

    def _call(self, action: Callable[[], T]) -> T:
        result = action()
        with self._lock:
            self.calls += 1
            is_planned = self.calls == self._at
        if is_planned:
            self._fault()
        return result


def count_calls(fleet: Fleet, *others: str, kind: type[FaultyStorage] = FaultyStorage, **options: Any) -> int:
    """How many calls a whole repair makes, tried with a twin."""
    tried = twin(fleet, "counted")
    counting = kind(LocalStorage(tried.bench("two").place), refuse, at=1_000_000)
    mend(tried, "two", *others, storage=counting, **options)
    return counting.calls


def places_to_stop(calls: int, request: pytest.FixtureRequest, step: int) -> list[int]:
    """Every call with --full, else a sample; always the last."""
    every = range(1, calls + 1)
    chosen = list(every) if request.config.getoption("--full") else sorted({*every[::step], calls})
    request.node.user_properties.append(("trials", len(chosen)))
    return chosen


@pytest.mark.parametrize(("kind", "step"), [(FaultyStorage, 9), (Changes, 3)], ids=["before", "after a change"])
def test_a_repair_that_is_killed_anywhere_is_ended_by_the_next(
    tmp_path: Path, source: Path, request: pytest.FixtureRequest, kind: type[FaultyStorage], step: int
) -> None:
    made = damaged_fleet(tmp_path / "made", source)
    calls = count_calls(made, "one", kind=kind)
    for call in places_to_stop(calls, request, step):
        fleet = twin(made, f"kill{call}")
        place = LocalStorage(fleet.bench("two").place)
        faulty = kind(place, kill_this_process, at=call)
        status = run_and_wait(lambda fleet=fleet, faulty=faulty: mend(fleet, "two", "one", storage=faulty))
        assert status == KILLED, call
        mend(fleet, "two", "one")
        assert not any(damage.backups for damage in fleet.bench("two").check().errors), call
        (manifest,) = fleet.bench("two").manifests()
        fleet.bench("two").restore(manifest, "out")
        assert snapshot(fleet.bench("two").folder / "out" / str(source).lstrip("/")) == snapshot(source), call


def test_a_repair_that_fails_anywhere_is_ended_by_the_next(
    tmp_path: Path, source: Path, request: pytest.FixtureRequest
) -> None:
    made = damaged_fleet(tmp_path / "made", source)
    calls = count_calls(made, "one")
    for call in places_to_stop(calls, request, 9):
        fleet = twin(made, f"fail{call}")
        faulty = FaultyStorage(LocalStorage(fleet.bench("two").place), refuse, at=call)
        with suppress(Unavailable):
            mend(fleet, "two", "one", storage=faulty)
        assert faulty.was_hit
        mend(fleet, "two", "one")
        assert_restores_all(fleet, "two", source, [snapshot(source)])


def hit_files(fleet: Fleet) -> set[str]:
    return {path for damage in fleet.bench("two").check().errors for path in damage.files}


@pytest.mark.parametrize("harm", [flip, cut], ids=["flip", "cut"])
def test_without_a_second_copy_nothing_that_was_readable_is_ever_lost(
    tmp_path: Path, source: Path, request: pytest.FixtureRequest, harm: Callable[[Path], None]
) -> None:
    """Wherever the repair is killed, what could be restored before can be restored then: blobs are stored anew before
    their pack is moved."""

    made = Fleet(tmp_path / "made")
    made.create("two")
    made.backup(source, "two")
    harm(packs(made, "two")[0])
    options: dict[str, Any] = {"host": "another"}
    before = hit_files(made)
    calls = count_calls(made, **options)
    for call in places_to_stop(calls, request, 5):
        fleet = twin(made, f"kill{call}")
        faulty = FaultyStorage(LocalStorage(fleet.bench("two").place), kill_this_process, at=call)
        assert run_and_wait(lambda fleet=fleet, faulty=faulty: mend(fleet, "two", storage=faulty, **options)) == KILLED
        assert hit_files(fleet) <= before, call
        mend(fleet, "two", **options)
        assert hit_files(fleet) <= before, call


def test_a_full_disk_leaves_the_damaged_pack_where_it_was(tmp_path: Path, source: Path) -> None:
    """The good pack finds no room: the damaged one, with all that is sound in it, keeps its name."""

    class Full(FaultyStorage):
        def put(self, name: str, data: Any, *, create: bool = True) -> None:
            if name.startswith(layout.PACKS):
                raise Unavailable("The disk is full.")
            super().put(name, data, create=create)

    fleet = Fleet(tmp_path / "fleet")
    for name in fleet.names:
        fleet.create(name)
    fleet.backup(source)
    damaged = packs(fleet, "two")[0]
    flip(damaged)
    before = damaged.read_bytes()
    with pytest.raises(Unavailable, match="disk is full"):
        mend(fleet, "two", "one", storage=Full(LocalStorage(fleet.bench("two").place), refuse, at=1_000_000))
    assert damaged.read_bytes() == before
    assert list((fleet.bench("two").place / "quarantine").iterdir()) == []
    mend(fleet, "two", "one")
    assert_restores_all(fleet, "two", source, [snapshot(source)])

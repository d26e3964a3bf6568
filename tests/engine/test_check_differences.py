"""A check follows differences: it reads everything about once, and a base that is damaged or gone names every restore
point and file that leans on it, however far. The differences here are made by hand, from docs/format.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.ids import spell
from engine.model.manifest import Manifest
from engine.progress import Silent
from engine.repository import layout
from engine.repository.check import MISSING, CheckReport, check
from engine.repository.repository import Repository
from engine.storage.local import LocalStorage
from tests.faults.test_bases import BYTES, chain, flip, point, store_each, versions
from tests.support.packs import DATA, Blob, blob_id, store
from tests.support.repositories import Bench

LEVELS = 5


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path)
    made.create()
    return made


def points(repository: Repository, plains: list[bytes]) -> tuple[list[Manifest], list[bytes]]:
    """A restore point for each version, of one chunk that leans on the one before; and the packs, one each."""
    ids, packs = store_each(repository, chain(plains))
    return [point(repository, id, sequence=number) for number, id in enumerate(ids, 1)], packs


def damage_of(report: CheckReport, manifests: list[Manifest]) -> dict[str, set[int]]:
    """By object, the numbers of the restore points that it hits; points made by hand have no head and no keys."""
    numbers = {spell("bk", each.id): each.sequence for each in manifests}
    found = [each for each in report.errors if each.object.startswith((layout.PACKS, "blob"))]
    return {each.object: {numbers[backup] for backup in each.backups} for each in found}


@pytest.mark.parametrize("level", range(LEVELS))
def test_a_damaged_base_names_whatever_leans_on_it(bench: Bench, seed: int, level: int) -> None:
    manifests, packs = points(bench.open(), versions(seed, LEVELS))
    name = flip(bench, packs[level], seed)
    report = bench.check()
    assert damage_of(report, manifests)[name] == set(range(level + 1, LEVELS + 1))
    assert [each.files for each in report.errors if each.object == name] == [{"shop"}]
    assert not [each for each in report.errors if each.object.startswith(layout.PACKS) and each.object != name]
    assert set(report.sound) == {each.id for each in manifests[:level]}


@pytest.mark.parametrize("read_percent", [0, 100])
@pytest.mark.parametrize("level", [0, 2])
def test_a_missing_base_names_whatever_leans_on_it(bench: Bench, seed: int, level: int, read_percent: int) -> None:
    manifests, packs = points(bench.open(), versions(seed, LEVELS))
    name = layout.pack(packs[level])
    (bench.place / name).unlink()
    report = bench.check(read_percent=read_percent)
    (found,) = [each for each in report.errors if each.object.startswith((layout.PACKS, "blob"))]
    assert (found.object, found.kind) == (name, MISSING)
    assert damage_of(report, manifests)[name] == set(range(level + 1, LEVELS + 1))


def test_one_restore_point_is_checked_with_its_bases_and_nothing_else(bench: Bench, seed: int) -> None:
    manifests, packs = points(bench.open(), versions(seed, LEVELS))
    sizes = bench.open().list_packs()
    report = bench.check(only=[manifests[2].id])
    assert report.bytes_read == sum(sizes[name] for name in packs[:3])
    name = flip(bench, packs[0], seed)
    assert damage_of(bench.check(only=[manifests[2].id]), manifests)[name] == {3}


def test_differences_whose_bases_are_not_read_now_are_opened_too(bench: Bench, seed: int) -> None:
    """A sample takes the pack of a damaged difference, and often not that of its base."""
    manifests, packs = points(bench.open(), versions(seed, 2))
    name = flip(bench, packs[1], seed)
    reports = [bench.check(read_percent=50) for _ in range(40)]
    assert all(each.bytes_read in {bench.open().list_packs()[pack] for pack in packs} for each in reports)
    found = [damage for damage in (damage_of(each, manifests) for each in reports) if damage]
    assert found
    assert all(damage == {name: {2}} for damage in found)


def test_a_damaged_base_that_a_sample_reads_hits_what_leans_on_it(bench: Bench, seed: int) -> None:
    """Read or not, a base is opened for the sake of what leans on it: the pack that is to blame is named, with both."""
    manifests, packs = points(bench.open(), versions(seed, 2))
    name = flip(bench, packs[0], seed)
    found = [damage_of(bench.check(read_percent=50), manifests) for _ in range(40)]
    assert {name: {1, 2}} in found
    assert all(damage.keys() <= {name} and damage.get(name, {2}) >= {2} for damage in found)


def test_a_base_with_another_good_copy_hits_nobody(bench: Bench, seed: int) -> None:
    opened, plains = bench.open(), versions(seed, 3)
    manifests, packs = points(opened, plains)
    store(opened, Blob(DATA, plains[0]))
    name = flip(bench, packs[0], seed)
    assert damage_of(bench.check(), manifests) == {name: set()}


def test_what_claims_to_be_the_base_and_is_not_hits_what_leans_on_it(bench: Bench, seed: int) -> None:
    opened, (first, second, other) = bench.open(), versions(seed, 3)
    store(opened, Blob(DATA, other), claims={other: blob_id(opened, Blob(DATA, first))})
    (lying,) = opened.list_packs()
    made = point(opened, *store(opened, Blob(DATA, second, first, 1)))
    assert damage_of(bench.check(), [made]) == {layout.pack(lying): {1}}


def test_a_difference_that_nobody_needs_may_have_lost_its_base(bench: Bench, seed: int) -> None:
    plains = versions(seed, 3)
    (_, needed), packs = store_each(bench.open(), [Blob(DATA, plains[1], plains[0], 1), Blob(DATA, plains[2])])
    made = point(bench.open(), needed)
    assert damage_of(bench.check(), [made]) == {}
    assert len(packs) == 2


class Counting(LocalStorage):
    """Counts the bytes that are read of packs."""

    read = 0

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        data = super().get(name, offset, length)
        self.read += len(data) if name.startswith(layout.PACKS) else 0
        return data


def test_packs_are_read_once_and_only_differences_twice(bench: Bench, seed: int) -> None:
    manifests, _ = points(bench.open(), versions(seed, 30))
    storage = Counting(bench.place)
    assert damage_of(check(bench.open(storage), progress=Silent()), manifests) == {}
    total = sum(bench.open().list_packs().values())
    assert BYTES < total < storage.read < 1.5 * total

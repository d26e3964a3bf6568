"""A reader that falls over: each blob from the first place that has a good copy, and an account of all that did not."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from engine.errors import Corrupt, NotFound, Unavailable
from engine.progress import Silent
from engine.repository import layout
from engine.repository.failover import FailoverReader, Spare
from engine.repository.reader import THREADS, open_reader
from engine.restore import restore_folders
from engine.storage.base import Storage
from engine.storage.local import LocalStorage
from engine.targets.directory import DirectoryTarget
from tests.engine.test_destinations import Fleet
from tests.engine.test_heal import flip, packs
from tests.support.faults import FaultyStorage
from tests.support.trees import make_tree, snapshot, write_file


@pytest.fixture
def source(tmp_path: Path, seed: int) -> Path:
    make_tree(tmp_path / "source", random.Random(seed), files=15)
    write_file(tmp_path / "source" / "large", random.Random(seed), 4_000_000)
    return tmp_path / "source"


@pytest.fixture
def fleet(tmp_path: Path, source: Path) -> Fleet:
    fleet = Fleet(tmp_path)
    for name in fleet.names:
        fleet.create(name)
    fleet.backup(source)
    return fleet


class Told(list[str]):
    """What a reader told."""

    def __call__(self, text: str) -> None:
        self.append(text)


def spare(fleet: Fleet, name: str, storage: Storage | None = None) -> Spare:
    return Spare(name, lambda: open_reader(fleet.open(name, storage)))


def restores(fleet: Fleet, reader: FailoverReader, source: Path) -> Silent:
    """Restores through the reader, compares, and answers the problems."""
    progress = Silent()
    (manifest,) = fleet.bench("one").manifests()
    target = DirectoryTarget(fleet.folder / "out", progress)
    restored = restore_folders(reader, manifest, target, progress=progress)
    assert restored.lost == 0
    assert snapshot(fleet.folder / "out" / str(source).lstrip("/")) == snapshot(source)
    return progress


def refuse() -> None:
    raise Unavailable("The disk is gone.")


def test_a_sound_place_is_read_alone(fleet: Fleet, source: Path) -> None:
    told = Told()
    opened: list[str] = []

    def never() -> None:
        opened.append("two")

    reader = FailoverReader(
        spare(fleet, "one"), [spare(fleet, "two", FaultyStorage(LocalStorage(fleet.folder), never, at=1))], told
    )
    assert restores(fleet, reader, source).problems == []
    assert (reader.substitutions(), told, opened) == ([], [], [])


def test_damaged_packs_come_from_the_spare(fleet: Fleet, source: Path) -> None:
    damaged = [layout.pack(bytes.fromhex(path.name)) for path in packs(fleet, "one")]
    for path in packs(fleet, "one"):
        path.write_bytes(bytes(path.stat().st_size))
    told = Told()
    reader = FailoverReader(spare(fleet, "one"), [spare(fleet, "two")], told)
    restores(fleet, reader, source)
    (found,) = reader.substitutions()
    assert (found.place, found.taken_from, found.failure) == ("one", {"two"}, "")
    assert found.objects == set(damaged)
    assert found.describe().startswith(f"{len(damaged)} objects were damaged or missing at one and taken from two")
    assert len(told) == 1


@pytest.mark.parametrize("read", [1, 3, 6])
def test_a_place_that_vanishes_in_the_middle(fleet: Fleet, source: Path, read: int) -> None:
    """From the given read of a pack on nothing comes from it any more; it is not asked again and again."""
    reads: list[str] = []

    class Vanishing(FaultyStorage):
        def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
            if name.startswith(layout.PACKS):
                reads.append(name)
                if len(reads) >= read:
                    refuse()
            return super().get(name, offset, length)

    storage = Vanishing(LocalStorage(fleet.bench("one").place), refuse, at=1_000_000)
    reader = FailoverReader(spare(fleet, "one", storage), [spare(fleet, "two")], Told())
    restores(fleet, reader, source)
    (found,) = reader.substitutions()
    assert (found.place, found.failure, found.taken_from) == ("one", "The disk is gone.", {"two"})
    assert read <= len(reads) < read + 2 * THREADS


def test_a_spare_that_cannot_be_opened_is_passed_over(fleet: Fleet, source: Path) -> None:
    flip(packs(fleet, "one")[0])

    def fails() -> None:
        raise NotFound("No such place.")

    def broken() -> object:
        raise Unavailable("The second one is away.")

    reader = FailoverReader(
        spare(fleet, "one"),
        [Spare("away", broken), spare(fleet, "two")],
        Told(),  # type: ignore[arg-type]
    )
    restores(fleet, reader, source)
    places = {each.place: each for each in reader.substitutions()}
    assert places["one"].taken_from == {"two"}
    assert places["away"].failure == "The second one is away."


def test_what_no_place_has_is_lost_with_both_reasons(fleet: Fleet) -> None:
    for path in packs(fleet, "one"):
        path.unlink()

    def broken() -> object:
        raise Unavailable("The second one is away.")

    reader = FailoverReader(spare(fleet, "one"), [Spare("away", broken)], Told())  # type: ignore[arg-type]
    (manifest,) = fleet.bench("two").manifests()
    root = manifest.roots[0]
    with pytest.raises(Corrupt, match=r"missing from .* The second one is away"):
        list(reader.nodes(root.node.content))  # type: ignore[union-attr]


def test_two_halves_make_a_whole(fleet: Fleet, source: Path) -> None:
    """Each place lost other packs; together they have everything."""
    paths = packs(fleet, "one")
    for number, path in enumerate(paths):
        lost = path if number % 2 else fleet.bench("two").place / "packs" / path.parent.name / path.name
        lost.unlink()
    reader = FailoverReader(spare(fleet, "one"), [spare(fleet, "two")], Told())
    restores(fleet, reader, source)
    assert [each.place for each in reader.substitutions()] == ["one"]


def test_closing_closes_every_place_that_was_opened(fleet: Fleet, source: Path) -> None:
    closed: list[str] = []

    class Closing(FaultyStorage):
        name = ""

        def close(self) -> None:
            closed.append(self.name)

    def place(name: str) -> Spare:
        storage = Closing(LocalStorage(fleet.bench(name).place), refuse, at=1_000_000)
        storage.name = name
        return spare(fleet, name, storage)

    flip(packs(fleet, "one")[0])
    reader = FailoverReader(place("one"), [place("two")], Told())
    restores(fleet, reader, source)
    reader.close()
    assert closed == ["one", "two"]


def test_a_pack_that_was_replaced_meanwhile_is_found_again(fleet: Fleet, source: Path) -> None:
    """A clean-up moved the blobs into other packs while the reader was open: its index is loaded anew."""
    reader = open_reader(fleet.open("one"))
    opened = fleet.open("one")
    before = opened.list_packs()
    # What a repack does, by hand: the same blobs in packs of other names, an index for them, the old ones gone.
    fleet.create("third")
    third = fleet.backup(source, "third", parent=None)
    assert third.copies == {"third": None}
    for name in fleet.open("third").list_packs():
        opened.storage.put(layout.pack(name), fleet.open("third").storage.get(layout.pack(name)))
    for name in fleet.open("third").index_names():
        opened.storage.put(name, fleet.open("third").storage.get(name))
    for name in before:
        opened.storage.delete(layout.pack(name))
    (manifest,) = fleet.bench("one").manifests()
    progress = Silent()
    target = DirectoryTarget(fleet.folder / "out", progress)
    assert restore_folders(reader, manifest, target, progress=progress).lost == 0

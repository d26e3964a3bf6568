"""One run, several destinations: each fails alone, what one missed comes later, each restores all by itself."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from engine import compress, crypto, keyring
from engine.backup import Request, Result, backup
from engine.errors import Corrupt, EngineError, Unavailable
from engine.progress import Silent
from engine.repository import layout, repository
from engine.repository.heal import sync
from engine.repository.repository import Repository
from engine.sources.files import Config, FilesSource
from engine.storage.base import Storage
from engine.storage.local import LocalStorage
from tests.support.faults import FaultyStorage
from tests.support.repositories import SECRET, Bench, Clock
from tests.support.trees import make_tree, snapshot, write_file


@dataclass
class Fleet:
    """Several local repositories of one installation, each also a Bench for reading."""

    folder: Path
    names: tuple[str, ...] = ("one", "two")
    keyring: keyring.Keyring = field(default_factory=keyring.Keyring.generate)
    clock: Clock = field(default_factory=Clock)
    known: Any = None

    def bench(self, name: str) -> Bench:
        return Bench(self.folder / name, keyring=self.keyring)

    def create(self, name: str) -> None:
        slot, data = keyring.wrap(self.keyring, keyring.SERVICE, SECRET)
        storage = LocalStorage(self.bench(name).place)
        repository.create(storage, self.keyring, {slot: data}, program="test 1", suite=1)

    def open(self, name: str, storage: Storage | None = None) -> Repository:
        chosen = storage or LocalStorage(self.bench(name).place)
        return repository.open_repository(chosen, self.keyring, expected=None)

    def backup(self, source: Path, *names: str, storages: dict[str, Storage] | None = None, **changes: Any) -> Result:
        opened = [(name, self.open(name, (storages or {}).get(name))) for name in names or self.names]
        heads = [head for name, _ in opened if (head := self.open(name).read_head("test"))]
        newest = max(heads, key=lambda head: head.sequence, default=None)
        request: dict[str, Any] = {
            "config_id": "test",
            "config": {},
            "type": "incremental",
            "streams": (),
            "folders": [FilesSource(Config(str(source)))],
            "suite": crypto.AES_256_GCM,
            "codec": compress.ZSTD,
            "tags": {},
            "program": "test 1",
            "host": "here",
            "parent": newest.manifest if newest else None,
            "known": self.known,
        }
        progress = changes.pop("progress", None) or Silent()
        made = Request(**(request | changes))
        return backup(opened, made, clock=self.clock, progress=progress, spool=self.folder / "spool")


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    fleet = Fleet(tmp_path)
    for name in fleet.names:
        fleet.create(name)
    return fleet


@pytest.fixture
def source(tmp_path: Path, seed: int) -> Path:
    make_tree(tmp_path / "source", random.Random(seed), files=15)
    return tmp_path / "source"


def assert_restores_all(fleet: Fleet, name: str, source: Path, states: list[dict[bytes, tuple[object, ...]]]) -> None:
    """This destination alone gives back every state, under the same identities as the others."""
    bench = fleet.bench(name)
    manifests = sorted(bench.manifests(), key=lambda manifest: manifest.sequence)
    assert [manifest.sequence for manifest in manifests] == list(range(1, len(states) + 1))
    for manifest, state in zip(manifests, states, strict=True):
        bench.restore(manifest, f"out{manifest.sequence}")
        assert snapshot(bench.folder / f"out{manifest.sequence}" / str(source).lstrip("/")) == state
    assert bench.check().errors == []


def files_below(place: Path, folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (place / folder).rglob("*") if path.is_file()}


def test_both_get_the_same_bytes(fleet: Fleet, source: Path) -> None:
    result = fleet.backup(source)
    assert result.copies == {"one": None, "two": None}
    for folder in ("packs", "manifests"):
        one, two = (files_below(fleet.bench(name).place, folder) for name in fleet.names)
        assert one == two
        assert one
    for name in fleet.names:
        assert_restores_all(fleet, name, source, [snapshot(source)])


def refuse() -> None:
    raise Unavailable("The disk is gone.")


@pytest.mark.parametrize("call", [3, 5, 7, 9, 12, 15])
def test_one_that_fails_does_not_fail_the_other_and_catches_up(
    fleet: Fleet, source: Path, seed: int, call: int
) -> None:
    states = [snapshot(source)]
    fleet.backup(source)
    write_file(source / "more", random.Random(seed), 500_000)
    states.append(snapshot(source))
    faulty = FaultyStorage(LocalStorage(fleet.bench("two").place), refuse, at=call)
    result = fleet.backup(source, storages={"two": faulty})
    assert faulty.was_hit
    assert result.copies["one"] is None
    assert isinstance(result.copies["two"], EngineError) or result.manifest.problems
    assert not result.is_complete
    write_file(source / "last", random.Random(seed), 5_000)
    states.append(snapshot(source))
    assert fleet.backup(source).copies == {"one": None, "two": None}
    for name in fleet.names:
        assert_restores_all(fleet, name, source, states)


def test_a_destination_that_missed_runs_catches_up_in_both_directions(fleet: Fleet, source: Path, seed: int) -> None:
    states, rng = [], random.Random(seed)
    for number, names in enumerate((("one",), ("one",), ("one", "two"))):
        write_file(source / f"file{number}", rng, 60_000)
        states.append(snapshot(source))
        fleet.backup(source, *names)
    head = fleet.open("two").read_head("test")
    assert head is not None
    assert head.missing == ()
    for name in fleet.names:
        assert_restores_all(fleet, name, source, states)


def test_a_numbered_gap_is_remembered_while_it_lasts(fleet: Fleet, source: Path) -> None:
    fleet.backup(source)
    two = fleet.backup(source, "one")
    fleet.known = repository.Head("test", 2, two.manifest.id, two.hash)
    fleet.backup(source, "two")
    head = fleet.open("two").read_head("test")
    assert head is not None
    assert (head.sequence, head.missing) == (3, (2,))


def test_a_new_destination_gets_the_whole_history(fleet: Fleet, source: Path, seed: int) -> None:
    states = []
    for number in range(3):
        write_file(source / f"file{number}", random.Random(seed + number), 60_000)
        states.append(snapshot(source))
        fleet.backup(source, "one")
    fleet.create("three")
    fleet.backup(source, "one", "three")
    states.append(snapshot(source))
    assert_restores_all(fleet, "three", source, states)


def test_sync_brings_a_destination_up_to_date_without_a_run(fleet: Fleet, source: Path, seed: int) -> None:
    states = []
    for number in range(2):
        write_file(source / f"file{number}", random.Random(seed + number), 60_000)
        states.append(snapshot(source))
        fleet.backup(source, "one")
    fleet.backup(source, "one", config_id="other", parent=None)
    sources = [("one", fleet.open("one"))]
    tools: dict[str, Any] = {"clock": fleet.clock, "progress": Silent(), "spool": fleet.folder}
    done = sync(sources, "two", fleet.open("two"), **tools)
    assert len(done.points) == 3
    again = sync(sources, "two", fleet.open("two"), **tools)
    assert (again.points, again.packs) == ([], 0)
    bench = fleet.bench("two")
    assert bench.check().errors == []
    for manifest in bench.manifests():
        bench.restore(manifest, f"{manifest.config_id}{manifest.sequence}")
    for number, state in enumerate(states, start=1):
        assert snapshot(bench.folder / f"test{number}" / str(source).lstrip("/")) == state
    heads = {config: fleet.open("two").read_head(config) for config in ("test", "other")}
    assert {config: head.sequence for config, head in heads.items() if head} == {"test": 2, "other": 1}
    assert list(fleet.open("two").storage.list(layout.SESSIONS)) == []


def test_damage_is_not_spread(fleet: Fleet, source: Path) -> None:
    """A pack whose bytes do not fit its name is not copied; the run says so and its own point is whole everywhere."""
    fleet.backup(source, "one")
    path = max((fleet.bench("one").place / "packs").rglob("*/*"), key=lambda path: path.stat().st_size)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    progress = Silent()
    result = fleet.backup(source, progress=progress)
    assert [kind for kind, _, _ in progress.problems] == ["destination"]
    assert not result.is_complete
    bench = fleet.bench("two")
    assert bench.check().errors == []
    bench.restore(result.manifest, "out")
    assert snapshot(bench.folder / "out" / str(source).lstrip("/")) == snapshot(source)


def test_too_few_copies_fail_the_run(fleet: Fleet, source: Path) -> None:
    faulty = FaultyStorage(LocalStorage(fleet.bench("two").place), refuse, at=6)
    with pytest.raises(Unavailable, match="Only 1 of the 2 copies"):
        fleet.backup(source, storages={"two": faulty}, min_copies=2)


def test_all_that_fail_fail_the_run(fleet: Fleet, source: Path) -> None:
    faulty = {name: FaultyStorage(LocalStorage(fleet.bench(name).place), refuse, at=6) for name in fleet.names}
    with pytest.raises(Unavailable, match="disk is gone"):
        fleet.backup(source, storages=dict(faulty))


def test_what_only_one_has_is_stored_for_the_other_alone(fleet: Fleet, source: Path, seed: int) -> None:
    """Presence is judged per destination: the pack for one does not repeat what the other has."""
    fleet.backup(source, "one")
    before = set(files_below(fleet.bench("one").place, "packs"))
    for item in list(fleet.open("two").storage.list(layout.PACKS)):
        fleet.open("two").storage.delete(item.name)
    fleet.backup(source, "two", parent=None)
    write_file(source / "new", random.Random(seed), 900_000)
    fleet.backup(source)
    added = set(files_below(fleet.bench("one").place, "packs")) - before
    assert sum(len(files_below(fleet.bench("one").place, "packs")[name]) for name in added) < 2_000_000
    for name in fleet.names:
        assert fleet.bench(name).check().errors == []


def test_a_lying_destination_is_noticed(fleet: Fleet, source: Path) -> None:
    """It acknowledges the manifest and gives back another one."""

    class Lying(FaultyStorage):
        def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
            if name.startswith(layout.MANIFESTS):
                return fleet.open("one").storage.get(layout.manifest(first.manifest.id))
            return super().get(name, offset, length)

    first = fleet.backup(source, "one")
    lying = Lying(LocalStorage(fleet.bench("two").place), lambda: None, at=1)
    result = fleet.backup(source, storages={"two": lying}, parent=first.manifest.id)
    assert result.copies["one"] is None
    assert isinstance(result.copies["two"], Corrupt)


def test_copies_are_made_by_one_sealing(fleet: Fleet, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two destinations seal each blob once."""
    from engine.repository.pack import OpenPack

    sealed: list[bytes] = []
    append: Callable[..., int] = OpenPack.append

    def counting(self: OpenPack, id: bytes, *rest: Any, **more: Any) -> int:
        sealed.append(id)
        return append(self, id, *rest, **more)

    monkeypatch.setattr(OpenPack, "append", counting)
    fleet.backup(source)
    assert len(sealed) == len(set(sealed))
    assert sealed

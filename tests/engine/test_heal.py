"""Damage at a destination made good: from another one, from what is left, from the source; nothing is ever deleted."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine import crypto, keyring
from engine.progress import Silent
from engine.repository import layout
from engine.repository.check import check
from engine.repository.pack import decode_directory
from engine.repository.repair import Order, Repaired, plan, repair
from engine.storage.base import Storage
from tests.engine.test_destinations import Fleet, assert_restores_all, files_below
from tests.support.repositories import SECRET
from tests.support.trees import make_tree, snapshot, write_file

HOST = "here"


@pytest.fixture
def source(tmp_path: Path, seed: int) -> Path:
    rng = random.Random(seed)
    make_tree(tmp_path / "source", rng, files=15)
    write_file(tmp_path / "source" / "large", rng, 3_000_000)
    for number in range(30):
        write_file(tmp_path / "source" / f"small{number}", rng, 20_000)
    return tmp_path / "source"


@pytest.fixture
def fleet(tmp_path: Path, source: Path, seed: int) -> Fleet:
    fleet = Fleet(tmp_path)
    for name in fleet.names:
        fleet.create(name)
    fleet.backup(source)
    write_file(source / "second", random.Random(seed + 1), 700_000)
    fleet.backup(source)
    return fleet


@pytest.fixture
def states(fleet: Fleet, source: Path) -> list[dict[bytes, tuple[object, ...]]]:
    """What the two restore points hold."""
    after = snapshot(source)
    for number in (1, 2):
        fleet.bench("one").restore(fleet.bench("one").manifests()[number - 1], f"state{number}")
    found = {}
    for number in (1, 2):
        state = snapshot(fleet.bench("one").folder / f"state{number}" / str(source).lstrip("/"))
        found[b"second" in state] = state
    assert found[True] == after
    return [found[False], found[True]]


def mend(fleet: Fleet, name: str, *others: str, storage: Storage | None = None, **changes: Any) -> Repaired:
    """Repairs what `report` says, else a check now; with `storage` the repair, not the check, goes through that one."""
    target = fleet.open(name)
    sources = [(other, fleet.open(other)) for other in others]
    report = changes.pop("report", None) or check(target, progress=Silent())
    order = Order(**({"slots": {}, "host": HOST} | changes))
    (fleet.folder / "spool").mkdir(exist_ok=True)
    tools: dict[str, Any] = {"clock": fleet.clock, "progress": Silent(), "spool": fleet.folder / "spool"}
    return repair(name, fleet.open(name, storage), sources, report, order, **tools)


def packs(fleet: Fleet, name: str) -> list[Path]:
    """The packs, the largest first."""
    found = (fleet.bench(name).place / "packs").rglob("*/*")
    return sorted(found, key=lambda path: path.stat().st_size, reverse=True)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def empty(path: Path) -> None:
    path.write_bytes(b"")


DAMAGES: list[Callable[[Path], None]] = [flip, cut, empty, Path.unlink]


@pytest.mark.parametrize("harm", DAMAGES, ids=lambda each: each.__name__)
@pytest.mark.parametrize("kind", ["packs", "index", "manifests", "heads"])
def test_every_object_is_made_good_from_another_destination(
    fleet: Fleet, source: Path, states: list[Any], kind: str, harm: Callable[[Path], None]
) -> None:
    before = files_below(fleet.bench("two").place, "packs")
    for path in [path for path in (fleet.bench("two").place / kind).rglob("*") if path.is_file()]:
        harm(path)
    hurt = [path.name for path in (fleet.bench("two").place / kind).rglob("*") if path.is_file()]
    done = mend(fleet, "two", "one")
    assert_restores_all(fleet, "two", source, states)
    assert files_below(fleet.bench("two").place, "packs") == before
    if kind in ("packs", "index", "manifests"):
        assert {name.rpartition("-")[2] for name in files_below(fleet.bench("two").place, "quarantine")} == set(hurt)
    head = fleet.open("two").read_head("test")
    assert head is not None
    assert (head.sequence, head.missing) == (2, ())
    again = mend(fleet, "two", "one")
    assert (again.put_back, again.made_anew, again.set_aside) == ([], [], {})
    assert not list(fleet.open("two").storage.list(layout.SESSIONS))
    assert done.copied.failed == {}


def test_what_was_damaged_lies_in_quarantine_unchanged(fleet: Fleet) -> None:
    flip(packs(fleet, "two")[0])
    name, damaged = packs(fleet, "two")[0].name, packs(fleet, "two")[0].read_bytes()
    done = mend(fleet, "two", "one")
    assert files_below(fleet.bench("two").place, "quarantine") == {name: damaged}
    assert done.put_back == [layout.pack(bytes.fromhex(name))]
    flip(packs(fleet, "two")[0])
    mend(fleet, "two", "one")
    assert set(files_below(fleet.bench("two").place, "quarantine")) == {name, f"{name}.2"}


def test_without_a_second_copy_unchanged_files_are_read_again(fleet: Fleet, source: Path, states: list[Any]) -> None:
    """The blobs that still open are stored anew, the others made again from the source; their ids prove them."""
    for path in packs(fleet, "two"):
        if path.stat().st_size > 500_000:
            cut(path)
    done = mend(fleet, "two")
    assert done.read_again
    assert done.set_aside
    assert_restores_all(fleet, "two", source, states)


def test_what_is_lost_is_told_by_name_and_keeps_being_reported(fleet: Fleet, source: Path) -> None:
    """The file has changed since: no other place has its bytes. The rest is as good as ever."""
    flip(packs(fleet, "two")[0])
    report = fleet.bench("two").check()
    hit = {path for damage in report.errors for path in damage.files}
    for path in hit:
        Path(path).touch()
    assert mend(fleet, "two").read_again == set()
    for _ in range(2):
        after = fleet.bench("two").check()
        assert {path for damage in after.errors for path in damage.files} == hit
        assert {backup for damage in after.errors for backup in damage.backups}
        assert mend(fleet, "two").set_aside == {}
    assert mend(fleet, "two", "one").copied.failed == {}
    assert fleet.bench("two").check().errors == []


def test_what_newer_keys_sealed_is_left_alone(fleet: Fleet, source: Path) -> None:
    """A home that lags behind opens none of it, and must not set the good work of another one aside."""
    lagging, fleet.keyring = fleet.keyring, fleet.keyring.with_new_epoch()
    write_file(source / "third", random.Random(3), 700_000)
    fleet.backup(source)
    after, before = snapshot(source), files_below(fleet.bench("two").place, "")
    newer, fleet.keyring = fleet.keyring, lagging
    for others in ((), ("one",)):
        done = mend(fleet, "two", *others)
        assert (done.set_aside, done.made_anew, done.put_back) == ({}, [], [])
        assert before.items() <= files_below(fleet.bench("two").place, "").items()
    fleet.keyring = newer
    bench = fleet.bench("two")
    assert bench.check().errors == []
    newest = max(bench.manifests(), key=lambda manifest: manifest.sequence)
    bench.restore(newest, "newest")
    assert snapshot(bench.folder / "newest" / str(source).lstrip("/")) == after


def test_files_of_another_host_are_not_read(fleet: Fleet) -> None:
    flip(packs(fleet, "two")[0])
    assert mend(fleet, "two", host="another").read_again == set()
    assert fleet.bench("two").check().errors


def test_damage_at_both_is_healed_from_both(fleet: Fleet, source: Path, states: list[Any]) -> None:
    """The same pack is damaged at both places, in other blobs: together they still have everything."""
    one = fleet.open("one")
    listed = [info for name in one.index_names() for info in one.read_index(name)]
    blobs, name = max(
        ((decode_directory(info.directory, ""), info.name.hex()) for info in listed), key=lambda each: len(each[0])
    )
    assert len(blobs) > 1
    for place, blob in (("one", blobs[0]), ("two", blobs[-1])):
        (path,) = (fleet.bench(place).place / "packs").rglob(name)
        data = bytearray(path.read_bytes())
        data[blob.position + blob.stored // 2] ^= 1
        path.write_bytes(data)
    for path in source.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.touch()  # nothing can be had from the source
    done = mend(fleet, "two", "one")
    assert done.set_aside
    assert not done.read_again
    for name, other in (("two", "one"), ("one", "two")):
        mend(fleet, name, other)
        bench = fleet.bench(name)
        assert bench.check().errors == []
        for manifest in bench.manifests():
            bench.restore(manifest, f"healed{manifest.sequence}")
            out = bench.folder / f"healed{manifest.sequence}" / str(source).lstrip("/")
            assert snapshot(out) == states[manifest.sequence - 1]


def test_a_pack_is_not_trusted_for_its_name(fleet: Fleet, source: Path, states: list[Any]) -> None:
    """The other destination's copy of the pack is damaged too: it is not copied, its good blobs are."""
    for name in fleet.names:
        flip(packs(fleet, name)[0])
    mend(fleet, "two", "one")
    for item in fleet.open("two").storage.list(layout.PACKS):
        assert crypto.sha256(fleet.open("two").storage.get(item.name)).hex() == item.name[-64:]
    assert_restores_all(fleet, "two", source, states)


def test_key_slots_are_written_again(fleet: Fleet) -> None:
    slot, data = keyring.wrap(fleet.keyring, keyring.SERVICE, SECRET)
    (own,) = (fleet.bench("two").place / "keys").iterdir()
    kept = own.read_bytes()
    flip(own)
    done = mend(fleet, "two", slots={f"keys/{own.name}": kept, slot: data})
    assert sorted(done.put_back) == sorted([f"keys/{own.name}", slot])
    assert own.read_bytes() == kept
    assert fleet.bench("two").check().errors == []


def test_the_plan_says_what_will_be_done_and_changes_nothing(fleet: Fleet) -> None:
    flip(packs(fleet, "two")[0])
    (index,) = list((fleet.bench("two").place / "index").iterdir())[:1]
    flip(index)
    before = files_below(fleet.bench("two").place, "")
    report = fleet.bench("two").check()
    order = Order(slots={}, host=HOST)
    steps = {name.partition("/")[0]: what for name, _, what in plan(report, [("one", fleet.open("one"))], order)}
    assert steps == {"packs": "taken again from one, if it is sound there", "index": "made anew"}
    alone = {name.partition("/")[0]: what for name, _, what in plan(report, [], order)}
    assert alone["packs"] == "what can be had of it is stored anew, and the rest looked for at the source"
    assert files_below(fleet.bench("two").place, "") == before

"""Repair of the small objects (marks, tombstones, fences, rescue programs), repairs that were killed, and points that
are given up."""

from __future__ import annotations

import os
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from engine.crypto import sha256
from engine.errors import Corrupt, Unavailable
from engine.progress import Silent
from engine.repository import guide, layout, mark
from engine.repository.forget import LOST, Tombstone, forget, give_up, given_up, read_tombstone, trash
from engine.repository.history import DELETED, MISSING, Point, Witness
from engine.repository.prune import Rules, begin
from engine.repository.session import fence, running
from engine.repository.usage import survey
from engine.storage.base import Buffer, Item
from engine.storage.local import LocalStorage
from tests.engine.test_destinations import Fleet, assert_restores_all, files_below
from tests.engine.test_heal import flip, mend, packs
from tests.support.faults import kill_this_process, run_and_wait
from tests.support.pruning import Pruning
from tests.support.trees import make_tree, snapshot, write_file

KILLED = -9
NOW = datetime(2026, 11, 23, tzinfo=UTC)
ELSEWHERE = {"host": "another"}


@pytest.fixture
def source(tmp_path: Path, seed: int) -> Path:
    make_tree(tmp_path / "source", random.Random(seed), files=5)
    write_file(tmp_path / "source" / "large", random.Random(seed), 400_000)
    return tmp_path / "source"


@pytest.fixture
def fleet(tmp_path: Path, source: Path, seed: int) -> Fleet:
    """Two destinations with the same two restore points."""
    fleet = Fleet(tmp_path)
    for name in fleet.names:
        fleet.create(name)
    fleet.backup(source)
    write_file(source / "second", random.Random(seed + 1), 50_000)
    fleet.backup(source)
    return fleet


def points(fleet: Fleet) -> list[bytes]:
    """The restore points in the order of their numbers."""
    return [each.id for each in sorted(fleet.bench("two").manifests(), key=lambda manifest: manifest.sequence)]


def note(identity: bytes, reason: str = "daily 7") -> Tombstone:
    return Tombstone(identity, "test", 1, bytes(32), reason, NOW)


def remove(fleet: Fleet, *names: str) -> tuple[Tombstone, Path]:
    """The first point lies in the trash of these destinations; its tombstone, and where that is at the last one."""
    made = [forget(fleet.open(name), points(fleet)[0], reason=f"at {name}", now=NOW) for name in names][-1]
    return made, fleet.bench(names[-1]).place / layout.tombstone(made.manifest)


class DiesAtMove(LocalStorage):
    """As if the power went when the first object is moved."""

    def move(self, name: str, to: str) -> None:
        kill_this_process()


def test_a_damaged_tombstone_is_written_as_it_is_remembered(fleet: Fleet) -> None:
    made, path = remove(fleet, "two")
    flip(path)
    damaged = path.read_bytes()
    done = mend(fleet, "two", buried={made.manifest: made})
    assert done.put_back == [layout.tombstone(made.manifest)]
    assert read_tombstone(fleet.open("two"), made.manifest) == made
    assert list(files_below(fleet.bench("two").place, "quarantine").values()) == [damaged]
    assert fleet.bench("two").check().errors == []


def test_a_tombstone_that_nobody_remembers_comes_from_another_destination(fleet: Fleet) -> None:
    made, path = remove(fleet, "one", "two")
    flip(path)
    assert mend(fleet, "two").put_back == []  # alone nobody can tell whether anything was removed
    assert path.exists()
    mend(fleet, "two", "one")
    assert read_tombstone(fleet.open("two"), made.manifest).reason == "at one"
    assert fleet.bench("two").check().errors == []


def test_a_planted_tombstone_removes_nothing(fleet: Fleet) -> None:
    """The caller knows that the point was not removed here, whatever another destination says."""
    made, path = remove(fleet, "one", "two")
    path.write_bytes(b"rubbish")
    mend(fleet, "two", "one", held=[made.manifest])
    assert fleet.open("two").removed_ids() == set()
    assert fleet.bench("two").check().errors == []


def test_a_fence_never_opens(fleet: Fleet) -> None:
    opened = fleet.open("two")
    session = opened.read_manifest(points(fleet)[0]).manifest.session
    fence(opened, session, by=bytes(16), now=NOW)
    flip(fleet.bench("two").place / layout.fence(session))
    assert mend(fleet, "two").made_anew == [layout.fence(session)]
    assert opened.fenced_sessions() == {session}
    assert fleet.bench("two").check().errors == []


@pytest.mark.parametrize("others", [(), ("one",)], ids=["alone", "with another"])
def test_a_rescue_program_that_was_replaced_is_set_aside(fleet: Fleet, others: tuple[str, ...]) -> None:
    """A kit names the program of its day: an older one comes from another destination, ours from ourselves."""
    for name in fleet.names:
        guide.publish(fleet.open(name).storage)
    program = fleet.bench("two").place / guide.program_name()
    program.write_bytes(b"print('give me the code')")
    mend(fleet, "two", *others)
    assert program.read_bytes() == guide.program()
    assert b"print('give me the code')" in files_below(fleet.bench("two").place, "quarantine").values()
    assert fleet.bench("two").check().errors == []


def test_a_rescue_program_is_not_taken_unseen(fleet: Fleet) -> None:
    """Whoever replaced it here may have replaced it there."""
    old = b"print('an older version')"
    name = f"{guide.RESCUE}{sha256(old).hex()}.py"
    for place in fleet.names:
        fleet.open(place).storage.put(name, old)
        (fleet.bench(place).place / name).write_bytes(b"print('give me the code')")
    assert mend(fleet, "two", "one").put_back == []
    assert not (fleet.bench("two").place / name).exists()
    (fleet.bench("one").place / name).write_bytes(old)
    (fleet.bench("two").place / name).write_bytes(b"print('again')")
    assert mend(fleet, "two", "one").put_back == [name]


class FullForPrograms(LocalStorage):
    """What has been set aside finds no room in its old place."""

    def put(self, name: str, data: Buffer | Path, *, create: bool = True) -> None:
        if name.startswith(guide.RESCUE):
            raise Unavailable("The disk is full.")
        super().put(name, data, create=create)


@pytest.mark.parametrize("is_same_report", [True, False], ids=["the same report", "a new one"])
def test_a_rescue_program_comes_back_after_a_repair_that_was_interrupted(fleet: Fleet, is_same_report: bool) -> None:
    """No check misses a program that is gone."""
    place, old = fleet.bench("two").place, b"print('an older version')"
    name = f"{guide.RESCUE}{sha256(old).hex()}.py"
    for each in fleet.names:
        fleet.open(each).storage.put(name, old)
    flip(place / name)
    report = fleet.bench("two").check()
    with pytest.raises(Unavailable):
        mend(fleet, "two", "one", storage=FullForPrograms(place))
    assert not (place / name).exists()
    (place / "quarantine" / "rescue-mine.py").write_bytes(b"somebody else's")
    again = report if is_same_report else fleet.bench("two").check()
    done = mend(fleet, "two", "one", report=again)
    assert (done.put_back, done.set_aside) == ([name], {})
    assert (place / name).read_bytes() == old
    assert mend(fleet, "two", "one", report=again).put_back == []


def test_a_damaged_mark_is_set_aside(fleet: Fleet, source: Path, seed: int) -> None:
    """It stops everybody, and the sentence says what to do."""
    opened = fleet.open("two")
    made = mark.create(opened, opened.list_packs(), now=NOW)
    flip(fleet.bench("two").place / layout.mark(made.id))
    with pytest.raises(Corrupt, match="which packs are about to be deleted") as raised:
        opened.marked_packs()
    assert "--repair" in raised.value.hint
    mend(fleet, "two")
    assert fleet.open("two").marked_packs() == set()
    assert fleet.bench("two").check().errors == []
    write_file(source / "third", random.Random(seed + 2), 50_000)
    assert fleet.backup(source).copies == {"one": None, "two": None}


def kill_a_repair(fleet: Fleet) -> None:
    """When it had stored anew what opens of a damaged pack, and was about to move that."""
    flip(packs(fleet, "two")[0])
    dying = DiesAtMove(fleet.bench("two").place)
    assert run_and_wait(lambda: mend(fleet, "two", storage=dying, **ELSEWHERE)) == KILLED
    assert mark.read_all(fleet.open("two"))


def test_the_next_repair_goes_on_where_one_was_killed(fleet: Fleet, source: Path) -> None:
    kill_a_repair(fleet)
    broken = packs(fleet, "two")[0].name
    done = mend(fleet, "two", **ELSEWHERE)
    assert list(done.set_aside) == [layout.pack(bytes.fromhex(broken))]
    assert fleet.open("two").marked_packs() == {bytes.fromhex(broken)}  # of a session that may still be at work
    done = mend(fleet, "two", "one")
    assert done.copied.failed == {}
    assert_restores_all(fleet, "two", source, [state(fleet, 1), snapshot(source)])


def state(fleet: Fleet, number: int) -> Any:
    bench = fleet.bench("one")
    manifest = next(each for each in bench.manifests() if each.sequence == number)
    bench.restore(manifest, f"state{number}")
    (top,) = (bench.folder / f"state{number}").iterdir()
    return snapshot(next(path for path in top.rglob("source")))


def test_the_mark_of_a_killed_repair_goes_once_its_session_is_over(fleet: Fleet) -> None:
    kill_a_repair(fleet)
    mend(fleet, "two", **ELSEWHERE)
    (left,) = mark.read_all(fleet.open("two"))
    fence(fleet.open("two"), left.id, by=bytes(16), now=NOW)
    mend(fleet, "two", **ELSEWHERE)
    assert mark.read_all(fleet.open("two")) == []


class KeepsMarks(LocalStorage):
    """A disk that fails when a mark shall go."""

    def delete(self, name: str) -> None:
        if name.startswith(layout.MARKS):
            raise Unavailable("The disk does not answer.")
        super().delete(name)


class LosesAnswers(LocalStorage):
    """A mark gets there, and nobody hears of it; nor can it be removed."""

    def stat(self, name: str) -> Item:
        if name.startswith(layout.MARKS):
            raise Unavailable("The disk does not answer.")
        return super().stat(name)

    def delete(self, name: str) -> None:
        self.stat(name)
        super().delete(name)


@pytest.mark.parametrize("kind", [KeepsMarks, LosesAnswers])
def test_a_mark_that_could_not_be_removed_goes_with_the_next_clean_up(fleet: Fleet, kind: type[LocalStorage]) -> None:
    """Its session is left to expire like that of a killed repair; else the mark would stay for half a year, since it
    could as well be that of a pruner who sleeps."""
    place, rules = fleet.bench("two").place, Rules()
    flip(packs(fleet, "two")[0])
    with pytest.raises(Unavailable):
        mend(fleet, "two", storage=kind(place), **ELSEWHERE)
    (left,) = mark.read_all(fleet.open("two"))
    assert set(running(fleet.open("two"))) == {left.id}
    mend(fleet, "two", **ELSEWHERE)
    silent_since = (fleet.clock() - rules.session_expiry - rules.grace).timestamp() - 60
    for marker in (place / layout.SESSIONS).iterdir():
        os.utime(marker, (silent_since, silent_since))
    begin(fleet.open("two"), rules=rules, clock=fleet.clock, progress=Silent(), spool=fleet.folder / "spool")
    assert left.id not in {each.id for each in mark.read_all(fleet.open("two"))}


def test_a_mark_of_a_pruner_is_left_alone(fleet: Fleet) -> None:
    """What is needed of its packs gets a new place; the packs are its own."""
    opened = fleet.open("two")
    path = packs(fleet, "two")[0]
    made = mark.create(opened, [bytes.fromhex(path.name)], now=NOW)
    flip(path)
    mend(fleet, "two", "one")
    assert path.exists()
    assert [each.id for each in mark.read_all(fleet.open("two"))] == [made.id]


def test_a_manifest_in_quarantine_explains_what_is_gone_but_excuses_nothing(fleet: Fleet) -> None:
    opened = fleet.open("two")
    remembered = {identity: Point.of(opened.read_manifest(identity)) for identity in points(fleet)}
    first, second = remembered
    flip(fleet.bench("two").place / layout.manifest(first))
    mend(fleet, "two")
    # Without anybody who remembers, a number that is gone is told, whatever lies in quarantine.
    assert [each.object for each in fleet.bench("two").check().errors] == ["number 1 of test"]
    (fleet.bench("two").place / layout.manifest(second)).rename(fleet.folder / "taken")
    found = fleet.bench("two").check(witness=Witness(remembered)).errors
    assert {(each.kind, each.object) for each in found} == {
        (MISSING, layout.manifest(first)),
        (DELETED, layout.manifest(second)),
    }


@pytest.mark.parametrize("how", ["lacks blobs", "damaged manifest", "no manifest"])
def test_a_point_that_is_given_up_is_damage_no_more(fleet: Fleet, how: str) -> None:
    bench, first = fleet.bench("two"), points(fleet)[0]
    remembered = Witness({each: Point.of(fleet.open("two").read_manifest(each)) for each in points(fleet)})
    hash = remembered.held[first].hash
    if how == "lacks blobs":
        for path in packs(fleet, "two"):
            flip(path)
        mend(fleet, "two", **ELSEWHERE)
        give_up(fleet.open("two"), note(points(fleet)[1], f"{LOST}too"))
    else:
        path = bench.place / layout.manifest(first)
        flip(path) if how == "damaged manifest" else path.unlink()
    assert bench.check(witness=remembered).errors
    known = Tombstone(first, "test", 1, hash, f"{LOST}packs are gone", NOW)
    made = give_up(fleet.open("two"), known)
    assert (made.config_id, made.sequence, made.hash, made.is_of_lost) == ("test", 1, hash, True)
    report = bench.check(witness=remembered)
    assert report.errors == []
    assert first not in report.sound
    assert bench.check().errors == []


def test_one_that_went_into_the_trash_before_is_given_up_too(fleet: Fleet) -> None:
    opened, (first, second) = fleet.open("two"), points(fleet)
    forget(opened, first, reason="daily 7", now=NOW)
    assert given_up(opened, [first, second]) == set()
    give_up(opened, note(first, f"{LOST}rot"))
    assert given_up(opened, [first, second]) == {first}
    assert [each.reason for each in trash(opened, damage=[])] == [f"{LOST}rot"]


def test_points_that_were_given_up_hold_up_no_clean_up_and_hide_nothing(tmp_path: Path, seed: int) -> None:
    """Of two points in the trash the same directories are damaged. As long as one of them is not given up nothing may
    be deleted, even though the other met the damage first."""
    site = Pruning(tmp_path, random.Random(seed))
    site.bench.create()
    site.write("file", 100_000)
    for _ in range(2):
        site.backup()
    opened = site.repository
    first, second = opened.manifest_ids()
    for path in [site.bench.place / name for name in site.tree_packs_of(first)]:
        path.write_bytes(bytes(path.stat().st_size))
    forget(opened, second, reason="daily 7", now=NOW)
    give_up(opened, note(first, f"{LOST}rot"))
    with pytest.raises(Corrupt):
        survey(opened, progress=Silent())
    give_up(opened, note(second, f"{LOST}rot"))
    survey(opened, progress=Silent())

"""Deleted, replayed, replaced and rolled back points are reported by number and time; lawful changes are not."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import Unavailable
from engine.progress import Silent
from engine.repository import layout
from engine.repository.check import check
from engine.repository.forget import Tombstone, empty_trash, forget, recall
from engine.repository.history import DELETED, MISSING, ROLLED_BACK, UNEXPECTED, Evidence, Point, Witness, examine
from engine.repository.repository import Head
from engine.storage.local import LocalStorage
from tests.engine.test_destinations import Fleet
from tests.support.faults import FaultyStorage, kill_this_process, run_and_wait
from tests.support.repositories import Bench
from tests.support.trees import write_file

NOW = datetime(2027, 1, 1, tzinfo=UTC)


@pytest.fixture
def bench(tmp_path: Path, seed: int) -> Bench:
    """Four restore points."""
    bench, source = Bench(tmp_path / "bench"), tmp_path / "source"
    source.mkdir()
    bench.create()
    for number in range(4):
        write_file(source / f"file {number}", random.Random(seed + number), 5_000)
        bench.backup(source)
    return bench


def points(bench: Bench) -> list[Point]:
    """What a witness remembers, in the order of numbers."""
    opened = bench.open()
    found = [Point.of(opened.read_manifest(identity)) for identity in opened.manifest_ids()]
    return sorted((replace(point, previous=None) for point in found), key=lambda point: point.sequence)


def witness(held: list[Point], removed: list[Point] | None = None) -> Witness:
    return Witness({point.id: point for point in held}, {point.id: point for point in removed or []})


def manifest_of(bench: Bench, number: int) -> Path:
    return bench.place / layout.manifest(points(bench)[number - 1].id)


def told(bench: Bench, remembered: Witness | None = None) -> list[tuple[str, str]]:
    """Kind and reason of all that a check finds."""
    return [(damage.kind, damage.reason) for damage in bench.check(witness=remembered).errors]


def tombstone_of(bench: Bench, number: int) -> Path:
    return bench.place / layout.tombstone(points(bench)[number - 1].id)


def remove(bench: Bench, number: int) -> Point:
    """As a clean-up does, trash emptied."""
    point = points(bench)[number - 1]
    forget(bench.open(), point.id, reason="daily 7", now=NOW)
    assert empty_trash(bench.open(), [point.id], delay=timedelta(0), now=NOW)
    return point


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_deleted_point_is_told_by_number_and_time(bench: Bench, number: int) -> None:
    remembered, path = points(bench), manifest_of(bench, number)
    path.unlink()
    ((kind, reason),) = told(bench, witness(remembered))
    assert kind == DELETED
    made = f"{remembered[number - 1].made_at:%Y-%m-%d %H:%M} UTC"
    assert reason.startswith(f"Number {number} of test, made {made}, was here and is gone")
    ((kind, reason),) = told(bench)
    assert (kind, f"Number {number} of test" in reason) == (DELETED, True)
    assert ("before" in reason, "after" in reason) == (number < 4, number > 1)


def test_an_older_state_that_was_put_back_is_told_point_by_point(bench: Bench, tmp_path: Path) -> None:
    shutil.copytree(bench.place, tmp_path / "older")
    for _ in range(2):
        bench.backup(tmp_path / "source")
    remembered = points(bench)
    shutil.rmtree(bench.place)
    shutil.copytree(tmp_path / "older", bench.place)
    found = told(bench, witness(remembered))
    assert [kind for kind, _ in found] == [ROLLED_BACK, ROLLED_BACK]
    assert [reason[:10] for _, reason in found] == ["Number 5 o", "Number 6 o"]
    assert "now ends at number 4" in found[0][1]
    assert told(bench) == []  # the destination alone contradicts itself in nothing
    # The next run numbers on from what is remembered, and its head does not explain the loss away.
    newest = remembered[-1]
    known = Head("test", newest.sequence, newest.id, newest.hash)
    made = bench.backup(tmp_path / "source", known=known, held={"one": range(1, 7)})
    assert made.manifest.sequence == 7
    assert {reason[:10] for _, reason in told(bench)} == {"Number 5 o", "Number 6 o"}


def test_manifests_under_other_names(bench: Bench) -> None:
    one, two = manifest_of(bench, 1), manifest_of(bench, 2)
    first, second = one.read_bytes(), two.read_bytes()
    remembered = witness(points(bench))
    copy = one.with_name("ab" * 16)
    copy.write_bytes(first)
    assert [damage.object for damage in bench.check(witness=remembered).errors] == [f"manifests/{copy.name}"]
    copy.unlink()
    one.write_bytes(second)
    two.write_bytes(first)
    assert {damage.object for damage in bench.check(witness=remembered).errors} == {
        f"manifests/{one.name}",
        f"manifests/{two.name}",
    }


def test_lawful_removal_is_no_tampering_and_its_undoing_is(bench: Bench) -> None:
    remembered, path = points(bench), manifest_of(bench, 2)
    old = path.read_bytes()
    removed = remove(bench, 2)
    held = [point for point in remembered if point != removed]
    for known in (None, witness(remembered), witness(held, [removed])):
        assert told(bench, known) == []
    path.write_bytes(old)
    found = told(bench, witness(held, [removed]))
    assert [kind for kind, _ in found] == [UNEXPECTED]
    assert "Number 2 of test" in found[0][1]
    assert "is here again" in found[0][1]


def test_a_tombstone_that_is_gone_or_forged(bench: Bench) -> None:
    remembered, path = points(bench), tombstone_of(bench, 2)
    removed = remove(bench, 2)
    held = [point for point in remembered if point != removed]
    path.unlink()
    assert [kind for kind, _ in told(bench)] == [DELETED]
    ((kind, reason),) = told(bench, witness(held, [removed]))
    assert (kind, "note of its removal is gone" in reason) == (MISSING, True)
    # Somebody without the key deletes a point and writes what he can in the place of a tombstone.
    manifest_of(bench, 1).unlink()
    forged = bench.place / layout.tombstone(remembered[0].id)
    forged.write_bytes(b"removed")
    kinds = {damage.object: damage.kind for damage in bench.check(witness=witness(held, [removed])).errors}
    assert kinds.get(layout.manifest(remembered[0].id)) == DELETED
    assert kinds.get(layout.tombstone(remembered[0].id)) == "corrupt"


def test_trash_and_recall_are_no_tampering(bench: Bench) -> None:
    remembered = points(bench)
    forget(bench.open(), remembered[1].id, reason="daily 7", now=NOW)
    assert told(bench, witness(remembered)) == []
    recall(bench.open(), remembered[1].id)
    assert told(bench, witness(remembered)) == []


def test_a_head_that_is_gone_or_older(bench: Bench, tmp_path: Path) -> None:
    (head,) = (bench.place / "heads").iterdir()
    older = head.read_bytes()
    bench.backup(tmp_path / "source")
    newer = head.read_bytes()
    head.unlink()
    assert [(damage.object, damage.kind) for damage in bench.check().errors] == [(f"heads/{head.name}", MISSING)]
    head.write_bytes(older)  # as a run leaves it that is killed behind its commit
    assert told(bench, witness(points(bench))) == []
    head.write_bytes(newer)
    assert told(bench) == []


def test_a_first_run_that_was_killed_before_its_head_is_no_tampering(tmp_path: Path) -> None:
    class Killing(FaultyStorage):
        def put(self, name, data, *, create=True):  # type: ignore[no-untyped-def]
            if name.startswith(layout.HEADS):
                kill_this_process()
            super().put(name, data, create=create)

    bench, source = Bench(tmp_path), tmp_path / "source"
    source.mkdir()
    (source / "file").write_bytes(b"x")
    bench.create()
    storage = Killing(LocalStorage(bench.place), lambda: None, at=10_000)
    assert run_and_wait(lambda: bench.backup(source, storage=storage)) == -9
    assert [point.sequence for point in points(bench)] == [1]
    assert told(bench) == []
    assert bench.backup(source).manifest.sequence == 2
    assert told(bench, witness(points(bench))) == []


def test_a_destination_that_missed_runs_is_no_tampering(tmp_path: Path, seed: int) -> None:
    fleet, source = Fleet(tmp_path / "fleet"), tmp_path / "source"
    source.mkdir()
    write_file(source / "file", random.Random(seed), 5_000)
    for name in fleet.names:
        fleet.create(name)
    fleet.backup(source, "one")
    for names in (("one",), ("two",)):
        newest = points(fleet.bench("one"))[-1]
        fleet.known = Head("test", newest.sequence, newest.id, newest.hash)
        fleet.backup(source, *names)
    assert fleet.open("two").read_head("test").missing == (1, 2)  # type: ignore[union-attr]
    assert told(fleet.bench("two")) == []
    fleet.backup(source)  # brings both up to date
    for name in fleet.names:
        assert [point.sequence for point in points(fleet.bench(name))] == [1, 2, 3, 4]
        assert told(fleet.bench(name), witness(points(fleet.bench(name)))) == []


def test_a_number_given_twice_hides_nothing(bench: Bench, tmp_path: Path) -> None:
    """Two installations that did not know of each other both made a number 5; number 6 is chained to one of them."""
    fork = Bench(tmp_path / "fork", keyring=bench.keyring)
    fork.folder.mkdir()
    shutil.copytree(bench.place, fork.place)
    for place in (bench, fork):
        place.backup(tmp_path / "source")
    for folder in ("packs", "index", "manifests"):
        shutil.copytree(fork.place / folder, bench.place / folder, dirs_exist_ok=True)
    bench.backup(tmp_path / "source")
    remembered = points(bench)
    assert [point.sequence for point in remembered] == [1, 2, 3, 4, 5, 5, 6]
    assert told(bench, witness(remembered)) == []
    opened = bench.open()
    previous = opened.read_manifest(remembered[-1].id).manifest.previous
    (followed,) = [point for point in remembered if point.hash == previous]
    (bench.place / layout.manifest(followed.id)).unlink()
    found = told(bench)
    assert [kind for kind, _ in found] == [DELETED]
    assert "is not the one that number 6 followed" in found[0][1]


def test_a_manifest_that_is_unreadable_is_not_told_twice(bench: Bench) -> None:
    path = manifest_of(bench, 3)
    path.write_bytes(path.read_bytes()[:-1])
    assert [damage.object for damage in bench.check().errors] == [f"manifests/{path.name}"]


def test_one_point_can_be_checked_against_the_witness(bench: Bench) -> None:
    remembered, path = points(bench), manifest_of(bench, 2)
    path.unlink()
    (damage,) = bench.check(only=[remembered[1].id], witness=witness(remembered)).errors
    assert damage.kind == DELETED
    assert bench.check(only=[remembered[2].id], witness=witness(remembered)).errors == []


@pytest.mark.parametrize("kind", ["sessions", "marks", "fences", "tombstones"])
def test_small_objects_are_opened(bench: Bench, kind: str) -> None:
    path = bench.place / kind / ("cd" * 16 + (".0" if kind == "sessions" else ""))
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"not sealed by us")
    assert [(damage.object, damage.kind) for damage in bench.check().errors] == [(f"{kind}/{path.name}", "corrupt")]


def test_a_destination_that_cannot_be_read_is_no_tampering(bench: Bench) -> None:
    def refuse() -> None:
        raise Unavailable("The line is cut.")

    counting = FaultyStorage(LocalStorage(bench.place), refuse, at=10_000)
    remembered, opened = witness(points(bench)), bench.open(counting)
    first = counting.calls + 1
    check(opened, progress=Silent())
    refused = 0
    for number in range(first, counting.calls + 1):
        failing = FaultyStorage(LocalStorage(bench.place), refuse, at=number)
        try:
            report = check(bench.open(failing), progress=Silent(), witness=remembered)
        except Unavailable:
            refused += 1
        else:
            assert not {damage.kind for damage in report.errors} & {DELETED, ROLLED_BACK, UNEXPECTED, MISSING}
    assert refused > 10


PRESENT, MISSED, REMOVED = "present", "missed", "removed"


def simulated(fates: list[str]) -> tuple[Evidence, Witness]:
    """A destination at which each number had this fate, and all that a witness may know of it."""
    made = [
        Point(bytes([n]) * 16, "test", n, bytes([n]) * 32, NOW + timedelta(hours=n), bytes([n - 1]) * 32)
        for n in range(1, len(fates) + 1)
    ]
    chosen: Callable[[str], list[Point]] = lambda fate: [p for p, f in zip(made, fates, strict=True) if f == fate]  # noqa: E731
    here, gone = chosen(PRESENT), chosen(REMOVED)
    stones = {p.id: Tombstone(p.id, "test", p.sequence, p.hash, "daily", NOW) for p in gone}
    reached = [point for point, fate in zip(made, fates, strict=True) if fate != MISSED]
    last = reached[-1] if reached else None
    heads = {}
    if last is not None:
        missing = tuple(p.sequence for p in chosen(MISSED) if p.sequence < last.sequence)
        heads["test"] = Head("test", last.sequence, last.id, last.hash, missing)
    listed = {point.id: point for point in here}
    return Evidence(set(listed), listed, heads, set(stones), stones), witness(here, gone)


@given(st.lists(st.sampled_from([PRESENT, MISSED, REMOVED]), max_size=12), st.randoms(use_true_random=False))
def test_lawful_histories_are_silent_and_any_deletion_is_found(fates: list[str], rng: random.Random) -> None:
    evidence, remembered = simulated(fates)
    for known in (Witness(), remembered, Witness(dict(evidence.points))):
        assert examine(evidence, known) == []
    if not evidence.points:
        return
    victims = rng.sample(sorted(evidence.points), rng.randint(1, len(evidence.points)))
    left = {identity: point for identity, point in evidence.points.items() if identity not in victims}
    tampered = replace(evidence, listed=set(left), points=left)
    numbers = {evidence.points[victim].sequence for victim in victims}
    for known in (Witness(), remembered):
        found = examine(tampered, known)
        assert {finding.sequence for finding in found} == numbers
        assert {finding.kind for finding in found} == {DELETED}
        assert len(found) == len(numbers)

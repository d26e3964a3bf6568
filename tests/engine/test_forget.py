"""Removing restore points: through the trash, and back out of it."""

from __future__ import annotations

import itertools
import random
from datetime import timedelta
from pathlib import Path

import pytest

from engine.errors import NotFound, RepositoryError, Unavailable
from engine.repository import layout
from engine.repository.forget import Tombstone, empty_trash, forget, read_tombstone, recall, tombstones, trash
from engine.storage.local import LocalStorage
from tests.support.faults import FaultyStorage
from tests.support.pruning import Pruning

WEEK = timedelta(days=7)


@pytest.fixture
def site(tmp_path: Path, seed: int) -> Pruning:
    """A repository with two points."""
    made = Pruning(tmp_path, random.Random(seed))
    made.bench.create()
    for name in ("first", "second"):
        made.write(name, 5_000)
        made.backup()
    return made


def remove(site: Pruning, identity: bytes, **known: object) -> Tombstone:
    return forget(site.repository, identity, reason="no rule keeps it", now=site.bench.clock(), **known)  # type: ignore[arg-type]


def test_a_tombstone_tells_what_was_removed_and_why(site: Pruning) -> None:
    identity = site.ids()[0]
    stored = site.repository.read_manifest(identity)
    made = remove(site, identity)
    assert made == read_tombstone(site.repository, identity)
    assert (made.manifest, made.config_id, made.sequence, made.hash) == (identity, "test", 1, stored.hash)
    assert made.reason == "no rule keeps it"
    assert made.removed_at == site.bench.clock.now
    assert trash(site.repository, damage=[]) == [made]
    site.assert_sound()


def test_removing_twice_changes_nothing(site: Pruning) -> None:
    first = remove(site, site.ids()[0])
    assert remove(site, first.manifest) == first


def test_what_is_not_there_cannot_be_removed(site: Pruning) -> None:
    with pytest.raises(NotFound):
        remove(site, b"x" * 16)
    assert site.repository.removed_ids() == set()


def test_the_trash_is_emptied_after_its_delay_and_only_of_what_may_go(site: Pruning) -> None:
    first, second = (remove(site, identity) for identity in site.ids())
    everything = [first.manifest, second.manifest]
    now = first.removed_at + WEEK
    assert empty_trash(site.repository, everything, delay=WEEK, now=now - timedelta(seconds=1)) == []
    assert empty_trash(site.repository, [second.manifest], delay=WEEK, now=now) == []
    assert empty_trash(site.repository, everything, delay=WEEK, now=now) == [first]
    assert site.repository.manifest_ids() == [second.manifest]
    assert set(tombstones(site.repository, damage=[])) == set(everything)


def test_a_point_comes_back_out_of_the_trash(site: Pruning) -> None:
    made = remove(site, site.ids()[0])
    recall(site.repository, made.manifest)
    recall(site.repository, made.manifest)
    assert site.repository.removed_ids() == set()
    assert empty_trash(site.repository, [made.manifest], delay=timedelta(), now=site.bench.clock()) == []
    site.assert_sound()


def test_too_late_to_come_back(site: Pruning) -> None:
    made = remove(site, site.ids()[0])
    empty_trash(site.repository, [made.manifest], delay=timedelta(), now=site.bench.clock())
    with pytest.raises(NotFound):
        recall(site.repository, made.manifest)
    assert read_tombstone(site.repository, made.manifest) == made


def test_brought_back_at_any_moment_it_is_there_or_was_told_to_be_gone(site: Pruning, tmp_path: Path) -> None:
    """Whoever was told that the point came back still has it, however late that was."""
    outcomes = set()
    for at in itertools.count(1):
        each = Pruning(tmp_path / f"copy{at}", site.rng, like=site)
        made = remove(each, each.ids()[0])
        late: list[NotFound] = []

        def bring_back(each: Pruning = each, made: Tombstone = made, late: list[NotFound] = late) -> None:
            try:
                recall(each.repository, made.manifest)
            except NotFound as error:
                late.append(error)

        storage = FaultyStorage(each.bench.storage(), bring_back, at=at)
        gone = empty_trash(each.bench.open(storage), [made.manifest], delay=timedelta(), now=each.bench.clock())
        if not storage.was_hit:
            break
        outcomes.add(bool(late))
        assert bool(late) is bool(gone) is (made.manifest not in each.repository.manifest_ids())
        assert bool(late) is (made.manifest in each.repository.removed_ids())
        if not late:
            each.assert_sound()
    assert outcomes == {True, False}


def test_a_damaged_point_can_be_removed(site: Pruning) -> None:
    identity = site.ids()[0]
    spoil(site.bench.place / layout.manifest(identity))
    made = remove(site, identity, config_id="test", sequence=7)
    assert (made.config_id, made.sequence) == ("test", 7)
    assert empty_trash(site.repository, [identity], delay=timedelta(), now=site.bench.clock()) == [made]


class Unread(LocalStorage):
    """A place that cannot give manifests just now, and could a moment later."""

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        if name.startswith(layout.MANIFESTS):
            raise Unavailable("The destination does not answer.", transient=True)
        return super().get(name, offset, length)


def test_a_point_that_could_not_be_put_back_is_not_deleted(site: Pruning) -> None:
    """Its bytes are read first, so that a recall at this moment finds it again; what is only out of reach for a moment
    is not a rotten disk."""
    made = remove(site, site.ids()[0])
    unread = site.bench.open(Unread(site.bench.place))
    with pytest.raises(Unavailable, match="does not answer"):
        empty_trash(unread, [made.manifest], delay=timedelta(), now=site.bench.clock())
    assert made.manifest in site.repository.manifest_ids()
    assert empty_trash(site.repository, [made.manifest], delay=timedelta(), now=site.bench.clock()) == [made]


@pytest.mark.parametrize("how", ["spoiled", "of another point"])
def test_a_damaged_tombstone_removes_nothing(site: Pruning, how: str) -> None:
    first, second = site.ids()
    remove(site, first)
    path = site.bench.place / layout.tombstone(first)
    if how == "spoiled":
        spoil(path)
    else:
        path.rename(site.bench.place / layout.tombstone(second))
    damage: list[RepositoryError] = []
    assert trash(site.repository, damage=damage) == []
    assert len(damage) == 1
    assert empty_trash(site.repository, [first, second], delay=timedelta(), now=site.bench.clock()) == []
    site.assert_sound()


def spoil(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)

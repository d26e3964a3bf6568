"""Freeing space: what nothing needs goes, in two phases; what anything needs stays."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from engine.errors import Busy, Corrupt, EngineError, Unavailable
from engine.ids import new_id
from engine.progress import Silent
from engine.repository import layout, mark
from engine.repository.forget import empty_trash, forget
from engine.repository.prune import Freed, Rules, Seen, Waiting, begin, finish
from engine.repository.session import Session
from engine.repository.usage import estimate, survey
from engine.storage.base import Item
from engine.storage.local import LocalStorage
from tests.support.pruning import Pruning, stored_bytes

DAY = timedelta(days=1)


class NotingStorage(LocalStorage):
    """Keeps the names of what was deleted, in order."""

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self.deleted: list[str] = []

    def delete(self, name: str) -> None:
        super().delete(name)
        self.deleted.append(name)


@pytest.fixture
def site(tmp_path: Path, seed: int) -> Pruning:
    """A repository with three points; the last two share the file `kept`."""
    made = Pruning(tmp_path, random.Random(seed))
    made.bench.create()
    made.write("first", 700_000)
    made.backup()
    made.remove_file("first")
    made.write("kept", 500_000)
    made.backup()
    made.write("third", 300_000)
    made.backup()
    return made


def test_two_phases_free_what_nothing_needs(site: Pruning) -> None:
    before = stored_bytes(site.bench.place)
    site.remove(1)
    own = site.begin()
    assert own is not None
    waiting = site.finish(own.id)
    assert isinstance(waiting, Waiting)
    assert waiting.until == own.started_at + DAY
    assert stored_bytes(site.bench.place) == before
    site.bench.clock.now += DAY
    freed = site.finish(own.id)
    assert isinstance(freed, Freed)
    assert freed.bytes == before - stored_bytes(site.bench.place) > 700_000
    assert site.finish(own.id) == Freed()
    site.assert_sound()
    site.assert_nothing_superfluous()


class Listing(LocalStorage):
    """Counts how often restore points are listed."""

    looks = 0

    def list(self, prefix: str) -> Iterator[Item]:
        self.looks += prefix == layout.MANIFESTS
        return super().list(prefix)


def test_what_finishing_saw_is_enough_to_begin_again(site: Pruning) -> None:
    """One look for both, and what is chosen by it is the same that a second look would choose."""
    site.remove(1)
    own = site.begin()
    assert own is not None
    site.remove(2)
    site.bench.clock.now += DAY
    chosen = {}
    for name in ("one look", "two looks"):
        twin = Pruning(site.folder / f"copy {name}", site.rng, like=site)
        storage, seen = Listing(twin.bench.place), Seen()
        tools: dict[str, Any] = {"rules": twin.rules, "clock": twin.bench.clock, "progress": Silent()}
        assert isinstance(finish(twin.bench.open(storage), own.id, **tools, seen=seen), Freed)
        storage.looks, later = 0, seen if name == "one look" else None
        next_mark = begin(twin.bench.open(storage), **tools, spool=twin.folder / "spool", seen=later)
        assert next_mark is not None
        assert next_mark.packs <= set(twin.repository.list_packs())
        chosen[name] = next_mark.packs
        assert (storage.looks == 0) is (name == "one look")
        twin.bench.clock.now += DAY
        assert isinstance(twin.finish(next_mark.id), Freed)
        twin.assert_sound()
        twin.assert_nothing_superfluous()
    assert chosen["one look"] == chosen["two looks"]


class Stopping(NotingStorage):
    """The second pack cannot be deleted."""

    def delete(self, name: str) -> None:
        if name.startswith(layout.PACKS) and any(each.startswith(layout.PACKS) for each in self.deleted):
            raise Unavailable("The disk is gone.")
        super().delete(name)


def test_a_clean_up_that_was_cut_off_tells_in_the_end_all_that_was_freed(site: Pruning) -> None:
    before = stored_bytes(site.bench.place)
    site.remove(1, 2)
    own = site.begin()
    assert own is not None
    site.bench.clock.now += DAY
    storage = Stopping(site.bench.place)
    with pytest.raises(Unavailable):
        site.finish(own.id, storage)
    freed = site.finish(own.id)
    assert isinstance(freed, Freed)
    assert freed.bytes == before - stored_bytes(site.bench.place) > 700_000
    assert freed.packs == len(own.packs) >= 3
    site.assert_sound()


@pytest.mark.parametrize("at_once", [False, True])
def test_a_mark_that_others_may_soon_take_for_abandoned_is_given_up(site: Pruning, *, at_once: bool) -> None:
    site.remove(1)
    own = site.begin()
    assert own is not None
    site.bench.clock.now += Rules.mark_expiry / 2 + DAY
    storage = NotingStorage(site.bench.place)
    freed = site.prune_now(storage, mark_id=own.id) if at_once else site.finish(own.id, storage)
    assert isinstance(freed, Freed)
    assert storage.deleted[0] == layout.mark(own.id)
    assert (freed.packs > 0) is at_once
    assert not list(site.bench.storage().list(layout.MARKS))
    site.assert_sound()


def test_nothing_superfluous_is_no_mark(site: Pruning) -> None:
    assert site.begin() is None
    assert not list(site.bench.storage().list(layout.MARKS))


def test_a_point_in_the_trash_keeps_its_packs(site: Pruning) -> None:
    forget(site.repository, site.ids()[0], reason="test", now=site.bench.clock())
    assert site.begin() is None
    site.assert_sound()


def test_what_is_in_the_trash_is_not_written_anew(tmp_path: Path, seed: int) -> None:
    """Else the estimate that was shown before would be wrong a week later: dead blobs would lie between live ones."""
    site = Pruning(tmp_path, random.Random(seed))
    site.bench.create()
    for number in range(12):
        site.write(f"file {number}", 30_000)
        site.backup()
    removed = site.ids()[:5]
    told = estimate(site.repository, removed, progress=Silent())
    for identity in removed:
        forget(site.repository, identity, reason="test", now=site.bench.clock())
    before = stored_bytes(site.bench.place)
    site.prune_now()
    empty_trash(site.repository, removed, delay=timedelta(), now=site.bench.clock())
    site.prune_now()
    assert before - stored_bytes(site.bench.place) == told.freed_bytes
    site.assert_sound()
    site.assert_nothing_superfluous()


def test_the_estimate_is_what_is_freed(site: Pruning) -> None:
    removed = site.ids()[:2]
    told = estimate(site.repository, removed, progress=Silent())
    assert told.stored_bytes == stored_bytes(site.bench.place)
    assert told.garbage_bytes == 0
    assert told.by_point[removed[0]] > 700_000 > told.by_point[removed[1]] > 0
    site.remove(1, 2)
    again = estimate(site.repository, (), progress=Silent())
    assert again.garbage_bytes == again.freed_bytes == told.freed_bytes
    freed = site.prune_now()
    assert freed.bytes == told.freed_bytes
    assert stored_bytes(site.bench.place) == told.stored_bytes - told.freed_bytes
    site.assert_sound()


def test_the_estimate_tells_the_trash_from_what_goes_now(site: Pruning) -> None:
    site.backup()  # shares the files with the point before it
    first, second, third, last = site.ids()
    alone = estimate(site.repository, [third, last], progress=Silent())
    whole = estimate(site.repository, [first, third, last], progress=Silent())
    forget(site.repository, first, reason="test", now=site.bench.clock())
    forget(site.repository, second, reason="test", now=site.bench.clock())
    told = estimate(site.repository, [third, last], leaving=[first], progress=Silent())
    assert (told.freed_bytes, told.by_point) == (whole.freed_bytes, whole.by_point)
    assert 0 < told.freed_without_trash == alone.freed_bytes < told.freed_bytes
    everything = estimate(site.repository, [third, last], leaving=[second, first], progress=Silent())
    assert everything.freed_bytes == everything.stored_bytes
    assert everything.freed_without_trash == alone.freed_bytes
    assert 0 < everything.by_point[second] < 500_000  # what the later two need as well is nobody's own


def test_estimating_writes_nothing(site: Pruning) -> None:
    before = {item.name: item for item in site.bench.storage().list("")}
    estimate(site.repository, site.ids()[:1], progress=Silent())
    assert {item.name: item for item in site.bench.storage().list("")} == before


@pytest.mark.parametrize("what", [layout.MANIFESTS, "tree"])
def test_anything_unreadable_and_nothing_is_deleted(site: Pruning, what: str) -> None:
    site.remove(1)
    own = site.begin()
    assert own is not None
    site.bench.clock.now += DAY
    if what == "tree":
        names = site.tree_packs_of(site.ids()[-1])
    else:
        names = [layout.manifest(site.ids()[-1])]
    for name in names:
        damage(site.bench.place / name)
    before = site.listing()
    with pytest.raises(EngineError):
        site.finish(own.id)
    with pytest.raises(EngineError):
        site.begin()
    assert site.listing() == before


def test_a_writer_at_work_is_waited_for(site: Pruning) -> None:
    site.remove(1)
    writer = Session(site.repository, new_id(), "test", site.bench.clock)
    writer.start()
    with pytest.raises(Busy, match="at work") as refusal:
        site.prune_now()
    site.bench.clock.now += timedelta(hours=11)
    site.rules = Rules(grace=timedelta())
    waiting = site.finish(refusal.value.mark)
    assert isinstance(waiting, Waiting)
    assert timedelta() < waiting.until - site.bench.clock.now < timedelta(hours=2)
    writer.end()
    assert isinstance(site.finish(refusal.value.mark), Freed)
    site.assert_nothing_superfluous()


def test_later_writers_are_not_waited_for(site: Pruning) -> None:
    site.remove(1)
    own = site.begin()
    assert own is not None
    later = Session(site.repository, new_id(), "test", site.bench.clock)
    later.start()
    site.bench.clock.now += DAY
    assert isinstance(site.finish(own.id), Freed)
    later.end()


def test_a_dead_writer_is_fenced(site: Pruning) -> None:
    site.remove(1)
    dead = Session(site.repository, new_id(), "test", site.bench.clock)
    dead.start()
    own = site.begin()
    assert own is not None
    site.bench.clock.now += DAY
    assert isinstance(site.finish(own.id), Freed)
    with pytest.raises(EngineError, match="taken for dead"):
        dead.check_fence()
    assert not list(site.bench.storage().list(layout.SESSIONS))


def test_what_a_dead_writer_left_goes_even_if_nothing_can_be_freed(site: Pruning) -> None:
    dead = Session(site.repository, new_id(), "test", site.bench.clock)
    dead.start()
    (marker,) = site.bench.storage().list(layout.SESSIONS)
    assert site.begin() is None
    assert list(site.bench.storage().list(layout.SESSIONS))
    site.bench.clock.now = marker.modified_at + timedelta(hours=37)
    assert site.begin() is None
    assert not list(site.bench.storage().list(layout.SESSIONS))
    with pytest.raises(EngineError, match="taken for dead"):
        dead.check_fence()


def test_what_a_dead_writer_left_goes_also_while_a_mark_waits(site: Pruning) -> None:
    site.remove(1)
    own = site.begin()
    assert own is not None
    dead = Session(site.repository, new_id(), "test", site.bench.clock)
    dead.start()
    (marker,) = site.bench.storage().list(layout.SESSIONS)
    site.rules = Rules(grace=timedelta(days=400))
    site.bench.clock.now = marker.modified_at + site.rules.session_expiry + site.rules.grace + DAY
    own = mark.write(site.repository, replace(own, started_at=site.bench.clock.now), now=site.bench.clock.now)
    assert isinstance(site.finish(own.id), Waiting)
    assert not list(site.bench.storage().list(layout.SESSIONS))


def test_marks_of_dead_pruners_are_taken_over(site: Pruning) -> None:
    site.remove(1)
    dead = site.begin()
    assert dead is not None
    freed = site.prune_now()
    assert freed.bytes > 700_000
    assert [left.id for left in mark.read_all(site.repository)] == [dead.id]
    name = layout.mark(dead.id)
    long_ago = (site.bench.storage().stat(name).modified_at - timedelta(days=181)).timestamp()
    os.utime(site.bench.place / name, (long_ago, long_ago))
    site.remove(2)
    site.prune_now()
    assert mark.read_all(site.repository) == []
    site.assert_sound()


def test_a_mark_that_grew_old_is_given_up_by_its_owner(site: Pruning) -> None:
    site.remove(1)
    own = site.begin()
    assert own is not None
    site.bench.clock.now += timedelta(days=91)
    assert site.finish(own.id) == Freed()
    assert mark.read_all(site.repository) == []
    assert site.prune_now().bytes > 700_000


def test_what_a_backup_refers_to_meanwhile_stays(site: Pruning) -> None:
    """It began before the mark was written, so it knew nothing of it; and no look from before it judges anything."""
    removed = site.state_of(1)
    site.remove(1)
    own = site.begin()
    assert own is not None
    early = Seen(survey(site.repository, progress=Silent()))
    mark.remove(site.repository, own.id)
    site.put_back(removed)
    site.backup()
    mark.write(site.repository, own, now=own.started_at)
    site.bench.clock.now += DAY
    tools: dict[str, Any] = {"rules": site.rules, "clock": site.bench.clock, "progress": Silent()}
    assert isinstance(finish(site.repository, own.id, **tools, seen=early), Freed)
    site.assert_sound()
    assert mark.read_all(site.repository) == []


def test_a_copy_that_does_not_open_is_not_counted_on(site: Pruning) -> None:
    """Of two copies the good one stays, whichever was thought to be superfluous."""
    twice = site.store_twice()
    for good, bad in (twice, twice[::-1]):
        copy = Pruning(site.bench.folder / f"copy {good.pack.name.hex()[:4]}", site.rng, like=site)
        own = mark.create(copy.repository, [good.pack.name], now=copy.bench.clock())
        damage(copy.bench.place / layout.pack(bad.pack.name), at=bad.entry.position + 100)
        copy.bench.clock.now += DAY
        freed = copy.finish(own.id)
        assert isinstance(freed, Freed)
        assert freed.kept
        copy.assert_sound()


def test_a_copy_in_anothers_mark_is_not_counted_on(site: Pruning) -> None:
    one, other = site.store_twice()
    first = mark.create(site.repository, [one.pack.name], now=site.bench.clock())
    second = mark.create(site.repository, [other.pack.name], now=site.bench.clock())
    site.bench.clock.now += DAY
    site.finish(first.id)
    site.finish(second.id)
    site.assert_sound()


def test_a_damaged_mark_stops_everything(site: Pruning) -> None:
    site.remove(1)
    own = site.begin()
    assert own is not None
    damage(site.bench.place / layout.mark(own.id))
    for action in (site.begin, site.prune_now, lambda: site.finish(own.id)):
        with pytest.raises(Corrupt):
            action()
    site.assert_sound()


def damage(path: Path, *, at: int | None = None) -> None:
    """Flip one bit, in the middle unless it is said where."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if at is None else at] ^= 1
    path.write_bytes(data)

"""What `cleanup` frees, when and how much: trash, grace, writers at work, and that a plan alone writes nothing."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta

from engine.errors import Busy as WritersAtWork
from engine.ids import parse
from engine.progress import Silent
from engine.repository import prune
from engine.repository.forget import empty_trash, forget, read_tombstone
from engine.repository.mark import Mark
from engine.repository.session import Session
from tests.support.trees import snapshot
from tests.webapp.shelf import Shelf, going, random_bytes
from webapp.errors import ConfirmationNeeded
from webapp.services import backups, cleanup
from webapp.services.work import Finished

# So much new data in one run fills packs that are too large to be merged with others.
LARGE = 20_000_000
WEEK, DAY = timedelta(days=7), timedelta(days=1)


def test_a_removed_point_waits_in_the_trash_and_its_bytes_are_freed_in_the_days_after_it_went(shelf: Shelf) -> None:
    shelf.configure(retention={"last": 5, "keepMin": 1})
    ids = shelf.series(7, noise=LARGE)
    first = shelf.clean(confirmed=["shop"])
    assert shelf.gone(first) == {"backups": ids[1::-1]}
    assert "no rule keeps it" in read_tombstone(shelf.repository(), parse("bk", ids[0])).reason
    shelf.check(ids[:2])
    shelf.hands.now += WEEK - timedelta(seconds=1)
    assert shelf.gone(shelf.clean(), "removed") == {"backups": []}
    shelf.hands.now += timedelta(seconds=1)
    assert set(shelf.gone(shelf.clean(), "removed")["backups"]) == set(ids[:2])
    assert set(shelf.listed()) == set(ids[2:])
    size, freed = shelf.size(), 0
    for _ in range(2):  # the first completes the mark that is there already
        shelf.hands.now += DAY
        done = shelf.clean()
        assert done.run.result is not None
        freed += done.run.result["destinations"][0]["freedBytes"]
    assert 2 * LARGE < freed < 2 * LARGE + 100_000
    assert 2 * LARGE < size - shelf.size() < 2 * LARGE + 100_000
    shelf.check(ids[2:])


def test_what_a_plan_says_is_freed_is_freed(shelf: Shelf) -> None:
    shelf.configure(retention={"last": 2, "keepMin": 1})
    for number in range(6):
        shelf.backup(noise=400_000 if number % 2 else LARGE)
    plan = shelf.plan(at_once=True)
    estimate = plan.places[0].estimate
    assert estimate is not None
    assert len(estimate.by_point) == 4
    before = shelf.size()
    assert before == estimate.stored_bytes
    done = cleanup.apply(shelf.installation, plan, confirmed=["shop"], progress=Silent(), tell=shelf.told.append)
    assert done.run.state == "succeeded"
    assert before - shelf.size() == estimate.freed_bytes
    assert estimate.freed_bytes >= sum(estimate.by_point.values()) > 0
    shelf.check(shelf.listed())


def test_planning_writes_nothing_at_the_destination(shelf: Shelf) -> None:
    shelf.configure(retention={"last": 3})
    ids = shelf.series(6, noise=100_000)
    shelf.clean(confirmed=["shop"])
    shelf.series(2)
    before = _files(shelf)
    assert len(going(shelf.plan())) == 2
    shelf.plan(at_once=True)
    assert _files(shelf) == before
    assert set(shelf.listed()) >= set(ids)


def _files(shelf: Shelf) -> dict[str, tuple[int, int, int]]:
    home = shelf.installation.settings.home / "backups"
    stats = {str(path): path.stat() for path in [home, *home.rglob("*")]}
    return {path: (found.st_size, found.st_mtime_ns, found.st_ctime_ns) for path, found in stats.items()}


def test_without_delay_only_when_it_is_confirmed(shelf: Shelf) -> None:
    shelf.configure(retention={"last": 3, "keepMin": 1})
    ids = shelf.series(4)
    assert isinstance(shelf.clean(at_once=True).error, ConfirmationNeeded)
    assert set(shelf.listed()) == set(ids)
    done = shelf.clean(at_once=True, confirmed=["shop"])
    assert shelf.gone(done, "removed") == {"backups": ids[:1]}
    assert set(shelf.listed()) == set(ids[1:])
    assert shelf.clean(at_once=True).run.state == "succeeded"  # nothing goes, so there is nothing to confirm
    shelf.check(ids[1:])


def test_without_delay_only_when_no_writer_is_at_work(shelf: Shelf) -> None:
    shelf.configure(retention={"last": 3, "keepMin": 1})
    ids = shelf.series(4, noise=LARGE)
    session = Session(shelf.repository(), b"w" * 16, "other", shelf.hands)
    session.start()
    size = shelf.size()
    busy = shelf.clean(at_once=True, confirmed=["shop"])
    assert isinstance(busy.error, WritersAtWork)
    assert shelf.size() == size
    session.end()
    assert shelf.clean(at_once=True).run.state == "succeeded"
    assert size - shelf.size() > LARGE
    shelf.check(ids[1:])


def test_a_mark_waits_for_the_writer_that_is_at_work(shelf: Shelf) -> None:
    shelf.configure(retention={"last": 3, "keepMin": 1})
    ids = shelf.series(4, noise=LARGE)
    shelf.clean()
    session = Session(shelf.repository(), b"w" * 16, "other", shelf.hands)
    session.start()
    _renewed(shelf, WEEK)
    shelf.hands.now += WEEK
    shelf.clean()
    size = shelf.size()
    _renewed(shelf, DAY)
    shelf.hands.now += DAY
    assert "still at work" in _waiting(shelf.clean())
    assert shelf.size() == size
    session.end()
    assert _waiting(shelf.clean()) == ""
    assert size - shelf.size() > LARGE
    shelf.check(ids[1:])


def test_a_clock_that_is_far_ahead_ends_neither_trash_nor_grace(shelf: Shelf) -> None:
    shelf.configure(retention={"last": 3, "keepMin": 1})
    ids = shelf.series(4, noise=LARGE)
    shelf.clean()
    shelf.hands.now += WEEK
    shelf.clean()  # the point is gone for good, and its packs are marked
    ids.append(shelf.backup())
    shelf.clean()
    size, before = shelf.size(), shelf.hands.now
    shelf.hands.now += timedelta(days=3650)
    for _ in range(2):
        ahead = shelf.clean()
        assert shelf.gone(ahead, "removed") == {"backups": []}
        assert "is the clock right?" in _waiting(ahead)
        assert shelf.size() >= size
        shelf.backup()
    shelf.hands.now = before + WEEK  # it was set right
    right = shelf.clean()
    assert shelf.gone(right, "removed") == {"backups": ids[1:2]}
    assert size - shelf.size() > LARGE * 9 // 10  # what was made meanwhile is small
    shelf.check(ids[2:])


def test_after_a_long_silence_the_delays_begin_anew(shelf: Shelf) -> None:
    shelf.configure(retention={"last": 3, "keepMin": 1})
    ids = shelf.series(4)
    shelf.clean()
    shelf.hands.now += timedelta(days=365)
    assert shelf.gone(shelf.clean(), "removed") == {"backups": []}
    shelf.hands.now += WEEK
    assert shelf.gone(shelf.clean(), "removed") == {"backups": ids[:1]}


def test_grace_and_session_expiry_are_settings(shelf: Shelf) -> None:
    timing = replace(shelf.installation.settings.timing, grace=60.0, session=7200.0)
    settings = replace(shelf.installation.settings, timing=timing)
    shelf.installation = replace(shelf.installation, settings=settings)
    shelf.configure(retention={"last": 3, "keepMin": 1})
    shelf.series(4, noise=LARGE)
    shelf.clean()
    shelf.hands.now += WEEK
    session = Session(shelf.repository(), b"w" * 16, "other", shelf.hands)
    session.start()
    _renewed(shelf, WEEK)
    assert "grace" in _waiting(shelf.clean())
    _renewed(shelf, -WEEK)
    size = shelf.size()
    shelf.hands.now += timedelta(seconds=61)
    assert "still at work" in _waiting(shelf.clean())
    shelf.hands.now += timedelta(seconds=7200)
    assert _waiting(shelf.clean()) == ""
    assert size - shelf.size() > LARGE
    session.end()


class Meddler(Silent):
    """While a backup takes files over from its parent, that goes: for good, and all that only it needed is marked."""

    def __init__(self, shelf: Shelf, parent: str) -> None:
        self.shelf, self.parent = shelf, parse("bk", parent)
        self.marked: Mark | None = None

    def advance(self, *, items: int = 0, read: int = 0, stored: int = 0) -> None:
        if self.marked is not None:
            return
        repository, clock = self.shelf.repository(), self.shelf.hands
        forget(repository, self.parent, reason="test", now=clock())
        assert empty_trash(repository, [self.parent], delay=timedelta(0), now=clock())
        home = self.shelf.installation.settings.home
        self.marked = prune.begin(repository, rules=prune.Rules(), clock=clock, progress=Silent(), spool=home / "spool")
        assert self.marked is not None
        _renewed(self.shelf, DAY)
        assert isinstance(self.finish(), prune.Waiting)

    def finish(self) -> prune.Freed | prune.Waiting:
        """The second phase, a day later."""
        assert self.marked is not None
        later = self.shelf.hands() + DAY
        repository = self.shelf.repository()
        return prune.finish(repository, self.marked.id, rules=prune.Rules(), clock=lambda: later, progress=Silent())


def test_a_parent_may_go_while_its_heir_is_made(shelf: Shelf) -> None:
    """What the heir took over was listed and unmarked when it began, so the pruner waits for it and looks again."""
    shelf.configure()
    (shelf.source / "large").write_bytes(random_bytes(1, LARGE))
    parent = shelf.backup()
    (shelf.source / "new").write_text("new")
    meddler = Meddler(shelf, parent)
    order = backups.Order("shop", "local:test")
    made = backups.create(shelf.installation, order, cwd=shelf.source, progress=meddler, tell=shelf.told.append)
    assert (made.error, made.run.state) == (None, "succeeded")
    assert made.run.result is not None
    assert made.run.result["bytes"]["stored"] < 100_000  # the large file was taken over
    assert isinstance(meddler.finish(), prune.Freed)
    heir = str(made.run.backup_id)
    shelf.state[heir] = snapshot(shelf.source)
    assert shelf.size() > LARGE
    shelf.check([heir])
    shelf.verify(heir)


def _renewed(shelf: Shelf, ahead: timedelta) -> None:
    """The storage says that the sessions there were renewed so much later than they really were."""
    for marker in (shelf.installation.settings.home / "backups" / "sessions").iterdir():
        at = marker.stat().st_mtime + ahead.total_seconds()
        os.utime(marker, (at, at))


def _waiting(done: Finished) -> str:
    assert done.run.result is not None
    waiting = done.run.result["destinations"][0]["waiting"]
    return "" if waiting is None else str(waiting["why"])

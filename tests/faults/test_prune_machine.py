"""Writers, removals and pruners in any order, with crashes and time that passes, with differences and without: every
point restores, and after a last clean-up nothing superfluous is left."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from engine import compress
from engine.errors import Busy, EngineError, Unavailable
from engine.repository.forget import empty_trash, forget, recall, trash
from engine.repository.prune import Freed, Rules
from engine.storage.local import LocalStorage
from tests.support.faults import FaultyStorage
from tests.support.pruning import Pruning

T = TypeVar("T")
# At which call the process dies; 0 is never.
CRASH = st.just(0) | st.integers(1, 60)
WHICH = st.integers(0, 99)  # of those that there are, counted round
LIMITS = {"first": 4_000, "second": 40_000, "third": 300_000}
LARGE, LARGE_BYTES = "large", 600_000  # some chunks, which change in place


class DyingStorage(FaultyStorage):
    """From call number `at` on nothing comes through any more, as after a crash."""

    def _call(self, action: Callable[[], T]) -> T:
        with self._lock:
            self.calls += 1
            if self.calls >= self._at:
                raise Unavailable("This process is dead.")
        return action()


class Site(RuleBasedStateMachine):
    """One repository, one configuration, two pruners with a mark each. `freed` counts packs, `leaning` stored bytes of
    differences, of all runs. What is drawn never hangs on the state: objects have random names, so a run that is
    repeated may make another number of calls."""

    codec = compress.NONE
    freed = leaning = 0

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="holdfast-machine-"))
        self.marks: dict[int, bytes] = {}

    @initialize(seed=st.integers(0, 1 << 16))
    def create(self, seed: int) -> None:
        self.site = Pruning(self.folder, random.Random(seed), rules=Rules(rewrite_bytes=1 << 20))
        self.site.bench.create()
        self.site.write(LARGE, LARGE_BYTES)
        for name in (*LIMITS, *LIMITS):
            self.backup(0, name)

    @rule(at=CRASH, name=st.sampled_from(sorted(LIMITS)))
    def backup(self, at: int, name: str) -> None:
        self.site.write(name, self.site.rng.randrange(LIMITS[name]))
        self._back_up(at)

    @rule(at=CRASH)
    def change_in_place(self, at: int) -> None:
        self.site.change(LARGE)
        self._back_up(at)

    @rule(at=CRASH, which=WHICH, is_final=st.booleans())
    def forget(self, at: int, which: int, is_final: bool) -> None:
        chosen = self.site.ids()
        if len(chosen) > 1:
            identity = chosen[which % (len(chosen) - 1)]
            now = self.site.bench.clock()
            self._attempt(at, lambda storage: forget(self.site.bench.open(storage), identity, reason="test", now=now))
            if is_final:
                empty_trash(self.site.repository, [identity], delay=timedelta(), now=now)

    @rule(which=WHICH)
    def recall(self, which: int) -> None:
        waiting = trash(self.site.repository, damage=[])
        if waiting:
            recall(self.site.repository, waiting[which % len(waiting)].manifest)

    @rule(days=st.sampled_from([0, 7]))
    def empty(self, days: int) -> None:
        waiting = [tombstone.manifest for tombstone in trash(self.site.repository, damage=[])]
        empty_trash(self.site.repository, waiting, delay=timedelta(days=days), now=self.site.bench.clock())

    @rule(hours=st.sampled_from([1, 13, 25, 24 * 8]))
    def time_passes(self, hours: int) -> None:
        self.site.bench.clock.now += timedelta(hours=hours)

    @rule(pruner=st.integers(0, 1), at=CRASH)
    def begin(self, pruner: int, at: int) -> None:
        own = self._attempt(at, self.site.begin)
        if own is not None:
            self.marks[pruner] = own.id

    @rule(pruner=st.integers(0, 1), at=CRASH, hours=st.sampled_from([0, 25]))
    def finish(self, pruner: int, at: int, hours: int) -> None:
        self.site.bench.clock.now += timedelta(hours=hours)
        if pruner in self.marks:
            done = self._attempt(at, lambda storage: self.site.finish(self.marks[pruner], storage))
            if isinstance(done, Freed):
                type(self).freed += done.packs
                del self.marks[pruner]
            self.site.assert_sound()

    @rule()
    def prune_now(self) -> None:
        try:
            type(self).freed += self.site.prune_now().packs
        except Busy:
            return  # a dead writer's session

    def _back_up(self, at: int) -> None:
        before = set(self.site.repository.manifest_ids())
        made = self._attempt(at, lambda storage: self.site.backup(storage, codec=self.codec))
        type(self).leaning += made.totals["bytesDifferences"] if made else 0
        for identity in set(self.site.repository.manifest_ids()) - before:
            self.site.states[identity] = self.site.state()

    def _attempt(self, at: int, action: Callable[[LocalStorage], T]) -> T | None:
        """Do it with a storage that dies at a call, or not. None when it died."""
        storage = DyingStorage(LocalStorage(self.site.bench.place), lambda: None, at=at or 1 << 30)
        try:
            return action(storage)  # type: ignore[arg-type]
        except EngineError:
            assert storage.was_hit
            return None

    def teardown(self) -> None:
        self.site.rules = Rules()
        self.site.bench.clock.now += self.site.rules.takeover
        own = self.site.begin()
        if own is not None:
            self.site.bench.clock.now += timedelta(days=1)
            assert isinstance(self.site.finish(own.id), Freed)
        self.site.assert_sound()
        self.site.assert_nothing_superfluous()
        shutil.rmtree(self.folder)


class LeaningSite(Site):
    """What changes in place is stored as differences."""

    codec = compress.ZSTD
    freed = leaning = 0


@pytest.mark.parametrize("site", [Site, LeaningSite])
def test_nothing_is_lost_whatever_happens(site: type[Site]) -> None:
    run_state_machine_as_test(site, settings=settings(max_examples=15, stateful_step_count=25))
    assert site.freed
    assert bool(site.leaning) is (site is LeaningSite)


@pytest.mark.full
@pytest.mark.parametrize("site", [Site, LeaningSite])
def test_nothing_is_lost_whatever_happens_for_long(site: type[Site]) -> None:
    run_state_machine_as_test(site, settings=settings(max_examples=300, stateful_step_count=50))
    assert site.freed

"""A restore that replaces is killed at any line of it: the target is what it was or what was restored, never absent or
mixed, the next tick puts the rest in order, and `undo` brings back what was there."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from engine.progress import Silent
from engine.targets import database, replace_database, replace_folder
from engine.targets import postgres as postgres_target
from tests.support import moments
from tests.support.postgres import PostgresServer, fresh_database
from tests.support.trees import snapshot
from tests.webapp.shelf import WHO
from tests.webapp.support import Hands, document
from webapp.installation import Installation, open_installation
from webapp.models import RestorePlan
from webapp.services import (
    backups,
    before_replacing,
    configurations,
    journal,
    replace_plans,
    replaceable,
    replacing,
    restores,
    staging,
)
from webapp.services.replace_plans import Wish
from webapp.settings import read_settings

OURS = (replacing, journal, replaceable, before_replacing, restores, staging)


class Arena:
    """Something that was backed up and then spoiled; children replace it and are killed. `look` says what stands there,
    `left` what lies beside it. `moments` are the functions whose lines a whole replace executes, `undo_moments`
    those of an undo."""

    def __init__(
        self,
        environment: dict[str, str],
        hands: Hands,
        modules: tuple[ModuleType, ...],
        look: Callable[[], Any],
        left: Callable[[], list[str]],
    ) -> None:
        self.settings = read_settings(environment)
        self.cwd = self.settings.home.parent
        self.hands, self.modules, self.look, self.left = hands, modules, look, left
        self.backup, self.good, self.spoiled = "", look(), None
        self.moments: list[str] = []
        self.undo_moments: list[str] = []

    def opened(self) -> Installation:
        return open_installation(self.settings, clock=self.hands)

    def back_up(self, sources: dict[str, Any], kind: str) -> None:
        installation = self.opened()
        configurations.store(installation, document(type=kind, sources=sources))
        order = backups.Order("shop", WHO)
        made = backups.create(installation, order, cwd=self.cwd, progress=Silent(), tell=print)
        installation.close()
        assert made.run.backup_id is not None, made.error
        self.backup = made.run.backup_id

    def rehearse(self) -> None:
        """A replace that nobody kills, and its undo."""
        self.spoiled = self.look()
        self.moments = moments.count(self.modules, self.work(self.plan()))
        assert self.look() == self.good
        self.undo_moments = moments.count(self.modules, self.undo(self.settled()[0].public_id))
        assert self.look() == self.spoiled

    def plan(self) -> RestorePlan:
        installation = self.opened()
        plan = replace_plans.make(installation, Wish(self.backup, WHO), cwd=self.cwd, tell=print)
        installation.close()
        return plan

    def work(self, plan: RestorePlan) -> Callable[[], None]:
        def replace() -> None:
            installation = self.opened()
            accepted = replacing.accept(installation, plan.public_id, plan_hash=plan.hash, confirm=plan.target)
            done = replacing.execute(installation, WHO, accepted, cwd=self.cwd, progress=Silent(), tell=print)
            assert done.error is None, done.error

        return replace

    def undo(self, restore_id: str) -> Callable[[], None]:
        def swap_back() -> None:
            done = replacing.undo(self.opened(), WHO, restore_id, progress=Silent(), tell=print)
            assert done.error is None, done.error

        return swap_back

    def settled(self) -> list[Any]:
        """After a tick: the journal, newest first. What the tick could not do it would tell."""
        installation, told = self.opened(), list[str]()
        self.hands.now += timedelta(seconds=200)  # a silent run is dead by now
        journal.settle(installation, tell=told.append)
        entries = journal.listing(installation)
        installation.close()
        assert [line for line in told if "cannot" in line] == []
        return entries

    def kill(self, chosen: Iterable[int], undo_at: Iterable[int]) -> int:
        """Kills a replace at each of these moments, and the undo after it at the next of `undo_at`, round and round;
        how many replaces were killed."""
        killed, next_undo = 0, itertools.cycle(undo_at)
        for moment in chosen:
            killed += moments.killed(self.modules, self.work(self.plan()), moment)
            assert self.look() in (self.good, self.spoiled)
            self._recover(next_undo)
        self.hands.now += timedelta(days=4)
        assert {entry.state for entry in self.settled()} <= {"cleared", "reverted"}
        assert self.left() == []
        return killed

    def _recover(self, undo_at: Iterator[int]) -> None:
        """A tick, and where something was replaced an undo that is killed, and another: the spoiled one is back."""
        entries = self.settled()
        if not entries or entries[0].state != "replaced":
            assert self.look() == self.spoiled
            return
        assert self.look() == self.good
        moments.killed(self.modules, self.undo(entries[0].public_id), next(undo_at))
        assert self.look() in (self.good, self.spoiled)
        if self.settled()[0].state == "replaced":
            self.undo(entries[0].public_id)()
        assert self.look() == self.spoiled


@pytest.fixture
def hands() -> Hands:
    return Hands(datetime(2026, 11, 23, 2, 0, tzinfo=UTC))


@pytest.fixture
def folder(tmp_path: Path, hands: Hands) -> Arena:
    source = tmp_path / "uploads"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "letters").write_text("as it was")

    def left() -> list[str]:
        return [each.name for each in tmp_path.iterdir() if "holdfast" in each.name]

    environment = {"HOLDFAST_HOME": str(tmp_path / "home")}
    arena = Arena(environment, hands, (*OURS, replace_folder), lambda: repr(snapshot(source)), left)
    arena.back_up({"paths": [{"path": str(source)}]}, "files")
    (source / "sub" / "letters").write_text("spoiled")
    (source / "new").write_text("made since")
    arena.rehearse()
    return arena


@pytest.fixture
def shop(tmp_path: Path, hands: Hands, postgres: PostgresServer) -> Iterator[Arena]:
    query = "SELECT string_agg(what, ',' ORDER BY id) FROM orders"
    environment = {"HOLDFAST_HOME": str(tmp_path / "home"), "HOLDFAST_PG_BIN": str(postgres.bin)}
    with fresh_database(postgres) as name:

        def left() -> list[str]:
            return [each for each in postgres.databases() if each.startswith(name) and each != name]

        postgres.query(name, "CREATE TABLE orders (id int primary key, what text)")
        postgres.query(name, "INSERT INTO orders VALUES (1, 'as'), (2, 'it was')")
        modules = (*OURS, replace_database, database, postgres_target)
        arena = Arena(environment, hands, modules, lambda: postgres.query(name, query)[0][0], left)
        arena.back_up({"databases": [{"url": postgres.url(name)}]}, "database")
        postgres.query(name, "UPDATE orders SET what = 'spoiled'")
        arena.rehearse()
        yield arena
        for each in left():
            postgres.drop_database(each)


def _swaps(functions: list[str]) -> list[int]:
    """Moments before, in and after the rename itself: the journal does not know yet what has happened."""
    inside = [number for number, function in enumerate(functions) if function == "swap"]
    return [inside[0], *inside[-4:], inside[-1] + 1, inside[-1] + 4]


@pytest.mark.parametrize("name", ["folder", "shop"])
def test_killed_in_the_middle_of_the_swap_it_is_finished_or_taken_back(
    name: str, request: pytest.FixtureRequest
) -> None:
    arena: Arena = request.getfixturevalue(name)
    assert arena.kill(_swaps(arena.moments), _swaps(arena.undo_moments)) == 7


@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.full) for part in range(1, 5))])
@pytest.mark.parametrize("name", ["folder", "shop"])
def test_killed_at_any_moment_it_is_old_or_new_and_undo_brings_the_old_one_back(
    name: str, part: int, request: pytest.FixtureRequest, seed: int, record_property: Callable[..., None]
) -> None:
    """100 moments with --full, in five parts since a test may not take ten minutes; else a few."""
    arena: Arena = request.getfixturevalue(name)
    drawn = random.Random(seed + part)
    chosen = drawn.sample(range(len(arena.moments)), 20 if request.config.getoption("--full") else 3)
    undo_at = drawn.sample(range(len(arena.undo_moments)), 50)
    record_property("trials", arena.kill(chosen, undo_at))

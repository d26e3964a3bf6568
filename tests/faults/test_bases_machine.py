"""Two destinations with differences, and whoever works there in any order: writers at one or both, clean-ups that
pause between their two halves, healing of what is missing and of what is damaged. No base is ever lost."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import chunker
from engine.model.manifest import Manifest, StreamRoot
from engine.progress import Silent
from engine.repository import layout
from engine.repository.forget import empty_trash, forget
from engine.repository.heal import sync
from engine.repository.prune import Freed, Rules, begin, finish
from engine.repository.reader import open_reader
from tests.engine.test_destinations import Fleet
from tests.engine.test_heal import flip, mend
from tests.support.streams import Stream, change, rows

ROWS = 800
STEPS = (
    "back up", "back up at one", "rearrange", "go back", "catch up", "forget", "begin", "finish", "damage and mend",
)  # fmt: skip


class Life:
    """A stream at two destinations, what it was at each restore point, and the clean-ups that are on."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.fleet, self.rng, self.folder = Fleet(folder), rng, folder
        for name in self.fleet.names:
            self.fleet.create(name)
        self.table = rows(rng, ROWS)
        self.past = [self.table]
        self.points: dict[bytes, tuple[Manifest, bytes]] = {}
        self.marks: list[tuple[str, bytes]] = []
        self.rules = Rules(rewrite_bytes=1 << 20)
        self.leaning = self.freed = 0

    def step(self, name: str) -> None:
        steps: dict[str, Callable[[], None]] = {
            "back up": lambda: self.back_up(*self.fleet.names),
            "back up at one": lambda: self.back_up(self.any_place()),
            "rearrange": self.rearrange,
            "go back": self.go_back,
            "catch up": self.catch_up,
            "forget": self.forget,
            "begin": self.begin,
            "finish": self.finish,
            "damage and mend": self.damage,
        }
        steps[name]()

    def any_place(self) -> str:
        return self.rng.choice(self.fleet.names)

    def back_up(self, *places: str) -> None:
        self.table = change(self.rng, self.table, self.rng.choice([0.001, 0.01, 0.2]))
        self.past.append(self.table)
        data = b"".join(self.table)
        made = self.fleet.backup(self.folder, *places, folders=(), streams=[Stream(data)], type="database").manifest
        self.fleet.known = self.fleet.open(places[0]).read_head("test")
        self.points[made.id] = made, data
        self.leaning += made.totals["bytesDifferences"]

    def rearrange(self) -> None:
        place = self.rng.randrange(ROWS)
        self.table = self.table[place:] + self.table[:place]

    def go_back(self) -> None:
        self.table = self.rng.choice(self.past)

    def catch_up(self) -> None:
        for name, other in (self.fleet.names, self.fleet.names[::-1]):
            source, target = self.fleet.open(other), self.fleet.open(name)
            spool = self.folder / "filling"
            spool.mkdir(exist_ok=True)
            done = sync([(other, source)], name, target, clock=self.fleet.clock, progress=Silent(), spool=spool)
            assert not done.failed

    def forget(self) -> None:
        """Not the newest one, at both places."""
        self.catch_up()
        now = self.fleet.clock()
        gone = [identity for identity in list(self.points)[:-1] if self.rng.random() < 0.5]
        for name in self.fleet.names:
            for identity in gone:
                forget(self.fleet.open(name), identity, reason="test", now=now)
            empty_trash(self.fleet.open(name), gone, delay=timedelta(), now=now)
        for identity in gone:
            del self.points[identity]

    def begin(self) -> None:
        name, spool = self.any_place(), self.folder / "spool"
        clock = self.fleet.clock
        own = begin(self.fleet.open(name), rules=self.rules, clock=clock, progress=Silent(), spool=spool)
        if own is not None:
            self.marks.append((name, own.id))

    def finish(self) -> None:
        if self.marks:
            name, own = self.marks.pop(self.rng.randrange(len(self.marks)))
            self.fleet.clock.now += timedelta(hours=25)
            clock = self.fleet.clock
            done = finish(self.fleet.open(name), own, rules=self.rules, clock=clock, progress=Silent())
            assert isinstance(done, Freed)
            self.freed += done.packs

    def damage(self) -> None:
        """Any pack at one place, which may hold bases. What is backed up before it is found may lean on it."""
        self.catch_up()
        name, other = self.rng.sample(self.fleet.names, 2)
        packs = sorted(self.fleet.open(name).list_packs())
        flip(self.fleet.bench(name).place / layout.pack(self.rng.choice(packs)))
        if self.rng.random() < 0.5:
            self.back_up(*self.fleet.names)
        mend(self.fleet, name, other)

    def look(self) -> None:
        """Everything that is needed is at both places, whole, and down to the last base."""
        while self.marks:
            self.finish()
        self.catch_up()
        for name in self.fleet.names:
            reader = open_reader(self.fleet.open(name))
            for manifest, data in self.points.values():
                (root,) = manifest.roots
                assert isinstance(root, StreamRoot)
                assert all(reader.table.holds(chunk.id) for chunk in reader.chunks(root.content))
                assert b"".join(reader.stream(root.content, root.size)) == data
            assert not self.fleet.bench(name).check().errors


def lives(examples: int) -> tuple[int, int]:
    """So many of them; the bytes stored as differences, and the packs that clean-ups removed."""
    leaning = freed = 0

    @settings(max_examples=examples)
    @given(steps=st.lists(st.sampled_from(STEPS), min_size=4, max_size=12), seed=st.integers(0, 2**32))
    def live(steps: list[str], seed: int) -> None:
        nonlocal leaning, freed
        with tempfile.TemporaryDirectory() as folder:
            life = Life(Path(folder), random.Random(seed))
            for name in ("back up", "back up", *steps, "back up"):
                life.step(name)
            life.look()
            leaning, freed = leaning + life.leaning, freed + life.freed

    live()
    return leaning, freed


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a hundred kilobytes are many chunks."""
    for name, size in (("MINIMUM", 2 << 10), ("AVERAGE", 8 << 10), ("MAXIMUM", 32 << 10)):
        monkeypatch.setattr(chunker, name, size)


@pytest.mark.usefixtures("small_chunks")
def test_no_base_is_lost_whoever_works_beside_whom() -> None:
    leaning, _ = lives(4)
    assert leaning


@pytest.mark.full
@pytest.mark.usefixtures("small_chunks")
def test_no_base_is_lost_whoever_works_beside_whom_for_long() -> None:
    leaning, freed = lives(60)
    assert leaning
    assert freed

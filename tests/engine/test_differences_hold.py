"""Whatever is backed up, marked, forgotten and cleaned up in whatever order: no difference dangles, chains end and are
short, each saves what it must, and every restore point comes back."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import chunker
from engine.model.manifest import Manifest, StreamRoot
from engine.progress import Silent
from engine.repository import bases, mark
from engine.repository.forget import empty_trash, forget
from engine.repository.prune import Rules, prune_now
from engine.repository.reader import open_reader
from engine.repository.sections import indexed
from engine.repository.table import IndexTable
from tests.support.repositories import Bench
from tests.support.streams import Stream, change, rows

ROWS = 800
STEPS = (
    "backup", "edit and back up", "rearrange", "replace", "go back", "mark some", "unmark", "forget and clean up",
    "another configuration",
)  # fmt: skip


class Life:
    """A stream that changes, its restore points, and what is asserted of them."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.bench, self.rng = Bench(folder), rng
        self.bench.create()
        self.table = rows(rng, ROWS)
        self.past = [self.table]
        self.points: dict[bytes, tuple[Manifest, bytes]] = {}
        self.marks: list[bytes] = []

    def step(self, name: str) -> None:
        steps: dict[str, Callable[[], None]] = {
            "backup": self.back_up,
            "edit and back up": self.edit,
            "rearrange": self.rearrange,
            "replace": lambda: self.become(rows(self.rng, ROWS)),
            "go back": lambda: self.become(self.rng.choice(self.past)),
            "mark some": self.mark_some,
            "unmark": self.unmark,
            "forget and clean up": self.clean_up,
            "another configuration": lambda: self.back_up("another"),
        }
        steps[name]()

    def back_up(self, config_id: str = "test") -> None:
        data = b"".join(self.table)
        manifest = self.bench.backup(streams=[Stream(data)], type="database", config_id=config_id).manifest
        self.points[manifest.id] = manifest, data
        # Neither what the restore point needs nor what that leans on may be about to go.
        opened = self.bench.open()
        (root,) = manifest.roots
        assert isinstance(root, StreamRoot)
        table, marked = IndexTable(opened.keyring), opened.marked_packs()
        table.load(info for info in indexed(opened, damage={}) if info.name not in marked)
        assert all(table.holds(chunk.id) for chunk in open_reader(opened).chunks(root.content))

    def edit(self) -> None:
        self.table = change(self.rng, self.table, self.rng.choice([0.001, 0.01, 0.2]))
        self.past.append(self.table)
        self.back_up()

    def rearrange(self) -> None:
        place = self.rng.randrange(ROWS)
        self.table = self.table[place:] + self.table[:place]

    def become(self, table: Sequence[bytes]) -> None:
        self.table = list(table)

    def mark_some(self) -> None:
        opened = self.bench.open()
        packs = [name for name in opened.list_packs() if self.rng.random() < 0.5]
        self.marks.append(mark.create(opened, packs, now=self.bench.clock()).id)

    def unmark(self) -> None:
        while self.marks:
            mark.remove(self.bench.open(), self.marks.pop())

    def clean_up(self) -> None:
        self.unmark()
        opened, clock = self.bench.open(), self.bench.clock
        gone = [identity for identity in self.points if self.rng.random() < 0.5]
        for identity in gone:
            forget(opened, identity, reason="test", now=clock())
            del self.points[identity]
        empty_trash(opened, gone, delay=timedelta(), now=clock())
        prune_now(opened, rules=Rules(), clock=clock, progress=Silent(), spool=self.bench.folder / "spool")

    def look(self) -> None:
        """Every difference that there is, and every restore point."""
        reader = open_reader(self.bench.open())
        for place, base in reader.table.differences():
            location = reader.table.location(place)
            assert location.entry.depth <= bases.MAX_DEPTH
            assert location.entry.stored < base.full * bases.KEPT_SHARE
            assert reader.table.holds(base.id, below=location.entry.depth)
        for manifest, data in self.points.values():
            (root,) = manifest.roots
            assert isinstance(root, StreamRoot)
            assert b"".join(reader.stream(root.content, root.size)) == data
        assert not self.bench.check().errors


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a hundred kilobytes are many chunks."""
    for name, size in (("MINIMUM", 2 << 10), ("AVERAGE", 8 << 10), ("MAXIMUM", 32 << 10)):
        monkeypatch.setattr(chunker, name, size)


@pytest.mark.usefixtures("small_chunks")
@settings(max_examples=6)
@given(steps=st.lists(st.sampled_from(STEPS), min_size=4, max_size=12), seed=st.integers(0, 2**32))
def test_no_difference_dangles(steps: list[str], seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        life = Life(Path(folder), random.Random(seed))
        for name in ("backup", "edit and back up", *steps, "edit and back up"):
            life.step(name)
        life.look()

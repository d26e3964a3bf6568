"""A week of a database's dumps, stored as differences by the engine itself, under faults: what is damaged names exactly
the restore points that it costs, to the engine and to the rescue program alike; what is killed costs none."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from engine import rescue
from engine.errors import EngineError
from engine.ids import spell
from engine.model.manifest import StreamRoot
from engine.progress import Silent
from engine.repository import layout
from engine.repository.forget import empty_trash, forget
from engine.repository.heal import sync
from engine.repository.prune import Rules, prune_now
from engine.repository.reader import open_reader
from engine.repository.usage import estimate, survey, weigh
from engine.storage.base import Storage
from engine.storage.local import LocalStorage
from tests.engine.test_destinations import Fleet
from tests.engine.test_heal import mend
from tests.support.faults import FaultyStorage, kill_this_process, run_and_wait
from tests.support.repositories import SECRET, Bench
from tests.support.streams import Stream, change, rows

DAYS, ROWS = 5, 20_000  # a dump is a few chunks
KILLED = -9


@dataclass
class Week:
    """Each day's dump by the id of its restore point, and where they lie."""

    fleet: Fleet
    dumps: dict[bytes, bytes] = field(default_factory=dict)

    @property
    def bench(self) -> Bench:
        return self.fleet.bench("one")

    def back_up(self, data: bytes, *others: Stream) -> bytes:
        streams = [Stream(data), *others]
        made = self.fleet.backup(Path("/"), "one", folders=[], streams=streams, type="database").manifest
        self.dumps[made.id] = data
        return made.id

    def readable(self, name: str = "one") -> set[bytes]:
        """Restore points that come back as they were; none comes back as anything else."""
        opened, found = self.fleet.open(name), set()
        for identity in opened.manifest_ids():
            root = opened.read_manifest(identity).manifest.roots[0]
            assert isinstance(root, StreamRoot)
            try:
                data = b"".join(open_reader(opened).stream(root.content, root.size))
            except EngineError:
                continue
            assert data == self.dumps[identity]
            found.add(identity)
        return found

    def rescued(self, folder: Path) -> set[bytes]:
        """The same by the program that shares nothing with the engine."""
        found = set()
        (self.bench.folder / "key").write_text(SECRET.hex())
        key = ["--repository", str(self.bench.place), "--key-file", str(self.bench.folder / "key")]
        for identity, data in self.dumps.items():
            out = folder / identity.hex()
            if rescue.main(["restore", *key, "--backup", spell("bk", identity), "--to", str(out)]) == 0:
                assert (out / "test" / "shop.dump").read_bytes() == data
                found.add(identity)
        return found

    def hit(self) -> set[bytes]:
        """Restore points that a check names."""
        names = {name for damage in self.bench.check().errors for name in damage.backups}
        return {identity for identity in self.dumps if spell("bk", identity) in names}

    def packs(self) -> list[bytes]:
        return sorted(self.fleet.open("one").list_packs())

    def twin(self, name: str) -> Week:
        """The same, byte for byte, somewhere else."""
        folder = self.fleet.folder.with_name(name)
        shutil.copytree(self.fleet.folder, folder)
        return Week(Fleet(folder, keyring=self.fleet.keyring, clock=self.fleet.clock), dict(self.dumps))


@pytest.fixture
def week(tmp_path: Path, seed: int) -> Week:
    made = Week(Fleet(tmp_path / "week"))
    for name in made.fleet.names:
        made.fleet.create(name)
    rng = random.Random(seed)
    table = rows(rng, ROWS)
    for _ in range(DAYS):
        made.back_up(b"".join(table))
        table = change(rng, table, 0.002)
    depths = {entry.depth for _, entry, _ in open_reader(made.bench.open()).table.records()}
    assert max(depths) >= 2
    return made


def flip(path: Path, seed: int) -> None:
    data = bytearray(path.read_bytes())
    data[random.Random(seed).randrange(96, len(data))] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("number", range(DAYS))
@pytest.mark.parametrize("is_lost", [False, True])
def test_a_damaged_pack_names_exactly_what_it_costs(
    week: Week, seed: int, tmp_path: Path, number: int, *, is_lost: bool
) -> None:
    path = week.bench.place / layout.pack(week.packs()[number])
    path.unlink() if is_lost else flip(path, seed)
    readable = week.readable()
    assert week.hit() == week.dumps.keys() - readable
    assert week.rescued(tmp_path / "out") == readable


def test_bases_come_along_to_another_destination_and_are_mended_there(week: Week, tmp_path: Path, seed: int) -> None:
    fleet = week.fleet
    done = sync(
        [("one", fleet.open("one"))], "two", fleet.open("two"), clock=fleet.clock, progress=Silent(), spool=tmp_path
    )
    assert set(done.points) == week.dumps.keys()
    assert week.readable("two") == set(week.dumps)
    assert fleet.open("two").list_packs() == fleet.open("one").list_packs()
    for number, name in enumerate(fleet.open("two").list_packs()):
        flip(fleet.bench("two").place / layout.pack(name), seed + number)
        mend(fleet, "two", "one")
        assert week.readable("two") == set(week.dumps)
        assert not any(damage.backups for damage in fleet.bench("two").check().errors)


def test_without_another_copy_the_next_backup_makes_a_base_good(week: Week, seed: int) -> None:
    """The damaged packs are set aside; what lost its base, the newest dump too, is stored in full again."""
    for name in week.packs():
        path = week.bench.place / layout.pack(name)
        data = path.read_bytes()
        flip(path, seed)
        before = week.readable()
        mend(week.fleet, "one", host="another")
        assert before <= week.readable() == week.dumps.keys() - week.hit()
        again = week.back_up(list(week.dumps.values())[-1])
        assert again in week.readable()
        assert week.readable() == week.dumps.keys() - week.hit()
        assert not path.exists()
        path.write_bytes(data)


def remove(week: Week, count: int) -> None:
    for identity in list(week.dumps)[:count]:
        forget(week.bench.open(), identity, reason="test", now=week.fleet.clock())
        empty_trash(week.bench.open(), [identity], delay=Rules().grace * 0, now=week.fleet.clock())
        del week.dumps[identity]


def prune(week: Week, storage: Storage | None = None) -> int:
    spool = week.fleet.folder / "spool"
    opened = week.fleet.open("one", storage)
    freed = prune_now(opened, rules=Rules(), clock=week.fleet.clock, progress=Silent(), spool=spool)
    return getattr(freed, "bytes", 0)


@pytest.mark.parametrize("count", range(1, DAYS))
def test_what_a_point_frees_is_told_before(week: Week, count: int) -> None:
    """Bases of what stays are not among it."""
    chosen = list(week.dumps)[:count]
    expected = estimate(week.bench.open(), chosen, progress=Silent())
    before = sum(week.bench.open().list_packs().values())
    remove(week, count)
    assert prune(week) == expected.freed_bytes == before - sum(week.bench.open().list_packs().values())
    assert week.readable() == set(week.dumps)


def places_to_stop(calls: int, request: pytest.FixtureRequest) -> list[int]:
    every = range(1, calls + 1)
    return list(every) if request.config.getoption("--full") else sorted({*every[::7], calls})


def test_a_clean_up_that_is_killed_anywhere_costs_nothing(
    week: Week, seed: int, request: pytest.FixtureRequest
) -> None:
    """A day when much came that was gone the next: what is needed of its pack, differences too, is written anew."""
    rng = random.Random(seed)
    usual = b"".join(change(rng, list(week.dumps.values())[-1].splitlines(keepends=True), 0.002))
    unusual = week.back_up(usual, Stream(rng.randbytes(2_000_000), "another"))
    week.back_up(usual)
    week.dumps = {unusual: week.dumps.pop(unusual), **week.dumps}
    remove(week, 3)
    before = set(week.packs())
    whole = week.twin("whole")
    calls = counted(whole, lambda: None, 1 << 30).calls
    table = open_reader(whole.bench.open()).table
    fresh = [each for each in table.packs() if each.name not in before]
    assert any(location.base for each in fresh for location in table.of_pack(each))
    ends = []
    for call in places_to_stop(calls, request):
        tried = week.twin(f"kill{call}")
        ends.append(run_and_wait(lambda tried=tried, call=call: counted(tried, kill_this_process, call)))
        assert tried.readable() == set(week.dumps), call
        prune(tried)
        assert tried.readable() == set(week.dumps), call
        assert all(usage.live_blobs for usage in weigh(survey(tried.bench.open(), progress=Silent())).usages), call
        shutil.rmtree(tried.fleet.folder)
    # New packs are called otherwise each time, and are read in the order of their names: a run may need fewer calls.
    assert set(ends) <= {KILLED, 0}
    assert ends.count(0) <= 2


def counted(week: Week, fault: Callable[[], None], call: int) -> FaultyStorage:
    storage = FaultyStorage(LocalStorage(week.bench.place), fault, at=call)
    prune(week, storage)
    return storage

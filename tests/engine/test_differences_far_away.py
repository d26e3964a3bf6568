"""What differences lean on comes from a destination on this machine; else it is fetched once, kept as it was sealed,
and only as far as there is room."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from engine import chunker
from engine.backup import Result
from engine.errors import Unavailable
from engine.model.content import ENTRY_BYTES
from engine.model.manifest import StreamRoot
from engine.repository import base_cache, distant, layout
from engine.repository.base_cache import BaseCache
from engine.repository.distant import DistantBases
from engine.repository.index import Location
from engine.repository.sections import load_sections
from engine.repository.table import IndexTable
from engine.storage.local import LocalStorage
from tests.engine.test_destinations import Fleet
from tests.support.packs import DATA, Blob, store
from tests.support.repositories import Bench
from tests.support.streams import Stream, change, rows

ROWS = 12_000


class Distant(LocalStorage):
    """A place worth several requests at once, such as a bucket. Counts the bytes of packs that were fetched."""

    requests_at_once = 2

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.fetched = self.asked = 0

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        data = super().get(name, offset, length)
        if name.startswith(layout.PACKS):
            self.fetched += len(data)
            self.asked += 1
        return data


class Days:
    """A stream that is backed up day by day to a distant place."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.bench, self.cache = Bench(folder), folder / "cache"
        self.bench.create()
        self.rng = random.Random(seed)
        self.table = rows(self.rng, ROWS)
        self.room = base_cache.ROOM_BYTES
        self.asked = 0

    def back_up(self) -> tuple[Result, int]:
        """The run of the next day, and the bytes of packs that it fetched."""
        place, data = Distant(self.bench.place), b"".join(self.table)
        result = self.bench.backup(
            streams=[Stream(data)], type="database", storage=place, cache=self.cache, cache_bytes=self.room
        )
        self.asked += place.asked
        self.table = change(self.rng, self.table, 0.004)
        return result, place.fetched

    def kept(self) -> list[Path]:
        return list(self.cache.iterdir())


@pytest.fixture
def days(tmp_path: Path, seed: int) -> Days:
    return Days(tmp_path, seed)


def test_a_base_is_fetched_once_and_stays_sealed(days: Days) -> None:
    first, fetched = days.back_up()
    assert fetched == 0
    second, fetched = days.back_up()
    assert fetched == second.manifest.totals["bytesFetched"] > 0.8 * first.stored_bytes
    assert second.manifest.totals["bytesDifferences"] > 0
    third, fetched = days.back_up()
    assert fetched == third.manifest.totals["bytesFetched"] <= second.stored_bytes
    assert third.manifest.totals["bytesDifferences"] > 0
    assert all(b"customer" not in path.read_bytes() for path in days.kept())
    assert not days.bench.check().errors


@pytest.mark.parametrize("room", [0, 500])
def test_without_room_nothing_is_fetched(days: Days, room: int) -> None:
    days.room = room
    days.back_up()
    second, fetched = days.back_up()
    assert (fetched, second.manifest.totals["bytesDifferences"], days.kept()) == (0, 0, [])


def test_what_lies_in_a_row_comes_by_few_requests(days: Days, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the first dump each chunk, of the second one its difference. All is smaller by 128, so as to be quick."""
    for module in (chunker, distant):
        for name in vars(module).keys() & {
            "MINIMUM",
            "AVERAGE",
            "MAXIMUM",
            "_SMALL_BYTES",
            "_LARGE_BYTES",
            "_GAP_BYTES",
        }:
            monkeypatch.setattr(module, name, getattr(module, name) >> 7)
    first, _ = days.back_up()
    (root,) = first.manifest.roots
    assert isinstance(root, StreamRoot)
    chunks = len(root.content[1]) // ENTRY_BYTES if root.content else 0
    for most in (chunks / 2, chunks / 4):
        asked = days.asked
        result, fetched = days.back_up()
        assert 0 < days.asked - asked <= most
        assert fetched == result.manifest.totals["bytesFetched"]
        assert result.manifest.totals["bytesDifferences"] > 0


def test_what_was_damaged_here_is_fetched_again(days: Days) -> None:
    first, _ = days.back_up()
    days.back_up()
    for path in days.kept():
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    third, fetched = days.back_up()
    assert fetched > 0.5 * first.stored_bytes
    assert third.manifest.totals["bytesDifferences"] > 0


class FailsOnce(Distant):
    """The way there breaks while the first pack is on it."""

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        data = super().get(name, offset, length)
        if name.startswith(layout.PACKS) and self.asked == 1:
            raise Unavailable("The connection was reset.")
        return data


def one_base(bench: Bench, storage: Distant, cache: BaseCache) -> tuple[DistantBases, Location]:
    """A reader of bases, with where the only one lies."""
    (id,) = store(bench.open(), Blob(DATA, b"base" * 5000))
    opened = bench.open(storage)
    table = IndexTable(opened.keyring)
    table.load(load_sections(opened, damage={}, absent=[]))
    found = table.find(id)
    assert found is not None
    return DistantBases(opened, table, cache), found


def test_a_base_that_did_not_come_takes_no_room(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.create()
    cache = BaseCache(tmp_path / "cache", datetime.now(UTC), room=100)
    bases, place = one_base(bench, FailsOnce(bench.place), cache)
    with pytest.raises(Unavailable, match="reset"):
        bases.fetch(place)
    assert cache.reserve(place.entry.stored)
    cache.release(place.entry.stored)
    assert bases.fetch(place) == b"base" * 5000
    assert not cache.reserve(place.entry.stored)


def test_a_base_that_cannot_be_kept_takes_no_room(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.create()
    cache = BaseCache(tmp_path / "cache", datetime.now(UTC), room=100)
    bases, place = one_base(bench, Distant(bench.place), cache)
    (tmp_path / "cache").rmdir()
    assert bases.fetch(place) == b"base" * 5000
    assert cache.reserve(place.entry.stored)


class LooksTooEarly(BaseCache):
    """Another thread fetches the blob between this one's look and its own request."""

    meanwhile: Callable[[], object] | None = None

    def find(self, name: str, length: int) -> memoryview | None:
        found = super().find(name, length)
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()
        return found


def test_what_another_thread_has_fetched_meanwhile_is_not_asked_for(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.create()
    cache, far = LooksTooEarly(tmp_path / "cache", datetime.now(UTC)), Distant(bench.place)
    bases, place = one_base(bench, far, cache)
    cache.meanwhile = lambda: bases.fetch(place)
    assert bases.fetch(place) == b"base" * 5000
    assert (far.asked, bases.fetched_bytes) == (1, place.entry.stored)


def test_what_nobody_used_for_a_month_goes(tmp_path: Path) -> None:
    now, cache = datetime.now(UTC), tmp_path / "cache"
    BaseCache(cache, now).keep("one", b"abc")
    assert BaseCache(cache, now + timedelta(days=29)).find("one", 3) == b"abc"
    assert BaseCache(cache, now + timedelta(days=31)).find("one", 3) is None


def test_with_a_place_on_this_machine_nothing_is_fetched(tmp_path: Path, seed: int) -> None:
    fleet, rng = Fleet(tmp_path, names=("far", "near")), random.Random(seed)
    for name in fleet.names:
        fleet.create(name)
    table = rows(rng, ROWS)
    for _ in range(3):
        far = Distant(fleet.bench("far").place)
        stream, storages = Stream(b"".join(table)), {"far": far}
        result = fleet.backup(tmp_path, storages=storages, folders=(), streams=[stream], type="database")
        assert (far.fetched, result.manifest.totals["bytesFetched"]) == (0, 0)
        table = change(rng, table, 0.004)
    assert result.manifest.totals["bytesDifferences"] > 0

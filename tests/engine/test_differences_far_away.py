"""What differences lean on comes from a destination on this machine; else it is fetched once, kept as it was sealed,
and only as far as there is room."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from engine.backup import Result
from engine.repository import base_cache, layout
from engine.storage.local import LocalStorage
from tests.engine.test_destinations import Fleet
from tests.support.repositories import Bench
from tests.support.streams import Stream, change, rows

ROWS = 12_000


class Distant(LocalStorage):
    """A place worth several requests at once, such as a bucket. Counts the bytes of packs that were fetched."""

    requests_at_once = 2

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.fetched = 0

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        data = super().get(name, offset, length)
        self.fetched += len(data) if name.startswith(layout.PACKS) else 0
        return data


class Days:
    """A stream that is backed up day by day to a distant place."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.bench, self.cache = Bench(folder), folder / "cache"
        self.bench.create()
        self.rng = random.Random(seed)
        self.table = rows(self.rng, ROWS)

    def back_up(self) -> tuple[Result, int]:
        """The run of the next day, and the bytes of packs that it fetched."""
        place, data = Distant(self.bench.place), b"".join(self.table)
        result = self.bench.backup(streams=[Stream(data)], type="database", storage=place, cache=self.cache)
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


def test_without_room_nothing_is_fetched(days: Days, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_cache.BaseCache.__init__, "__kwdefaults__", {"room": 100_000})
    days.back_up()
    second, fetched = days.back_up()
    assert (fetched, second.manifest.totals["bytesDifferences"], days.kept()) == (0, 0, [])


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


def test_what_nobody_used_for_a_month_goes(tmp_path: Path) -> None:
    now, cache = datetime.now(UTC), tmp_path / "cache"
    base_cache.BaseCache(cache, now).get("one", 3, lambda: b"abc")
    assert base_cache.BaseCache(cache, now + timedelta(days=29)).get("one", 3, lambda: b"") == b"abc"
    assert base_cache.BaseCache(cache, now + timedelta(days=31)).get("one", 3, lambda: b"xyz") == b"xyz"


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

"""What changed in a stream is stored as differences to what it was; where anything is in the way, in full."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from engine import compress, crypto
from engine.backup import Result
from engine.model.manifest import StreamRoot
from engine.repository import bases, layout, mark
from engine.repository.reader import open_reader
from engine.repository.table import IndexTable
from tests.engine.test_destinations import Fleet
from tests.support.repositories import Bench
from tests.support.streams import Stream, change, rows
from tests.support.trees import snapshot

ROWS = 22_000  # some 2 MB: a few chunks
SUITES = sorted(crypto.SUITES.values())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path)
    made.create()
    return made


def store(bench: Bench, data: bytes, **changes: object) -> Result:
    return bench.backup(streams=[Stream(data)], type="database", **changes)


def stored_as(bench: Bench) -> IndexTable:
    return open_reader(bench.open()).table


def depths(bench: Bench) -> list[int]:
    """Of all chunks, in the order of the packs' names."""
    return [entry.depth for _, entry, _ in stored_as(bench).records()]


def content_of(bench: Bench, result: Result) -> bytes:
    (root,) = result.manifest.roots
    assert isinstance(root, StreamRoot)
    return b"".join(open_reader(bench.open()).stream(root.content, root.size))


def mark_all(bench: Bench) -> None:
    """As if a clean-up were about to delete all packs that are there."""
    opened = bench.open()
    mark.create(opened, list(opened.list_packs()), now=bench.clock())


@pytest.mark.parametrize("suite", SUITES)
def test_a_changed_stream_is_stored_as_differences_and_comes_back(bench: Bench, seed: int, suite: int) -> None:
    rng = random.Random(seed)
    tables = [rows(rng, ROWS)]
    for _ in range(4):
        tables.append(change(rng, tables[-1], 0.002))
    results = [store(bench, b"".join(table), suite=suite) for table in tables]
    first, *later = (result.manifest.totals for result in results)
    assert first["bytesDifferences"] == 0
    for totals in later:
        assert 0 < totals["bytesDifferences"] == totals["bytesStored"] < first["bytesStored"] / 8
    for result, table in zip(results, tables, strict=True):
        assert content_of(bench, result) == b"".join(table)
    # 1, 2 ← 1, 3 ← 2, 4 ← 1, 5 ← 4: where a chunk did not change, what comes later leans on it one step sooner.
    assert max(depths(bench)) == 2
    assert not bench.check().errors


@pytest.mark.parametrize("codec", [compress.NONE, compress.GZIP, compress.BZIP2])
def test_other_codecs_store_everything_in_full(bench: Bench, seed: int, codec: int) -> None:
    rng = random.Random(seed)
    table = rows(rng, ROWS)
    for _ in range(2):
        store(bench, b"".join(table), codec=codec)
        table = change(rng, table, 0.002)
    assert max(depths(bench)) == 0


def test_what_shares_nothing_with_what_was_is_stored_in_full(bench: Bench, seed: int) -> None:
    rng = random.Random(seed)
    store(bench, b"".join(rows(rng, ROWS)))
    second = store(bench, b"".join(rows(rng, ROWS)))
    assert second.manifest.totals["bytesDifferences"] == 0
    assert max(depths(bench)) == 0


def test_another_suite_leans_on_nothing(bench: Bench, seed: int) -> None:
    rng = random.Random(seed)
    table = rows(rng, ROWS)
    for suite in SUITES:
        store(bench, b"".join(table), suite=suite)
        table = change(rng, table, 0.002)
    assert max(depths(bench)) == 0


def test_nothing_leans_on_what_is_about_to_be_deleted(bench: Bench, seed: int) -> None:
    rng = random.Random(seed)
    table = rows(rng, ROWS)
    store(bench, b"".join(table))
    mark_all(bench)
    assert store(bench, b"".join(change(rng, table, 0.002))).manifest.totals["bytesDifferences"] == 0


@pytest.mark.parametrize("share", [0, 0.002])
def test_nothing_leans_on_what_leans_on_what_is_about_to_be_deleted(bench: Bench, seed: int, share: float) -> None:
    rng = random.Random(seed)
    table = rows(rng, ROWS)
    store(bench, b"".join(table))
    opened = bench.open()
    packs = list(opened.list_packs())
    table = change(rng, table, 0.002)
    assert store(bench, b"".join(table)).manifest.totals["bytesDifferences"]
    mark.create(opened, packs, now=bench.clock())
    table = change(rng, table, share) if share else table
    again = store(bench, b"".join(table))
    assert again.manifest.totals["bytesDifferences"] == 0
    assert again.manifest.totals["bytesNew"] == sum(map(len, table))


def test_what_is_there_in_any_form_is_stored_again_only_in_full(bench: Bench, seed: int) -> None:
    rng = random.Random(seed)
    before = rows(rng, ROWS)
    now = change(rng, before, 0.002)
    store(bench, b"".join(now), config_id="other")
    mark_all(bench)
    store(bench, b"".join(before))
    second = store(bench, b"".join(now))
    assert second.manifest.totals["bytesNew"] > 1_000_000
    assert second.manifest.totals["bytesDifferences"] == 0


def test_a_base_that_does_not_open_is_none(bench: Bench, seed: int) -> None:
    rng = random.Random(seed)
    table = rows(rng, ROWS)
    store(bench, b"".join(table))
    for name in bench.open().list_packs():
        path = bench.place / layout.pack(name)
        damaged = bytearray(path.read_bytes())
        for place in range(200, len(damaged) - 2000, 50_000):
            damaged[place] ^= 1
        path.write_bytes(damaged)
    table = change(rng, table, 1)
    second = store(bench, b"".join(table))
    assert second.manifest.totals["bytesDifferences"] == 0
    assert content_of(bench, second) == b"".join(table)


def test_each_destination_must_have_the_base(tmp_path: Path, seed: int) -> None:
    fleet, rng = Fleet(tmp_path), random.Random(seed)
    for name in fleet.names:
        fleet.create(name)
    table = rows(rng, ROWS)

    def run(*names: str, leans: bool) -> None:
        data = b"".join(table)
        result = fleet.backup(tmp_path, *names, folders=(), streams=[Stream(data)], type="database")
        assert (result.manifest.totals["bytesDifferences"] > 0) == leans
        for name in names:
            assert content_of(fleet.bench(name), result) == data

    run("one", leans=False)
    table = change(rng, table, 0.002)
    run("one", "two", leans=True)  # what "two" missed is brought to it before the run begins
    table = change(rng, table, 0.002)
    for name in fleet.open("two").list_packs():
        (fleet.bench("two").place / layout.pack(name)).unlink()
    run("one", "two", leans=False)


def test_no_base_is_about_to_go_at_any_destination(tmp_path: Path, seed: int) -> None:
    fleet, rng = Fleet(tmp_path), random.Random(seed)
    for name in fleet.names:
        fleet.create(name)
    table = rows(rng, ROWS)
    first: list[bytes] = []
    for leaning in (False, True, False):
        result = fleet.backup(tmp_path, folders=(), streams=[Stream(b"".join(table))], type="database")
        assert (result.manifest.totals["bytesDifferences"] > 0) == leaning
        first = first or list(fleet.open("two").list_packs())
        if leaning:  # what the newest version leans on goes, not that version itself
            mark.create(fleet.open("two"), first, now=fleet.clock())
        table = change(rng, table, 0.002)


def test_chains_have_a_limit(bench: Bench, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(bases, "MAX_DEPTH", 1)
    rng = random.Random(seed)
    table = rows(rng, ROWS)
    for _ in range(4):
        last = store(bench, b"".join(table))
        table = change(rng, table, 1 / ROWS)
    assert max(depths(bench)) == 1
    assert last.manifest.totals["bytesDifferences"] == last.manifest.totals["bytesStored"] > 0


def test_chains_stay_short(bench: Bench, seed: int) -> None:
    rng = random.Random(seed)
    table = rows(rng, ROWS // 8)  # one chunk
    for _ in range(17):
        store(bench, b"".join(table))
        table = change(rng, table, 2 / ROWS)
    assert max(depths(bench)) == 4
    assert depths(bench).count(0) == 1


@pytest.mark.parametrize("kind", ["incremental", "full"])
def test_a_log_that_was_rotated_leans_on_itself_as_it_was_called(
    bench: Bench, tmp_path: Path, seed: int, kind: str
) -> None:
    """Each log has grown before it got its new name; the one that has the name now has nothing to do with it."""
    logs, rng = tmp_path / "logs", random.Random(seed)
    logs.mkdir()
    for number in range(3):
        (logs / f"app.log.{number}").write_bytes(b"".join(rows(rng, ROWS // 2)))
    first = bench.backup(logs, type="full").manifest
    for number in (2, 1, 0):
        with (logs / f"app.log.{number}").open("ab") as log:
            log.write(b"the last line of the day\n")
        (logs / f"app.log.{number}").rename(logs / f"app.log.{number + 1}")
    (logs / "app.log.0").write_bytes(b"".join(rows(rng, ROWS // 20)))
    parent = {"parent": None} if kind == "full" else {}
    second = bench.backup(logs, type=kind, **parent).manifest
    totals = second.totals
    fresh = (logs / "app.log.0").stat().st_size
    assert 0 < totals["bytesDifferences"] < 20_000
    assert totals["bytesStored"] < fresh < first.totals["bytesStored"] / 8
    bench.restore(second, "restored")
    assert snapshot(tmp_path / "restored" / str(logs).lstrip("/")) == snapshot(logs)


@pytest.mark.parametrize("kind", ["incremental", "differential", "full"])
def test_a_file_that_changes_in_place_is_stored_as_differences(
    bench: Bench, tmp_path: Path, seed: int, kind: str
) -> None:
    source, rng = tmp_path / "source", random.Random(seed)
    (source / "below").mkdir(parents=True)
    image = bytearray(rng.randbytes(3 << 20))
    (source / "below" / "image").write_bytes(image)
    (source / "small").write_bytes(b"small")
    first = bench.backup(source, type="full").manifest
    for number in range(3):
        for _ in range(20):
            image[rng.randrange(len(image))] ^= 1
        (source / "below" / "image").write_bytes(image)
        with (source / "below" / "sparse").open("wb") as sparse:  # data, a hole, data
            sparse.write(image[: 1 << 20])
            sparse.seek(4 << 20)
            sparse.write(image[1 << 20 :])
        parents = {"full": None, "differential": first.id}
        changes = {"parent": parents[kind]} if kind in parents else {}
        last = bench.backup(source, type=kind, **changes).manifest
        if number:
            assert last.totals["bytesDifferences"] > 0
            assert last.totals["bytesStored"] < 100_000
    bench.restore(last, "restored")
    assert snapshot(tmp_path / "restored" / str(source).lstrip("/")) == snapshot(source)
    assert not bench.check().errors

"""Index objects are merged without anybody missing a section: not beside others, not after a crash at any call."""

from __future__ import annotations

import random
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import Corrupt, Unavailable
from engine.progress import Silent
from engine.repository import index, layout
from engine.repository.check import check
from engine.repository.compaction import compact
from engine.repository.pack import PackInfo
from engine.repository.reader import open_reader
from engine.repository.repository import Repository
from engine.repository.sections import Damages, indexed
from engine.storage.base import Item
from engine.storage.local import LocalStorage
from tests.support.faults import FaultyStorage, kill_this_process, run_and_wait
from tests.support.repositories import Bench
from tests.support.trees import snapshot

RUNS = 6


@pytest.fixture
def bench(tmp_path: Path, seed: int) -> Bench:
    """Some restore points, each with an index object of its own."""
    bench, rng = Bench(tmp_path / "bench"), random.Random(seed)
    bench.create()
    (tmp_path / "source").mkdir()
    for number in range(RUNS):
        (tmp_path / "source" / f"file {number}").write_bytes(rng.randbytes(1000))
        bench.backup(tmp_path / "source")
    assert len(bench.open().index_names()) == RUNS
    return bench


def sections(repository: Repository) -> list[PackInfo]:
    damage: Damages = {}
    found = sorted(indexed(repository, damage=damage))
    assert damage == {}
    return found


def restored(bench: Bench, source: Path) -> bool:
    newest = max(bench.manifests(), key=lambda manifest: manifest.sequence)
    name = f"out {len(list(bench.folder.iterdir()))}"
    bench.restore(newest, name)
    return snapshot(bench.folder / name / str(source).lstrip("/")) == snapshot(source)


def test_many_become_one_and_say_the_same(bench: Bench, tmp_path: Path) -> None:
    before = sections(bench.open())
    assert compact(bench.open()) == RUNS
    assert len(bench.open().index_names()) == 1
    assert sections(bench.open()) == before
    assert compact(bench.open()) == 0
    assert restored(bench, tmp_path / "source")
    assert bench.check().errors == []


def test_few_are_left_alone(bench: Bench) -> None:
    names = bench.open().index_names()
    assert compact(bench.open(), at_least=RUNS + 1) == 0
    assert bench.open().index_names() == names


def test_large_objects_stay_and_none_becomes_too_large(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    size = index.length_of(sections(bench.open())[0])
    monkeypatch.setattr(index, "FULL_BYTES", 3 * size)
    before = sections(bench.open())
    compact(bench.open())
    objects = [bench.open().read_index(name) for name in bench.open().index_names()]
    assert sorted(info for each in objects for info in each) == before
    assert max(map(len, objects)) <= 5
    assert len(objects) > 1
    monkeypatch.setattr("engine.repository.compaction._LARGE_BYTES", 1)
    assert compact(bench.open()) == 0


def test_packs_that_shall_go_or_are_gone_are_left_out(bench: Bench) -> None:
    opened = bench.open()
    first, second, *others = sections(opened)
    opened.storage.delete(layout.pack(second.name))
    compact(opened, without={first.name})
    assert sections(opened) == others
    assert first.name in opened.list_packs()


def test_only_objects_that_name_the_pack_are_written_anew(bench: Bench) -> None:
    opened = bench.open()
    victim = sections(opened)[0]
    naming = [name for name in opened.index_names() if victim in opened.read_index(name)]
    before = set(opened.index_names())
    assert compact(opened, without={victim.name}, at_least=RUNS + 1) == 1
    assert before - set(opened.index_names()) == set(naming)
    assert victim not in sections(opened)


def test_damaged_objects_stay_and_are_reported(bench: Bench) -> None:
    name = bench.open().index_names()[0]
    path = bench.place / name
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    assert compact(bench.open()) == RUNS - 1
    assert path.read_bytes() == data
    assert [damage.object for damage in bench.check().errors] == [name]


def test_an_object_that_comes_back_other_than_written_replaces_nothing(bench: Bench) -> None:
    class Lying(LocalStorage):
        def put(self, name, data, *, create=True):  # type: ignore[no-untyped-def]
            super().put(name, data, create=create)
            path = bench.place / name
            path.write_bytes(path.read_bytes()[:-1] + b"x")

    names = set(bench.open().index_names())
    with pytest.raises(Corrupt):
        compact(bench.open(Lying(bench.place)))
    assert names < set(bench.open().index_names())


def test_an_object_that_is_gone_at_once_replaces_nothing(bench: Bench) -> None:
    """Another compaction may have merged it, but it may also never have been stored."""

    class Losing(LocalStorage):
        def put(self, name, data, *, create=True):  # type: ignore[no-untyped-def]
            pass

    names = bench.open().index_names()
    assert compact(bench.open(Losing(bench.place))) == 0
    assert bench.open().index_names() == names


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_kill_9_at_every_call_loses_no_section(bench: Bench, tmp_path: Path, after: bool) -> None:
    before, call, status = sections(bench.open()), 0, -1
    bench.place.rename(tmp_path / "untouched")
    while status != 0:
        call += 1
        shutil.copytree(tmp_path / "untouched", bench.place)
        storage = FaultyStorage(bench.storage(), kill_this_process, at=call, after=after)
        status = run_and_wait(lambda storage=storage: compact(bench.open(storage)))  # type: ignore[misc]
        assert status in (0, -signal.SIGKILL)
        assert {info.name for info in sections(bench.open())} == {info.name for info in before}
        compact(bench.open())
        assert sections(bench.open()) == before
        shutil.rmtree(bench.place)
    assert call > 3 * RUNS


def test_a_full_disk_loses_no_section(bench: Bench) -> None:
    class Full(LocalStorage):
        def put(self, name, data, *, create=True):  # type: ignore[no-untyped-def]
            raise Unavailable("It is full.")

    before = bench.open().index_names()
    with pytest.raises(Unavailable):
        compact(bench.open(Full(bench.place)))
    assert bench.open().index_names() == before


def test_a_reader_that_meets_a_compaction_misses_nothing(bench: Bench) -> None:
    """All objects that were listed vanish before the first of them is read."""

    class Late(LocalStorage):
        is_first = True

        def list(self, prefix: str) -> Iterator[Item]:
            found = list(super().list(prefix))
            if prefix == layout.INDEX and self.is_first:
                self.is_first = False
                compact(bench.open())
            return iter(found)

    before = sections(bench.open())
    assert sections(bench.open(Late(bench.place))) == before


def test_two_compactions_and_a_writer_at_once(bench: Bench, tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def often() -> None:
        try:
            for _ in range(10):
                compact(bench.open())
        except BaseException as error:  # noqa: BLE001 - shown by the assertion
            failures.append(error)

    threads = [threading.Thread(target=often) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(5):
        (tmp_path / "source" / f"more {number}").write_bytes(b"%d" % number)
        bench.backup(tmp_path / "source")
    for thread in threads:
        thread.join()
    assert failures == []
    assert {info.name for info in sections(bench.open())} == set(bench.open().list_packs())
    assert bench.check().errors == []


def test_a_pruned_pack_is_no_damage_and_a_lost_one_is(bench: Bench) -> None:
    """An index may still name a pack that was removed; only what a restore point needs is missed."""
    opened = bench.open()
    needed = sections(opened)[0]
    unneeded = PackInfo(
        b"n" * 32, needed.size, needed.header, needed.directory[:4].replace(needed.directory[:1], b"\0")
    )
    opened.write_index([unneeded])
    assert bench.check().errors == []
    opened.storage.delete(layout.pack(needed.name))
    report = check(opened, progress=Silent())
    assert {damage.object for damage in report.errors} == {layout.pack(needed.name)}
    assert all(damage.backups for damage in report.errors)


def test_backups_compact_now_and_then(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.backup._MANY_INDEX_OBJECTS", RUNS + 2)
    for number in range(2):
        (tmp_path / "source" / f"more {number}").write_bytes(b"%d" % number)
        bench.backup(tmp_path / "source")
    assert len(bench.open().index_names()) == 1
    assert len(open_reader(bench.open()).table.packs()) == len(bench.open().list_packs())


def test_a_backup_succeeds_though_its_compaction_fails(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Keeping(LocalStorage):
        def delete(self, name: str) -> None:
            if name.startswith(layout.INDEX):
                raise Unavailable("Nothing may be deleted here.")
            super().delete(name)

    monkeypatch.setattr("engine.backup._MANY_INDEX_OBJECTS", 2)
    (tmp_path / "source" / "more").write_bytes(b"more")
    result = bench.backup(tmp_path / "source", storage=Keeping(bench.place))
    assert result.is_complete
    assert len(bench.open().index_names()) == RUNS + 2

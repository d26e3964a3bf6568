"""Faults that show only with threads, on a second look, or when two things go wrong at once."""

from __future__ import annotations

import errno
import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine import compress, crypto
from engine.compare import compare_folder
from engine.errors import Corrupt, NotFound, StorageError, Unavailable
from engine.model import tree
from engine.model.tree import Node
from engine.progress import Silent
from engine.repository import box, layout, mark
from engine.repository.heal import sync
from engine.repository.pack import DATA, OpenPack
from engine.repository.reader import open_reader
from engine.repository.session import Session
from engine.repository.table import IndexTable
from engine.storage.local import LocalStorage
from engine.targets.directory import DirectoryTarget, Folder, OpenFile
from tests.engine.test_destinations import Fleet, assert_restores_all
from tests.support.faults import FaultyStorage
from tests.support.repositories import Bench, Clock
from tests.support.trees import make_tree, snapshot


@pytest.fixture
def bench(tmp_path: Path, seed: int) -> Bench:
    bench = Bench(tmp_path / "bench")
    bench.create()
    make_tree(tmp_path / "source", random.Random(seed), files=15)
    bench.backup(tmp_path / "source")
    return bench


@pytest.fixture
def fleet(tmp_path: Path, seed: int) -> Fleet:
    fleet = Fleet(tmp_path)
    for name in fleet.names:
        fleet.create(name)
    make_tree(tmp_path / "source", random.Random(seed), files=10)
    return fleet


def test_every_blob_of_a_pack_is_seen_by_every_thread(bench: Bench, tmp_path: Path) -> None:
    table, infos = IndexTable(bench.keyring), []
    for number in range(40):
        made = OpenPack(bench.keyring, box.DATA_PACK, crypto.AES_256_GCM, tmp_path)
        for blob in range(100):
            made.append(crypto.sha256(b"%d %d" % (number, blob)), DATA, compress.NONE, 1, b"x")
        infos.append(made.finish())
    table.load(infos)
    start = threading.Barrier(4)

    def count(thread: int) -> list[int]:
        start.wait()
        return [len(list(table.of_pack(known))) for known in table.packs()]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(count, range(4))) == [[100] * 40] * 4


def test_a_pack_in_a_mark_is_not_healed_onto(fleet: Fleet, tmp_path: Path) -> None:
    fleet.backup(tmp_path / "source")
    two = fleet.open("two")
    for item in list(two.storage.list(layout.MANIFESTS)):
        two.storage.delete(item.name)
    marked = two.list_packs()
    own = mark.create(two, marked, now=fleet.clock())
    sync([("one", fleet.open("one"))], "two", two, clock=fleet.clock, progress=Silent(), spool=fleet.folder)
    for name in marked:  # as its pruner does
        two.storage.delete(layout.pack(name))
    mark.remove(two, own.id)
    assert_restores_all(fleet, "two", tmp_path / "source", [snapshot(tmp_path / "source")])


def test_a_rotten_pack_has_not_arrived(fleet: Fleet, tmp_path: Path) -> None:
    fleet.backup(tmp_path / "source")
    two = fleet.open("two")
    for item in [*two.storage.list(layout.MANIFESTS), *two.storage.list(layout.INDEX)]:
        two.storage.delete(item.name)
    for path in (fleet.bench("two").place / "packs").rglob("*/*"):
        path.write_bytes(bytes(path.stat().st_size))
    sync([("one", fleet.open("one"))], "two", two, clock=fleet.clock, progress=Silent(), spool=fleet.folder)
    report = fleet.bench("two").check()
    assert report.errors  # they are still there, and nobody needs them
    assert not any(damage.backups for damage in report.errors)
    assert report.sound == two.manifest_ids()


def test_a_descriptor_whose_sync_failed_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel may have dropped what it could not write, and say yes to a second sync: everything begins anew."""
    storage = LocalStorage(tmp_path / "place")
    storage.initialise()
    names = [layout.manifest(bytes([number]) * layout.ID_BYTES) for number in range(2)]
    storage.put(names[0], b"first")
    asked: list[str] = []

    def fail(descriptor: int) -> None:
        asked.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", fail)
        with pytest.raises(StorageError):
            storage.put(names[1], b"second")
    assert len(asked) == 1
    assert not Path(asked[0]).exists()
    assert [item.name for item in storage.list(layout.MANIFESTS)] == names[:1]
    storage.put(names[1], b"second")
    assert storage.get(names[1]) == b"second"


def test_a_spooled_pack_that_cannot_be_removed_stops_nothing(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by a sweep: the pack had arrived, and its clean-up ended with the bare error of a disk."""

    def fail(path: str | Path, **options: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    made = OpenPack(bench.keyring, box.DATA_PACK, crypto.AES_256_GCM, tmp_path)
    with monkeypatch.context() as broken:
        broken.setattr(os, "unlink", fail)
        made.abandon()
    assert made.path.exists()
    made.abandon()
    assert not made.path.exists()


def test_two_destinations_on_one_disk_do_not_share_their_blocks(fleet: Fleet, tmp_path: Path) -> None:
    fleet.backup(tmp_path / "source")
    one, two = (
        {path.stat().st_ino for path in (fleet.bench(name).place / "packs").rglob("*/*")} for name in fleet.names
    )
    assert one
    assert not one & two
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in (fleet.bench("one").place / "packs").rglob("*/*"))


def test_a_file_that_fails_does_not_write_into_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread still writes to a file that another thread gives up; a third opens a file under the same number."""
    target = DirectoryTarget(tmp_path / "out", Silent())
    target.open()
    folder = target.enter(Node(tree.DIRECTORY, b"d", 0o755, 0, 0, 0, 0, 0, 1), None, b"/d")
    assert isinstance(folder, Folder)
    first = OpenFile(Node(tree.FILE, b"a", 0o600, 0, 0, 8, 0, 0, 2), folder, 8)
    second = OpenFile(Node(tree.FILE, b"b", 0o600, 0, 0, 8, 0, 0, 3), folder, 8)
    paused, go_on, pwrite = threading.Event(), threading.Event(), os.pwrite

    def slow(descriptor: int, data: bytes, offset: int) -> int:
        if bytes(data) == b"AAAA":
            paused.set()
            assert go_on.wait(10)
        return pwrite(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", slow)
    writer = threading.Thread(target=lambda: target.write(first, 0, b"AAAA"))
    writer.start()
    assert paused.wait(10)
    target.fail(first, Corrupt("The other half is damaged."))
    target.write(second, 0, b"bbbbbbbb")
    go_on.set()
    writer.join()
    target.close()
    assert (tmp_path / "out" / "d" / "b").read_bytes() == b"bbbbbbbb"
    assert not (tmp_path / "out" / "d" / "a").exists()
    assert (target.restored.items, target.restored.lost) == (1, 1)


def test_a_comparison_goes_on_behind_the_first_difference(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "source" / "deep").mkdir()
    (tmp_path / "source" / "deep" / "file").write_bytes(b"right")
    manifest = bench.backup(tmp_path / "source").manifest
    bench.restore(manifest, "out")
    restored = bench.folder / "out" / str(tmp_path / "source").lstrip("/")
    (restored / "deep" / "file").write_bytes(b"wrong")
    (restored / "deep" / "new").touch()
    os.utime(restored / "deep", (1, 1))
    found = compare_folder(open_reader(bench.open()), manifest, bench.folder / "out", progress=Silent())
    deep = str(tmp_path / "source" / "deep")
    assert {
        (deep, "has another modification time"),
        (f"{deep}/file", "has other content"),
        (f"{deep}/file", "has another modification time"),
        (f"{deep}/new", "was not in the backup"),
    } == set(found)


def test_a_place_that_goes_away_is_not_called_damage(bench: Bench) -> None:
    def gone() -> None:
        raise Unavailable("The line is cut.")

    class Cut(FaultyStorage):
        def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
            if name.startswith(layout.PACKS):
                gone()
            return super().get(name, offset, length)

        def stat(self, name: str):  # type: ignore[no-untyped-def]
            gone()

    from engine.repository.check import check

    with pytest.raises(Unavailable, match="cut"):
        check(bench.open(Cut(bench.storage(), gone, at=10_000)), progress=Silent())


def test_foreign_files_in_a_repository_are_passed_over(bench: Bench, tmp_path: Path) -> None:
    for name in ("packs/README.txt", "packs/.DS_Store", "index/notes", "manifests/Thumbs.db", "marks/x", "fences/y"):
        path = bench.place / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"not ours")
    manifest = bench.backup(tmp_path / "source").manifest
    bench.restore(manifest, "out")
    assert snapshot(bench.folder / "out" / str(tmp_path / "source").lstrip("/")) == snapshot(tmp_path / "source")
    assert bench.check().errors == []


@pytest.mark.parametrize("kind", ["index", "heads"])
def test_a_damaged_hint_does_not_stop_backups_and_is_reported(bench: Bench, tmp_path: Path, kind: str) -> None:
    (path,) = (bench.place / kind).iterdir()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert [damage.object for damage in bench.check().errors] == [f"{kind}/{path.name}"]
    result = bench.backup(tmp_path / "source", parent=None)
    assert result.is_complete
    assert result.manifest.sequence == 2


def test_no_session_marker_is_left_when_renewals_fail(bench: Bench) -> None:
    calls = threading.Event()

    class Flapping(FaultyStorage):
        def put(self, name, data, *, create=True):  # type: ignore[no-untyped-def]
            if name.endswith((".1", ".3")):
                calls.set()
                raise Unavailable("not now")
            super().put(name, data, create=create)

    from datetime import timedelta

    opened = bench.open(Flapping(bench.storage(), lambda: None, at=10_000))
    session = Session(opened, b"s" * 16, "test", Clock(), renew_after=timedelta(milliseconds=5))
    session.start()
    assert calls.wait(5)
    while session._count < 5:
        threading.Event().wait(0.005)
    session.end()
    assert list(bench.storage().list(layout.SESSIONS)) == []


def test_a_vanished_object_is_told_from_damage(bench: Bench) -> None:
    with pytest.raises(NotFound):
        bench.open().read_manifest(b"x" * 16)

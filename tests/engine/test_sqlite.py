"""SQLite databases: consistent while they are written to, compared after a restore, refused when they are not right."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from engine.errors import Cancelled, Different, SourceError, TargetError, UnsafePath
from engine.model.manifest import Manifest, StreamRoot
from engine.progress import Silent
from engine.repository.reader import open_reader
from engine.sources.sqlite import Config, SqliteSource
from engine.targets.sqlite import place_below, restore_sqlite
from tests.support.repositories import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    bench.create()
    return bench


@pytest.fixture
def live(tmp_path: Path) -> Path:
    path = tmp_path / "odd name %41.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute('CREATE TABLE "odd ""table" (id INTEGER PRIMARY KEY, text TEXT)')
        database.execute("CREATE TABLE pairs (a INTEGER, b INTEGER)")
        database.executemany('INSERT INTO "odd ""table" (text) VALUES (?)', [(f"row {n}",) for n in range(5000)])
        database.commit()
    return path


def source(path: Path) -> SqliteSource:
    return SqliteSource(Config("sqlite:///" + str(path).replace("%", "%25")), scratch=path.parent)


def restore(bench: Bench, manifest: Manifest, target: Path) -> int:
    (root,) = manifest.roots
    assert isinstance(root, StreamRoot)
    return restore_sqlite(open_reader(bench.open()).stream(root.content, root.size), target, root.facts)


def test_a_database_comes_back_with_every_row(bench: Bench, live: Path, tmp_path: Path) -> None:
    result = bench.backup(streams=[source(live)], type="database")
    assert restore(bench, result.manifest, tmp_path / "out" / "copy.db") == 5000
    with closing(sqlite3.connect(tmp_path / "out" / "copy.db")) as database:
        assert database.execute('SELECT count(*), max(text) FROM "odd ""table"').fetchone() == (5000, "row 999")
    assert not list(tmp_path.glob("*.sqlite"))


def test_a_database_that_is_written_to_all_the_time_is_consistent(bench: Bench, live: Path, tmp_path: Path) -> None:
    """Each transaction adds two equal numbers; a torn copy would hold one without the other."""
    stop = threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(live, timeout=30)) as database:
            number = 0
            while not stop.is_set():
                number += 1
                with database:
                    database.execute("INSERT INTO pairs VALUES (?, 0)", (number,))
                    database.execute("UPDATE pairs SET b = a WHERE a = ?", (number,))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        manifests = [bench.backup(streams=[source(live)], type="database").manifest for _ in range(5)]
    finally:
        stop.set()
        writer.join()
    for number, manifest in enumerate(manifests):
        restore(bench, manifest, tmp_path / f"copy{number}.db")
        with closing(sqlite3.connect(tmp_path / f"copy{number}.db")) as database:
            assert database.execute("SELECT count(*) FROM pairs WHERE a <> b").fetchone() == (0,)
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize(
    ("content", "sentence"), [(None, "does not exist"), (b"no database at all" * 1000, "cannot be read")]
)
def test_what_is_no_database_fails(bench: Bench, tmp_path: Path, content: bytes | None, sentence: str) -> None:
    path = tmp_path / "file.db"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SourceError, match=sentence):
        bench.backup(streams=[source(path)], type="database")
    assert bench.manifests() == []


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite://host/file", "postgresql://h/d", "sqlite:////f?x"])
def test_urls_that_name_no_file(tmp_path: Path, url: str) -> None:
    with pytest.raises(SourceError, match="Four slashes"):
        SqliteSource(Config(url), scratch=tmp_path)


def test_a_damaged_database_is_not_backed_up_as_good(bench: Bench, live: Path) -> None:
    with closing(sqlite3.connect(live)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray(live.read_bytes())
    data[4096:8192] = bytes(4096)
    live.write_bytes(data)
    with pytest.raises(SourceError):
        bench.backup(streams=[source(live)], type="database")
    assert bench.manifests() == []


def test_a_restore_that_differs_is_refused_and_leaves_nothing(bench: Bench, live: Path, tmp_path: Path) -> None:
    manifest = bench.backup(streams=[source(live)], type="database").manifest
    (root,) = manifest.roots
    assert isinstance(root, StreamRoot)
    facts = {"tables": [{"name": 'odd "table', "rows": 4999}]}
    chunks = open_reader(bench.open()).stream(root.content, root.size)
    with pytest.raises(Different, match="5000 rows; the backup recorded 4999"):
        restore_sqlite(chunks, tmp_path / "out.db", facts)
    assert not list(tmp_path.glob("*out.db*"))


def test_an_existing_file_is_never_replaced(bench: Bench, live: Path, tmp_path: Path) -> None:
    manifest = bench.backup(streams=[source(live)], type="database").manifest
    (tmp_path / "mine").write_bytes(b"mine")
    with pytest.raises(TargetError, match="exists already"):
        restore(bench, manifest, tmp_path / "mine")
    assert (tmp_path / "mine").read_bytes() == b"mine"


def test_a_database_that_is_suddenly_empty_fails(bench: Bench, live: Path) -> None:
    bench.backup(streams=[source(live)], type="full", parent=None)
    with closing(sqlite3.connect(live)) as database:
        for name in ('"odd ""table"', "pairs"):
            database.execute(f"DROP TABLE {name}")
    with pytest.raises(SourceError, match="suddenly has no tables; it had 2 before"):
        bench.backup(streams=[source(live)], type="full", parent=None)
    assert len(bench.manifests()) == 1


@pytest.mark.parametrize(
    "name", ["", "/", "shop.db", "../shop.db", "/srv/../../etc/shop.db", "/srv/./shop.db", "/a\0b"]
)
def test_names_that_could_lead_out_of_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnsafePath):
        place_below(tmp_path, name)
    assert place_below(tmp_path, "/srv/shop.db") == tmp_path / "srv" / "shop.db"


def test_a_link_at_the_source_is_not_part_of_the_name(bench: Bench, live: Path, tmp_path: Path) -> None:
    """A restore puts the file at its name below a folder: no part of that may be a link that leads elsewhere."""
    (tmp_path / "link").symlink_to(tmp_path)
    (root,) = bench.backup(streams=[source(tmp_path / "link" / live.name)], type="database").manifest.roots
    assert isinstance(root, StreamRoot)
    assert root.name == str(live)


def test_mode_and_owner_come_back(bench: Bench, live: Path, tmp_path: Path) -> None:
    live.chmod(0o4664)
    manifest = bench.backup(streams=[source(live)], type="database").manifest
    restore(bench, manifest, tmp_path / "out.db")
    status = (tmp_path / "out.db").stat()
    assert (status.st_mode & 0o7777, status.st_uid) == (0o664, live.stat().st_uid)


def test_too_little_room_for_the_copy_is_told_before(live: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(live.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=4096))
    with pytest.raises(SourceError, match=r"needs \d+ bytes in .*; 4096 are free"):
        source(live).__enter__()
    assert not list(live.parent.glob("*.sqlite"))


def test_the_copy_can_be_stopped(live: Path) -> None:
    looks = 0

    def stop() -> None:
        nonlocal looks
        looks += 1
        raise Cancelled

    config = Config("sqlite:///" + str(live).replace("%", "%25"))
    with pytest.raises(Cancelled):
        SqliteSource(config, scratch=live.parent, look=stop).__enter__()
    assert looks == 1
    assert not list(live.parent.glob("*.sqlite"))


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_a_copy_of_a_busy_database_comes_to_an_end(tmp_path: Path, mode: str) -> None:
    """SQLite begins a copy anew whenever another program has written meanwhile."""
    path = tmp_path / "busy.db"
    with closing(sqlite3.connect(path, timeout=60)) as database:
        database.execute(f"PRAGMA journal_mode = {mode}")
        database.execute("CREATE TABLE large (text TEXT)")
        database.executemany("INSERT INTO large VALUES (?)", [("x" * 4000,) for _ in range(10_000)])
        database.commit()
    written, stop = threading.Event(), threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(path, timeout=60)) as database:
            while not stop.is_set():
                with database:
                    database.execute("INSERT INTO large VALUES ('more')")
                written.set()

    looks = 0

    def look() -> None:
        nonlocal looks
        looks += 1
        assert looks < 200, "it begins anew again and again"
        if mode == "wal":  # only there can others write while it is copied
            written.clear()
            written.wait(60)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert written.wait(60)
        with SqliteSource(Config(f"sqlite:///{path}"), scratch=tmp_path, look=look) as entered:
            (entry,) = entered.entries(Silent())
            (table,) = entry.facts()["tables"]
    finally:
        stop.set()
        writer.join()
    assert table["rows"] > 10_000
    assert looks >= 4, "the copy took several steps"

"""SQLite databases: consistent while they are written to, compared after a restore, refused when they are not right."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from engine.errors import Different, SourceError, TargetError
from engine.model.manifest import Manifest, StreamRoot
from engine.repository.reader import open_reader
from engine.sources.sqlite import Config, SqliteSource
from engine.targets.sqlite import restore_sqlite
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

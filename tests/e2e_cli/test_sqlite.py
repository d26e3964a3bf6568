"""SQLite databases from end to end: named by a URL, stored consistently, shown, and restored as a file."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.e2e_cli.shop import Shop, told
from tests.support.command import Outcome


def fill(path: Path, *, rows: int = 500, mode: str = "wal") -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA journal_mode = {mode}")
        database.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, text TEXT)")
        database.execute("CREATE TABLE items (id INTEGER)")
        database.executemany("INSERT INTO orders (text) VALUES (?)", [(f"order {n}",) for n in range(rows)])
        database.commit()


def rows(path: Path, table: str = "orders") -> int:
    with closing(sqlite3.connect(path)) as database:
        (count,) = database.execute(f"SELECT count(*) FROM {table}").fetchone()
        return int(count)


@pytest.fixture
def path(shop: Shop) -> Path:
    path = shop.uploads / "folder 1" / "shop #1.db"
    fill(path)
    path.chmod(0o640)
    return path


def url(path: Path) -> str:
    return f"sqlite:///{str(path).replace('#', '%23')}"


def sources(shop: Shop, path: Path, **more: Any) -> dict[str, Any]:
    return {"databases": [{"url": url(path), **more}], "paths": [{"path": str(shop.uploads)}]}


def lands(folder: Path, path: Path) -> Path:
    return folder.joinpath(*path.parts[1:])


def test_a_database_among_files_comes_back_whole(shop: Shop, path: Path) -> None:
    """It is written to while it is backed up, and lies in a folder that is backed up too."""
    with closing(sqlite3.connect(path)) as live:
        live.execute("INSERT INTO orders (text) VALUES ('open')")  # not committed, so not in the backup
        made = shop.create(sources=sources(shop, path))
    assert made["databases"] == [{"name": str(path), "tables": 2, "bytes": path.stat().st_size}]
    names = {each["name"] for each in shop.cli("ls", "shop@latest", path.parent, "--json", code=0).json["entries"]}
    assert "file 1" in names
    assert not any(name.startswith(path.name) for name in names), "the live file is not stored beside the copy"
    run = shop.cli("restore", "--backup", made["backupId"], "--to", "out", "--verify", "--json", code=0).json
    copy = lands(shop.cli.folder / "out", path)
    assert rows(copy) == 500
    assert copy.stat().st_mode & 0o777 == 0o640
    assert [(each["kind"], each["compared"]) for each in run["targets"]] == [
        ("database", {"tables": 2, "rows": 500}),
        ("folder", {"files": run["files"]["new"]}),
    ]
    assert run["targets"][0]["target"] == str(copy)
    assert lands(shop.cli.folder / "out", shop.uploads / "folder 1" / "file 1").exists()


def test_it_is_shown_where_databases_are_shown(shop: Shop, path: Path) -> None:
    first = shop.create(type="database", sources={"databases": [{"url": url(path)}]})["backupId"]
    assert shop.points()[0]["databases"][0]["name"] == str(path)
    assert "DBS" in shop.cli("list", code=0).stdout
    assert f"sqlite:{path}" in shop.cli("ls", first, code=0).stdout
    for spelled in (str(path), f"sqlite:{path}", "database:"):
        listed = shop.cli("ls", first, spelled, "--json", code=0).json["tables"]
        assert [(table["name"], table["rows"]) for table in listed] == [("items", 0), ("orders", 500)]
    assert "SQLite" in shop.cli("show", first, code=0).stdout
    shop.cli("get", first, path, code=0)
    assert rows(shop.cli.folder / "shop #1.db.sqlite") == 500
    with closing(sqlite3.connect(path)) as live:
        live.execute("DELETE FROM orders WHERE id > 400")
        live.commit()
    second = shop.create("--config", "shop")["backupId"]
    changes = shop.cli("diff", first, second, "--json", code=0).json["changes"]
    assert [(each["table"], each["rows"]) for each in changes] == [("orders", {"before": 500, "after": 400})]
    assert shop.cli("stats", "--json", code=0).json is not None
    found = shop.cli("config", "test", "shop", "--json", code=0).json
    assert "SQLite database with 2 tables" in found[0]["detail"]


def test_one_of_several_is_restored_alone(shop: Shop, path: Path) -> None:
    other = shop.uploads / "other.sqlite"
    fill(other, rows=3, mode="delete")
    both = {"databases": [{"url": url(path)}, {"url": url(other)}], "paths": [{"path": str(shop.uploads)}]}
    made = shop.create(sources=both)["backupId"]
    for number, spelled in enumerate((str(other), f"sqlite:{other}", f"sqlite:{other}:")):
        target = shop.cli.folder / f"only-{number}"
        shop.cli("restore", "--backup", made, "--only", spelled, "--to", target, code=0)
        assert [found for found in target.rglob("*") if found.is_file()] == [lands(target, other)]
        assert rows(lands(target, other)) == 3
    shop.cli("get", made, other, code=0)
    assert rows(shop.cli.folder / "other.sqlite") == 3


def test_a_table_or_a_server_is_refused_with_a_sentence(shop: Shop, path: Path) -> None:
    made = shop.create(sources=sources(shop, path))["backupId"]

    def refused(*arguments: str) -> str:
        return told(shop.cli("restore", "--backup", made, *arguments, code=2))

    assert "no single table can be restored out of a SQLite database" in refused("--only", "main.orders")
    assert "no single table" in refused("--only", f"sqlite:{path}:orders")
    assert "takes no sqlite:// URL" in refused("--to", "sqlite:///new.db")
    assert "names a PostgreSQL database, but" in refused("--to", "postgresql://nowhere.invalid/")
    assert sorted(shop.cli.folder.iterdir()) == [shop.cli.folder / "shop.json"]


@pytest.mark.parametrize(
    ("content", "code", "sentence"),
    [
        (None, 1, "does not exist"),
        ("folder", 1, "is not a file"),
        ("fifo", 1, "is not a file"),
        (b"no database " * 1000, 1, "file is not a database"),
    ],
)
def test_what_is_no_database_is_told(shop: Shop, content: str | bytes | None, code: int, sentence: str) -> None:
    path = shop.uploads.parent / "x.db"
    if content == "folder":
        path.mkdir()
    elif content == "fifo":
        os.mkfifo(path)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    document = shop.write(type="database", sources={"databases": [{"url": url(path)}]})
    assert sentence in told(shop.cli("create", "--file", document, code=code))
    assert sentence in str(shop.cli("config", "test", "shop", "--json", code=1).json)
    assert shop.points() == []


def test_a_database_that_stays_locked_is_told(shop: Shop, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.sources.sqlite._BUSY_SECONDS", 1)
    plain = path.with_name("plain.db")
    fill(plain, mode="delete")
    document = shop.write(type="database", sources={"databases": [{"url": url(plain)}]})
    with closing(sqlite3.connect(plain)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert "locked" in told(shop.cli("create", "--file", document, code=1))
    shop.cli("create", "--config", "shop", code=0)


def test_a_database_that_is_suddenly_empty_fails(shop: Shop, path: Path) -> None:
    shop.create(sources=sources(shop, path))
    path.unlink()
    for ending in ("-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as empty:
        empty.execute("VACUUM")
    assert "suddenly has no tables; it had 2" in told(shop.cli("create", "--config", "shop", code=1))
    assert len(shop.points()) == 1


@pytest.mark.parametrize("key", ["excludeTables", "excludeTableData"])
def test_what_only_postgresql_has_is_refused(shop: Shop, path: Path, key: str) -> None:
    def fault(url: str, env: dict[str, str]) -> Outcome:
        listed = {"databases": [{"url": url, key: ["orders"]}]}
        return shop.cli("create", "--file", shop.write(sources=listed), env=env, code=2)

    for outcome in (fault(url(path), {}), fault("${SHOP_DB}", {"SHOP_DB": url(path)})):
        assert f"/sources/databases/0/{key}: is for PostgreSQL" in outcome.stderr
    assert shop.cli("config", "list", "--json", code=0).json == []


def test_relative_ones_lie_below_the_home_or_where_the_variable_is_meant(shop: Shop) -> None:
    shop.cli("list", code=0)  # makes the home
    fill(shop.cli.home / "typed.db", rows=1)
    fill(shop.cli.folder / "meant.db", rows=2)
    typed = shop.create(type="database", sources={"databases": [{"url": "sqlite:///typed.db"}]})
    assert typed["databases"][0]["name"] == str(shop.cli.home / "typed.db")
    given = shop.cli("create", "--type", "database", "--json", env={"DATABASE_URL": "sqlite:///meant.db"}, code=0).json
    assert given["databases"][0]["name"] == str(shop.cli.folder / "meant.db")


def test_a_failed_restore_leaves_nothing(shop: Shop, path: Path) -> None:
    made = shop.create(sources=sources(shop, path))["backupId"]
    for pack in (shop.repository / "packs").rglob("*"):
        if pack.is_file():
            pack.chmod(0o600)
            pack.write_bytes(bytes(byte ^ 1 for byte in pack.read_bytes()))
    outcome = shop.cli("restore", "--backup", made, "--only", str(path), "--to", "out")
    assert outcome.code in (1, 6), outcome
    assert not (shop.cli.folder / "out").exists()


def test_writers_do_not_wait_for_the_whole_backup(shop: Shop, path: Path) -> None:
    """A program that writes all the time gets its turns, and every copy is whole."""
    stop, written = threading.Event(), 0

    def write() -> None:
        nonlocal written
        with closing(sqlite3.connect(path, timeout=30)) as database:
            while not stop.is_set():
                with database:
                    database.execute("INSERT INTO orders (text) VALUES ('more')")
                    database.execute("INSERT INTO items VALUES (1)")
                written += 1

    document = shop.write(sources=sources(shop, path))
    writer = threading.Thread(target=write)
    writer.start()
    try:
        # A process of its own: a fork of this one could inherit a lock of SQLite that the writer holds.
        run = shop.cli.in_its_own_process
        made = [run("create", "--file", document, "--json", code=0).json["backupId"] for _ in range(3)]
    finally:
        stop.set()
        writer.join()
    assert written
    for number, backup in enumerate(made):
        shop.cli("restore", "--backup", backup, "--only", str(path), "--to", f"out{number}", code=0)
        copy = lands(shop.cli.folder / f"out{number}", path)
        assert rows(copy) == 500 + rows(copy, "items")

"""Real PostgreSQL 16 and 18: backed up alone and with folders, browsed, restored whole and in parts, compared."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e_cli.shop import Shop, told
from tests.support.postgres import PostgresServer, fresh_database, programs_of
from tests.support.trees import snapshot

SAMPLE = """
CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL);
INSERT INTO customers SELECT g, 'customer ' || g FROM generate_series(1, 500) g;
CREATE TABLE orders (id serial PRIMARY KEY, customer int REFERENCES customers (id), what text);
INSERT INTO orders (customer, what) SELECT 1 + g % 500, repeat('x', g % 50) FROM generate_series(1, 3000) g;
CREATE TABLE nothing (id int);
CREATE VIEW good AS SELECT * FROM customers WHERE id < 10;
"""
FINGERPRINT = """
SELECT (SELECT md5(string_agg(c::text, ',' ORDER BY c.id)) FROM customers c),
       (SELECT md5(string_agg(o::text, ',' ORDER BY o.id)) FROM orders o),
       (SELECT last_value FROM orders_id_seq), (SELECT count(*) FROM good)
"""


@dataclass
class Database:
    """A database with sample data that `DATABASE_URL` names."""

    server: PostgresServer
    name: str
    shop: Shop

    def fingerprint(self, name: str = "") -> tuple[Any, ...]:
        return self.server.query(name or self.name, FINGERPRINT)[0]

    def restored(self) -> set[str]:
        return {name for name in self.server.databases() if name.startswith(f"{self.name}_restored_")}


@pytest.fixture(params=[16, 18])
def database(request: pytest.FixtureRequest, shop: Shop) -> Iterator[Database]:
    server: PostgresServer = request.getfixturevalue(f"postgres{request.param}")
    with fresh_database(server) as name:
        server.query(name, SAMPLE)
        shop.cli.environment |= {"DATABASE_URL": server.url(name), "UPLOAD_DIR": str(shop.uploads)}
        made = Database(server, name, shop)
        yield made
        for leftover in made.restored():
            server.drop_database(leftover)


@pytest.fixture
def database18(postgres18: PostgresServer, shop: Shop) -> Iterator[Database]:
    with fresh_database(postgres18) as name:
        postgres18.query(name, SAMPLE)
        shop.cli.environment["DATABASE_URL"] = postgres18.url(name)
        yield Database(postgres18, name, shop)


def test_a_database_with_its_folder_comes_back(database: Database) -> None:
    shop, name = database.shop, database.name
    made = shop.cli("create", "--type", "full", "--json", code=0).json
    assert (made["status"], made["type"], made["files"]["total"]) == ("succeeded", "full", 12)
    assert [(each["name"], each["tables"]) for each in made["databases"]] == [(name, 3)]
    assert made["bytes"]["read"] > made["databases"][0]["bytes"] > 0
    before = database.fingerprint()
    database.server.query(name, "DELETE FROM orders; DELETE FROM customers")
    tables = shop.cli("ls", made["backupId"], f"postgres:{name}", code=0).stdout
    assert "customers" in tables
    assert "500" in tables
    plan = shop.cli("restore", "--backup", made["backupId"], "--dry-run", "--json", code=0).json
    assert [target["kind"] for target in plan["targets"]] == ["folder", "database"]
    assert database.restored() == set()
    back = shop.cli("restore", "--backup", made["backupId"], "--verify", "--json", code=0).json
    (new,) = database.restored()
    assert f"{new}" in back["targets"][0]["target"]
    assert back["databases"] == [{"name": new, "tables": 3, "bytes": made["databases"][0]["bytes"]}]
    assert database.fingerprint(new) == before
    (folder,) = shop.cli.folder.glob("restored-*")
    assert snapshot(folder.joinpath(*shop.uploads.parts[1:])) == snapshot(shop.uploads)
    shop.cli("verify", code=0)
    again = shop.cli("restore", "--backup", made["backupId"], "--only", f"{name}:", "--json", code=0).json
    assert again["targets"][0]["target"].endswith("_2")
    assert len(database.restored()) == 2


def test_tables_and_targets(database18: Database) -> None:
    shop, server, name = database18.shop, database18.server, database18.name
    made = shop.cli("create", "--type", "database", "--json", code=0).json["backupId"]
    before = database18.fingerprint()
    target = f"{name}_chosen"
    try:
        shop.cli("restore", "--backup", made, "--to", server.url(target), code=0)
        assert database18.fingerprint(target) == before
        assert "exists already" in told(shop.cli("restore", "--backup", made, "--to", server.url(target), code=1))
        assert database18.fingerprint(target) == before
    finally:
        server.drop_database(target)
    try:
        env = {"TARGET": server.url(target)}
        part = shop.cli(
            "restore", "--backup", made, "--to", "${TARGET}", "--only", "public.orders", "--json", env=env, code=0
        )
        assert part.json["databases"][0]["tables"] == 1
        assert "foreign key" in part.stderr
        rows = server.query(target, "SELECT count(*) FROM orders")
        assert rows == [(3000,)]
        assert server.query(target, "SELECT to_regclass('customers')") == [(None,)]
    finally:
        server.drop_database(target)
    unknown = shop.cli("restore", "--backup", made, "--to", server.url(target), "--only", "public.none", code=10)
    assert "holds no table public.none" in told(unknown)
    assert target not in server.databases()


def test_every_database_of_a_server(database18: Database) -> None:
    shop, server, name = database18.shop, database18.server, database18.name
    made = shop.create(type="database", sources={"databases": [{"url": server.url("")}]})
    assert {name, "postgres"} <= {each["name"] for each in made["databases"]}
    backup = made["backupId"]
    assert "several databases" in told(shop.cli("restore", "--backup", backup, "--to", server.url("one"), code=2))
    assert "not clear which" in told(shop.cli("restore", "--backup", backup, "--only", "public.orders", code=2))
    back = shop.cli("restore", "--backup", backup, "--only", f"{name}:", "--to", server.url(""), "--json", code=0).json
    assert {each["name"] for each in back["databases"]} == database18.restored()
    (new,) = database18.restored()
    assert database18.fingerprint(new) == database18.fingerprint()
    server.drop_database(new)


def test_where_a_database_came_from_is_asked_for_when_it_is_not_known(database18: Database) -> None:
    shop = database18.shop
    made = shop.cli("create", "--type", "database", "--json", code=0).json["backupId"]
    del shop.cli.environment["DATABASE_URL"]
    outcome = shop.cli("restore", "--backup", made, code=2)
    assert "does not say where the database" in told(outcome)
    assert "--to postgresql://" in outcome.stderr


def test_tables_that_are_left_out(database18: Database) -> None:
    shop = database18.shop
    source = {"url": "${DATABASE_URL}", "excludeTables": ["nothing"], "excludeTableData": ["orders"]}
    made = shop.create(type="database", sources={"databases": [source]})
    assert made["databases"][0]["tables"] == 2
    back = shop.cli("restore", "--backup", "shop@latest", "--json", code=0).json
    new = back["databases"][0]["name"]
    assert database18.server.query(new, "SELECT count(*) FROM orders") == [(0,)]
    assert database18.server.query(new, "SELECT to_regclass('nothing')") == [(None,)]
    database18.server.drop_database(new)


BAD_SOURCES = {
    "down": ("postgresql://keeper:canary-4711@127.0.0.1:9/shop", "No database server answers"),
    "password": ("wrong password", "refuses the password"),
    "unknown": ("unknown database", "There is no database"),
    "unknown-host": ("postgresql://keeper:canary-4711@no-such-host.invalid/shop", "is not known"),
    "strange-name": ("strange name", "There is no database"),
    "port": ("postgresql://keeper:canary-4711@h:99999/shop", "port"),
    "no-url": ("mysql://keeper:canary-4711@h/shop", "postgresql://"),
}


@pytest.mark.parametrize("case", BAD_SOURCES)
def test_a_database_that_cannot_be_backed_up(case: str, shop: Shop, postgres18: PostgresServer) -> None:
    url, sentence = BAD_SOURCES[case]
    if case == "password":
        url = postgres18.url("postgres", password="canary-4711")
    elif case == "unknown":
        url = postgres18.url("no_such_database_here")
    elif case == "strange-name":
        url = postgres18.url("host=evil.example dbname=x")
    shop.cli.environment |= {"DATABASE_URL": url, "UPLOAD_DIR": str(shop.uploads)}
    outcome = shop.cli("create", "--type", "full", "--json", code=2 if case == "no-url" else 1)
    assert sentence in outcome.stderr
    assert told(outcome)
    assert "canary" not in str(outcome)
    assert shop.points() == []
    shop.cli("create", "--type", "files", code=0)
    shop.check()


def test_a_server_that_is_newer_than_every_client(database18: Database) -> None:
    shop = database18.shop
    old = {"HOLDFAST_PG_BIN": str(programs_of(16))}
    outcome = shop.cli("create", "--type", "database", "--json", code=1, env=old)
    assert "The server is PostgreSQL 18" in told(outcome)
    assert outcome.json["status"] == "failed"
    assert shop.points() == []
    shop.cli("create", "--type", "database", code=0)


def _programs(folder: Path, name: str, script: str) -> dict[str, str]:
    """The programs of 18 with one of them replaced by a script in which $REAL is the real one; the environment."""
    folder.mkdir()
    real = programs_of(18)
    for program in ("pg_dump", "pg_dumpall", "pg_restore", "psql"):
        (folder / program).symlink_to(real / program)
    (folder / name).unlink()
    lines = ["#!/bin/sh", f"REAL={real / name}", '[ "$1" = --version ] && exec $REAL --version', script]
    (folder / name).write_text("\n".join(lines) + "\n")
    (folder / name).chmod(0o755)
    return {"HOLDFAST_PG_BIN": str(folder)}


@pytest.mark.parametrize(
    "script",
    ['$REAL "$@" | head -c 20000\nexit 0', '$REAL "$@"\nexit 1', '$REAL "$@" | head -c 20000\nkill -9 $$'],
    ids=["half-and-status-0", "all-and-status-1", "killed"],
)
def test_a_pg_dump_that_does_not_finish(script: str, database18: Database, tmp_path: Path) -> None:
    shop = database18.shop
    shop.cli("create", "--type", "database", code=0)
    outcome = shop.cli(
        "create", "--type", "database", "--json", env=_programs(tmp_path / "bin", "pg_dump", script), code=1
    )
    assert outcome.json["backupId"] is None
    assert told(outcome)
    assert len(shop.points()) == 1
    shop.cli("create", "--type", "database", code=0)
    shop.cli("verify", code=0)


def test_ctrl_c_while_pg_dump_works(database18: Database, tmp_path: Path) -> None:
    shop = database18.shop
    slow = _programs(tmp_path / "bin", "pg_dump", f"echo $$ > {tmp_path}/pid\nexec sleep 1000")
    started = shop.cli.start("create", "--type", "database", "--json", env=slow)
    pid_file = tmp_path / "pid"
    while not pid_file.exists() or not pid_file.read_text().strip():
        assert started.running()
    pid = int(pid_file.read_text())
    started.interrupt()
    outcome = started.wait(30)
    assert outcome.code == 130, outcome
    assert outcome.json["status"] == "cancelled"
    assert not Path(f"/proc/{pid}").exists()
    assert shop.points() == []
    assert list((shop.cli.home / "spool").iterdir()) == []
    shop.cli("create", "--type", "database", code=0)


def test_a_restore_that_fails_leaves_no_database_behind(database18: Database, tmp_path: Path) -> None:
    shop = database18.shop
    made = shop.cli("create", "--type", "database", "--json", code=0).json["backupId"]
    fails = _programs(tmp_path / "bin", "pg_restore", "head -c 30000 >/dev/null\nexit 1")
    outcome = shop.cli("restore", "--backup", made, "--json", env=fails, code=1)
    assert outcome.json["status"] == "failed"
    assert "pg_restore failed" in told(outcome)
    assert database18.restored() == set()


def test_a_restored_database_that_differs(database18: Database, tmp_path: Path) -> None:
    shop = database18.shop
    made = shop.cli("create", "--type", "database", "--json", code=0).json["backupId"]
    lies = _programs(tmp_path / "bin", "pg_restore", "cat >/dev/null\nexit 0")
    outcome = shop.cli("restore", "--backup", made, "--json", env=lies, code=6)
    assert "differs from what was backed up" in told(outcome)
    assert outcome.json["status"] == "failed"
    for kept in database18.restored():
        database18.server.drop_database(kept)


def test_no_password_is_seen_anywhere(database18: Database) -> None:
    """Not in what commands print, not in our database, not in the files of the home, not in any process's arguments."""
    shop, server = database18.shop, database18.server
    canary = "canary-4711"
    login = f"{database18.name}_login"
    server.query("postgres", f"CREATE ROLE {login} LOGIN SUPERUSER PASSWORD '{canary}'")
    try:
        shop.cli.environment["DATABASE_URL"] = server.url(database18.name, user=login, password=canary)
        arguments: set[bytes] = set()
        for command in (["create", "--type", "database", "--json"], ["restore", "--backup", "default-database@latest"]):
            started = shop.cli.start(*command)
            while started.running():
                arguments |= _arguments()
            outcome = started.wait()
            assert outcome.code == 0, outcome
            assert canary not in str(outcome)
        assert any(b"pg_dump" in line for line in arguments), "the test must have seen the dump"
        assert any(b"pg_restore" in line for line in arguments), "the test must have seen the restore"
        assert not any(canary.encode() in line for line in arguments)
        for command in (
            ["show", "default-database@latest"],
            ["list", "--runs", "--json"],
            ["config", "show", "default-database"],
        ):
            assert canary not in str(shop.cli(*command, code=0))
        for path in shop.cli.home.rglob("*"):
            assert not path.is_file() or canary.encode() not in path.read_bytes(), path
    finally:
        for leftover in database18.restored():
            server.drop_database(leftover)
        server.query("postgres", f"DROP OWNED BY {login}; DROP ROLE {login}")


def _arguments() -> set[bytes]:
    """The arguments of every process that runs now."""
    found = set()
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                found.add(Path(f"/proc/{entry}/cmdline").read_bytes())
            except OSError:
                continue
    return found


def test_the_service_keeps_its_own_records_in_postgresql(shop: Shop, postgres18: PostgresServer) -> None:
    with fresh_database(postgres18) as name:
        shop.cli.environment["HOLDFAST_DATABASE_URL"] = postgres18.url(name)
        made = shop.create("--tag", "a=b")["backupId"]
        (shop.uploads / os.fsdecode(b"odd \xff name")).write_bytes(b"x")
        shop.create("--config", "shop")
        assert len(shop.points()) == 2
        assert not (shop.cli.home / "holdfast.db").exists()
        assert snapshot(shop.restore(made)) == shop.state[made]
        shop.check()

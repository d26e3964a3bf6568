"""Dumps of real servers: what is recorded of them is exact, consistent, and holds no secret."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import Cancelled, SourceError
from engine.postgres import programs
from tests.engine.pgfakes import fakes
from tests.engine.pgfakes.use import Dump, Impatient, dump, dumps, source
from tests.support.postgres import PASSWORD, PostgresServer, fresh_database

SAMPLE = (Path(__file__).parent / "pgfakes" / "sample.sql").read_text()
ODD = 'Odd "schema".x'
EVIL = "host=evil dbname=x"


@pytest.fixture(scope="module", params=["postgres16", "postgres18"])
def server(request: pytest.FixtureRequest) -> PostgresServer:
    found: PostgresServer = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def sample(server: PostgresServer) -> Iterator[str]:
    with fresh_database(server) as name:
        server.query(name, SAMPLE)
        yield name


def rows_by_sql(server: PostgresServer, database: str) -> dict[str, int]:
    tables = server.query(
        database,
        "SELECT nspname, relname, quote_ident(nspname) || '.' || quote_ident(relname) FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind = 'r' AND nspname !~ '^(pg_|information_schema)'",
    )
    return {
        f"{schema}.{name}": server.query(database, f"SELECT count(*) FROM ONLY {quoted}")[0][0]
        for schema, name, quoted in tables
    }


def test_everything_about_a_dump_is_recorded(server: PostgresServer, sample: str, tmp_path: Path) -> None:
    made = dump(server.url(sample), tmp_path / "scratch")
    facts = made.facts
    assert made.name == sample
    assert made.rows() == rows_by_sql(server, sample)
    assert made.rows()[f"{ODD}.new\nline 'and' \"quotes\" \\ back"] == 12
    assert (facts["rowsFrom"], facts["largeObjects"]) == ("archive", 3)
    assert facts["archiveVersion"] == {16: "1.15", 18: "1.16"}[server.major]
    assert facts["serverVersion"] // 10000 == server.major
    assert facts["clientVersion"].startswith(f"{server.major}.")
    assert (facts["encoding"], facts["owner"], facts["roles"]) == ("UTF8", server.user, [server.user])
    assert sorted(facts["tablesWithoutData"]) == [["public", "events"], ["public", "events_2026"]]
    assert sorted(name for _, name in facts["sequences"]) == ["customers_id_seq", "lonely seq", "orders_id_seq"]
    assert f"CREATE ROLE {server.user}" in facts["globals"]
    assert "PASSWORD" not in facts["globals"]
    assert facts["warnings"] == []
    assert json.loads(json.dumps(facts)) == facts
    assert PASSWORD not in json.dumps(facts)
    ends = [0, facts["toc"]["length"]]
    for table in facts["tables"]:
        assert table["offset"] >= ends[-1]
        ends.append(table["offset"] + table["length"])
    assert ends[-1] <= len(made.data)
    assert list((tmp_path / "scratch").iterdir()) == []


def test_what_a_database_is_beyond_its_dump_is_recorded(postgres: PostgresServer, tmp_path: Path) -> None:
    with fresh_database(postgres) as name:
        postgres.query(
            name,
            f"""
            CREATE ROLE reader; CREATE ROLE "odd role"; CREATE EXTENSION pg_trgm;
            CREATE TABLE t (v text); GRANT SELECT ON t TO reader;
            ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t TO "odd role" USING (true);
            COMMENT ON DATABASE "{name}" IS 'a comment';
            ALTER DATABASE "{name}" SET search_path TO "$user", public, "x y";
            ALTER DATABASE "{name}" SET work_mem TO '5MB';
            ALTER ROLE "odd role" IN DATABASE "{name}" SET "my.app" TO 'it''s';
            GRANT CREATE ON DATABASE "{name}" TO reader WITH GRANT OPTION;
            ALTER DATABASE "{name}" CONNECTION LIMIT 17;
            """,
        )
        facts = dump(postgres.url(name), tmp_path).facts
        postgres.query(name, f'DROP TABLE t; REVOKE ALL ON DATABASE "{name}" FROM reader; DROP ROLE reader, "odd role"')
    assert (facts["comment"], facts["connectionLimit"]) == ("a comment", 17)
    assert facts["settings"] == [
        ["", "search_path", '"$user", public, "x y"'], ["", "work_mem", "5MB"], ["odd role", "my.app", "it's"],
    ]  # fmt: skip
    assert ["reader", "CREATE", True] in facts["acl"]
    assert [name for name, _ in facts["extensions"]] == ["pg_trgm", "plpgsql"]
    assert facts["roles"] == [postgres.user, "odd role", "reader"]
    assert facts["policyRoles"] == ["odd role"]


def test_all_databases_of_a_server_are_streams_of_one_moment(postgres: PostgresServer, tmp_path: Path) -> None:
    with fresh_database(postgres, EVIL) as evil, fresh_database(postgres) as other:
        for name in (evil, other):
            postgres.query(name, "CREATE TABLE t AS SELECT generate_series(1, 5) AS v")
        with source(postgres.url("*"), tmp_path) as entered:
            for name in (evil, other):
                postgres.query(name, "INSERT INTO t VALUES (6)")
            made = {each.name: each for each in dumps(entered)}
    assert made.keys() >= {evil, other, "postgres"}
    assert [made[name].rows()["public.t"] for name in (evil, other)] == [5, 5]


def test_a_name_that_is_a_connection_string_is_only_a_name(postgres: PostgresServer, tmp_path: Path) -> None:
    with fresh_database(postgres, EVIL), fresh_database(postgres, "postgresql://evil/x"):
        postgres.query(EVIL, "CREATE TABLE only_here (v int)")
        assert list(dump(postgres.url(EVIL), tmp_path).rows()) == ["public.only_here"]
        assert dump(postgres.url("postgresql://evil/x"), tmp_path).rows() == {}
    with pytest.raises(SourceError, match="There is no database “host=evil dbname=x”"):
        dump(postgres.url(EVIL), tmp_path)


def test_a_server_is_reached_by_its_unix_socket(postgres: PostgresServer, tmp_path: Path) -> None:
    with fresh_database(postgres) as name:
        postgres.query(name, "CREATE TABLE t AS SELECT 1 AS v")
        login = postgres.url(name).removeprefix("postgresql://").partition("@")[0]
        url = f"postgresql://{login}@/{name}?host={postgres.socket_folder}&port={postgres.port}"
        assert dump(url, tmp_path).rows() == {"public.t": 1}


def test_excluded_tables_and_data_are_left_out(server: PostgresServer, sample: str, tmp_path: Path) -> None:
    made = dump(server.url(sample), tmp_path, exclude_tables=("events*", "orders"), exclude_table_data=("narrow",))
    assert not {"public.events_2025", "public.orders", "public.narrow"} & made.rows().keys()
    assert ["public", "narrow"] in made.facts["tablesWithoutData"]
    assert (made.facts["excludedTables"], made.facts["excludedTableData"]) == (["events*", "orders"], ["narrow"])


def test_the_snapshot_is_the_one_of_the_entering(postgres: PostgresServer, tmp_path: Path) -> None:
    with fresh_database(postgres) as name:
        postgres.query(name, "CREATE TABLE t AS SELECT generate_series(1, 100) AS v")
        with source(postgres.url(name), tmp_path) as entered:
            postgres.query(name, "DELETE FROM t WHERE v > 10")
            (made,) = dumps(entered)
        assert made.rows() == {"public.t": 100}


def test_no_child_is_given_the_password(
    postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fakes.around(postgres.bin, tmp_path / "bin", pg_dump="records", pg_dumpall="records")
    with fresh_database(postgres) as name, monkeypatch.context() as surroundings:
        surroundings.setenv("PGOPTIONS", "leaked")
        surroundings.setenv("PGHOSTADDR", "127.9.9.9")  # nobody listens there
        dump(postgres.url(name), tmp_path / "scratch", pg_bin=folder)
    environment, command = (folder / "environ").read_text(), (folder / "cmdline").read_text()
    assert "PGPASSFILE=" in environment
    assert "--no-password" in command
    for text in (environment, command):
        assert PASSWORD not in text
        assert "leaked" not in text
    assert {line.partition("=")[0] for line in environment.split("\n") if line} == {
        "PATH", "LC_ALL", "HOME", "TMPDIR", "PGPASSFILE", "PGCONNECT_TIMEOUT", "PGAPPNAME",
    }  # fmt: skip
    assert (folder / "passfile").read_text().split()[0] == "600"


def test_a_running_dump_shows_no_password_and_needs_its_file_no_more(
    server: PostgresServer, sample: str, tmp_path: Path
) -> None:
    with source(server.url(sample), tmp_path) as entered:
        (entry,) = entered.entries(Impatient(looks=100))
        buffer = memoryview(bytearray(4096))
        stack = contextlib.ExitStack()
        reader = stack.enter_context(entry.open())
        assert reader.readinto(buffer) == len(buffer)
        process = Path("/proc") / str(reader.pid)
        for file in ("cmdline", "environ"):
            assert PASSWORD.encode() not in (process / file).read_bytes()
        assert not list(tmp_path.rglob("pgpass"))
        with pytest.raises(SourceError, match="not read to its end"):
            stack.close()
        assert not process.exists()
    assert list(tmp_path.iterdir()) == []


def test_a_dump_that_waits_for_a_lock_can_be_cancelled(postgres: PostgresServer, tmp_path: Path) -> None:
    with fresh_database(postgres) as name:
        postgres.query(name, "CREATE TABLE t (v int)")
        with postgres.connect(name) as locker, source(postgres.url(name), tmp_path) as entered:
            locker.execute("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
            (entry,) = entered.entries(Impatient(looks=1))
            with pytest.raises(Cancelled), entry.open() as reader:
                reader.readinto(memoryview(bytearray(4096)))
    assert list(tmp_path.iterdir()) == []
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("stderr of")]


def test_a_probe_tells_what_a_backup_would_meet(postgres: PostgresServer, tmp_path: Path) -> None:
    with fresh_database(postgres) as name:
        postgres.query(
            name,
            """CREATE TABLE open AS SELECT generate_series(1, 50000) AS v; CREATE TABLE closed (v int);
            CREATE TABLE filtered (v int); ALTER TABLE filtered ENABLE ROW LEVEL SECURITY;
            CREATE ROLE "weak user" LOGIN PASSWORD 'we:ak'; GRANT SELECT ON open, filtered TO "weak user" """,
        )
        strong = source(postgres.url(name), tmp_path).probe()
        weak_url = postgres.url(name, user="weak user", password="we:ak")
        weak = source(weak_url, tmp_path).probe()
        with pytest.raises(SourceError, match=r"pg_dump failed.*permission denied for table closed"):
            dump(weak_url, tmp_path)
        postgres.query(name, 'DROP OWNED BY "weak user"; DROP ROLE "weak user"')
    assert (strong.databases, strong.unreadable, strong.warnings) == ((name,), (), ())
    assert strong.server_version.startswith("18.")
    assert strong.size > 1_000_000
    assert weak.unreadable == (f"{name}:public.closed", f"{name}:public.filtered")
    assert "2 tables or sequences cannot be read" in weak.warnings[0]


def test_rows_are_counted_by_sql_when_the_format_is_not_known(
    server: PostgresServer, sample: str, tmp_path: Path
) -> None:
    folder = fakes.around(server.bin, tmp_path / "bin", pg_dump="writes_a_newer_format")
    made: Dump = dump(server.url(sample), tmp_path / "scratch", pg_bin=folder)
    assert (made.facts["rowsFrom"], made.facts["archiveVersion"], made.facts["toc"]) == ("sql", "1.99", None)
    assert made.rows() == rows_by_sql(server, sample)
    assert "counted by SQL" in made.facts["warnings"][0]


def test_a_newer_pg_dump_is_used_with_a_warning(
    postgres16: PostgresServer, postgres18: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "VERSIONED_FOLDERS", ())
    with fresh_database(postgres16) as name:
        postgres16.query(name, "CREATE TABLE t AS SELECT generate_series(1, 3) AS v")
        made = dump(postgres16.url(name), tmp_path, pg_bin=postgres18.bin)
    assert made.rows() == {"public.t": 3}
    assert "does not restore into PostgreSQL 16" in made.facts["warnings"][0]

"""Dumps that go wrong: never a clean exit, one clear sentence, and nothing left behind."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import Cancelled, Different, EngineError, SourceError, TargetError
from engine.postgres.connection import parse_url
from engine.targets.postgres import PostgresTarget
from tests.engine.pgfakes import fakes
from tests.engine.pgfakes.use import Impatient, dump, dumps, read, restore, source, target
from tests.support.postgres import PASSWORD, PostgresServer, fresh_database

BROKEN_DUMPS = {
    "dies_midway": r"pg_dump was ended by signal 9",
    "fails_after_full_output": r"pg_dump failed \(exit status 1\): query failed: ERROR: could not read block 7",
    "ends_well_after_half": r"The dump ended inside of the data of public\.\w+: pg_dump did not finish",
    "says_nothing": r"ended inside of its table of contents: pg_dump did not finish",
    "adds_bytes": r"bytes behind its data that do not belong",
    "compresses": r"compressed by pg_dump",
}


@pytest.fixture(scope="module")
def database(postgres: PostgresServer) -> Iterator[str]:
    """Two megabytes in three tables."""
    with fresh_database(postgres) as name:
        for table in ("first", "second", "third"):
            postgres.query(
                name, f"CREATE TABLE {table} AS SELECT v, md5(v::text) AS t FROM generate_series(1, 15000) v"
            )
        yield name


@pytest.mark.parametrize("fault", BROKEN_DUMPS)
def test_a_broken_dump_never_ends_well(postgres: PostgresServer, database: str, tmp_path: Path, fault: str) -> None:
    folder = fakes.around(postgres.bin, tmp_path / "bin", pg_dump=fault)
    with pytest.raises(SourceError, match=BROKEN_DUMPS[fault]) as caught:
        dump(postgres.url(database), tmp_path / "scratch", pg_bin=folder)
    assert PASSWORD not in str(caught.value)
    assert list((tmp_path / "scratch").iterdir()) == []
    assert postgres.query("postgres", "SELECT count(*) FROM pg_stat_activity WHERE datname = %s", (database,)) == [(0,)]


def test_a_fault_of_one_run_does_not_touch_the_next(postgres: PostgresServer, database: str, tmp_path: Path) -> None:
    folder = fakes.around(postgres.bin, tmp_path / "bin", pg_dump="dies_midway")
    with source(postgres.url(database), tmp_path / "scratch", pg_bin=folder) as entered:
        (entry,) = entered.entries(Impatient(looks=99))
        for _ in range(2):
            with pytest.raises(SourceError):
                read(entry)
        with pytest.raises(AssertionError, match="only after the stream ended well"):
            entry.facts()
    assert sum(dump(postgres.url(database), tmp_path / "scratch").rows().values()) == 45_000


def test_a_dump_that_hangs_is_killed_when_we_stop(postgres: PostgresServer, database: str, tmp_path: Path) -> None:
    """This one ignores the request to end, so it takes the grace time and then a kill."""
    folder = fakes.around(postgres.bin, tmp_path / "bin", pg_dump="hangs")
    with source(postgres.url(database), tmp_path / "scratch", pg_bin=folder) as entered, pytest.raises(Cancelled):
        list(dumps(entered, Impatient(looks=1)))
    hung = Path("/proc") / (folder / "pid").read_text().strip()
    assert not hung.exists()
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_dump_that_does_not_end_after_its_output_is_a_failure(
    postgres: PostgresServer, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.sources.dump.ENDING_SECONDS", 1.0)
    folder = fakes.around(postgres.bin, tmp_path / "bin", pg_dump="lingers")
    with pytest.raises(SourceError, match="closed its output but did not end"):
        dump(postgres.url(database), tmp_path / "scratch", pg_bin=folder)
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_connection_that_breaks_in_the_middle_is_a_failure(
    postgres: PostgresServer, database: str, tmp_path: Path
) -> None:
    with source(postgres.url(database), tmp_path) as entered:
        (entry,) = entered.entries(Impatient(looks=99))
        stack = contextlib.ExitStack()
        reader = stack.enter_context(entry.open())
        assert reader.readinto(memoryview(bytearray(100)))
        # The rest does not fit into the pipe, so the server is in the middle of a table.
        broken = postgres.query(
            "postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND query ~ '^COPY'",
            (database,),
        )  # fmt: skip
        assert broken == [(True,)]
        while reader.readinto(memoryview(bytearray(1 << 20))):
            pass
        with pytest.raises(SourceError, match=r"pg_dump failed \(exit status 1\)"):
            stack.close()


def test_an_exception_of_the_reader_ends_pg_dump(postgres: PostgresServer, database: str, tmp_path: Path) -> None:
    with source(postgres.url(database), tmp_path) as entered:
        (entry,) = entered.entries(Impatient(looks=99))
        stack = contextlib.ExitStack()
        reader = stack.enter_context(entry.open())
        reader.readinto(memoryview(bytearray(100)))
        process = Path("/proc") / str(reader.pid)
        assert process.exists()
        with pytest.raises(ZeroDivisionError), stack:
            raise ZeroDivisionError
        assert not process.exists()
    assert list(tmp_path.iterdir()) == []


def test_a_snapshot_whose_session_ended_is_a_failure(postgres: PostgresServer, database: str, tmp_path: Path) -> None:
    with source(postgres.url(database), tmp_path) as entered:
        postgres.query(
            "postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (database,)
        )
        with pytest.raises(SourceError, match=r"pg_dump failed.*snapshot"):
            list(dumps(entered))


UNREACHABLE = [
    ({"host": "127.0.0.1", "port": "1"}, r"No database server answers at 127\.0\.0\.1:1", True),
    ({"host": "name.invalid"}, r"The database server's name name\.invalid is not known", True),
    ({"password": "wrong"}, r"refuses the password of keeper", False),
    ({"password": ""}, r"refuses the password of keeper", False),
    ({"user": "nobody-here"}, r"refuses the password of nobody-here", False),
    ({"database": "nothing"}, r"There is no database “nothing”", False),
    ({"sslmode": "require"}, r"sslmode require do not fit together", False),
]


@pytest.mark.parametrize(("changes", "sentence", "transient"), UNREACHABLE)
def test_a_server_that_cannot_be_used_is_named_with_what_to_do(
    postgres: PostgresServer, tmp_path: Path, changes: dict[str, str], sentence: str, transient: bool
) -> None:
    connection = parse_url(postgres.url("postgres"))
    values = {**connection.parameters(), "password": PASSWORD, **changes}
    database = changes.get("database", "postgres")
    query = "&".join(f"{key}={_encoded(values[key])}" for key in ("host", "port", "user", "password", "sslmode"))
    url = f"postgresql:///{database}?{query}"
    for action in (source(url, tmp_path).probe, source(url, tmp_path).__enter__):
        with pytest.raises(SourceError, match=sentence) as caught:
            action()
        assert caught.value.hint
        assert caught.value.transient == transient
        assert PASSWORD not in str(caught.value)
    if "database" not in changes:
        made = PostgresTarget(parse_url(url), scratch=tmp_path, path="")
        with pytest.raises(TargetError, match=sentence):
            made.probe({})


def test_too_many_connections_is_worth_another_try(postgres: PostgresServer, tmp_path: Path) -> None:
    with fresh_database(postgres) as name:
        postgres.query(
            name,
            f"CREATE ROLE shy LOGIN PASSWORD 'x' CONNECTION LIMIT 0; GRANT CONNECT ON DATABASE \"{name}\" TO shy",
        )
        with pytest.raises(SourceError, match="no connection left") as caught:
            source(postgres.url(name, user="shy", password="x"), tmp_path).probe()
        postgres.query(name, "DROP OWNED BY shy; DROP ROLE shy")
    assert caught.value.transient


def test_clients_older_than_the_server_are_refused(
    postgres16: PostgresServer, postgres18: PostgresServer, tmp_path: Path
) -> None:
    with pytest.raises(
        SourceError, match=r"The server is PostgreSQL 18, but the newest pg_dump in .* is 16\."
    ) as caught:
        dump(postgres18.url("postgres"), tmp_path, pg_bin=postgres16.bin)
    assert "PostgreSQL 18" in caught.value.hint


def test_a_scratch_folder_that_is_gone_is_named(postgres: PostgresServer, database: str, tmp_path: Path) -> None:
    entered = source(postgres.url(database), tmp_path / "scratch")
    (tmp_path / "scratch").rmdir()
    with pytest.raises(EngineError, match=r"scratch folder .* cannot be used"):
        entered.__enter__()


def test_globals_that_cannot_be_read_are_a_warning(postgres: PostgresServer, database: str, tmp_path: Path) -> None:
    folder = fakes.around(postgres.bin, tmp_path / "bin", pg_dumpall="restores_then_fails")
    facts = dump(postgres.url(database), tmp_path / "scratch", pg_bin=folder).facts
    assert facts["globals"] == ""
    assert [re.sub("read:.*", "read", warning) for warning in facts["warnings"]] == [
        "Roles and other globals could not be read"
    ]


RESTORES = {
    "restores_then_fails": r"pg_restore failed \(exit status 1\): could not execute query: ERROR: out of luck",
    "stops_reading": r"pg_restore failed \(exit status 1\): could not connect",
}


@pytest.mark.parametrize("fault", RESTORES)
def test_a_broken_restore_is_refused_and_its_database_dropped(
    postgres: PostgresServer, database: str, tmp_path: Path, fault: str
) -> None:
    made = dump(postgres.url(database), tmp_path / "scratch")
    folder = fakes.around(postgres.bin, tmp_path / "bin", pg_restore=fault)
    before = postgres.databases()
    with pytest.raises(TargetError, match=RESTORES[fault]) as caught:
        restore(made, target(postgres, "broken restore", tmp_path / "scratch", pg_bin=folder))
    assert re.search("The new database “broken restore_restore_[0-9a-f]+” was dropped again.", str(caught.value))
    assert postgres.databases() == before
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_restore_that_differs_is_told_and_kept(postgres: PostgresServer, database: str, tmp_path: Path) -> None:
    made = dump(postgres.url(database), tmp_path / "scratch")
    folder = fakes.around(postgres.bin, tmp_path / "bin", pg_restore="restores_nothing")
    with pytest.raises(Different, match=r"differs from what was backed up\. The table public\.first is missing"):
        restore(made, target(postgres, "differs", tmp_path / "scratch", pg_bin=folder))
    assert "differs" in postgres.databases()
    postgres.drop_database("differs")


def test_pg_restore_is_not_given_the_password_either(postgres: PostgresServer, database: str, tmp_path: Path) -> None:
    made = dump(postgres.url(database), tmp_path / "scratch")
    folder = fakes.around(postgres.bin, tmp_path / "bin", pg_restore="records")
    restore(made, target(postgres, "quiet", tmp_path / "scratch", pg_bin=folder))
    postgres.drop_database("quiet")
    command = (folder / "cmdline").read_text().splitlines()
    assert {"--exit-on-error", "--no-password"} < set(command)
    assert any(argument.startswith("--dbname=host='127.0.0.1'") for argument in command)
    assert PASSWORD not in (folder / "cmdline").read_text() + (folder / "environ").read_text()
    assert (folder / "passfile").read_text().split()[0] == "600"


def _encoded(value: str) -> str:
    return "".join(f"%{byte:02X}" for byte in value.encode())

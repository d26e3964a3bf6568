"""Logins that may not read everything, and client programs that leave a child behind: one sentence, and what to do."""

from __future__ import annotations

import contextlib
import os
import secrets
import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import SourceError
from tests.engine.pgfakes import fakes
from tests.engine.pgfakes.use import dump
from tests.support.postgres import PostgresServer, fresh_database

END_MILLISECONDS = 20_000


@contextlib.contextmanager
def login(server: PostgresServer, database: str) -> Iterator[str]:
    """A role that may sign in and connect, and nothing else."""
    name = f"reader_{secrets.token_hex(6)}"
    server.query("postgres", f"CREATE ROLE {name} LOGIN PASSWORD '{server.password}'")
    try:
        yield name
    finally:
        server.query(database, f"DROP OWNED BY {name}; DROP ROLE {name}")


def has_ended(pid: int) -> bool:
    """Whether a process, not a child of ours, ends soon."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        waiter = select.poll()
        waiter.register(descriptor, select.POLLIN)
        return bool(waiter.poll(END_MILLISECONDS))
    finally:
        os.close(descriptor)


def test_a_child_of_pg_dump_that_keeps_its_output_open_is_a_failure(
    postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.postgres.process.HELD_SECONDS", 1.0)
    folder = fakes.around(postgres.bin, tmp_path / "bin", pg_dump="leaves_a_child")
    with (
        fresh_database(postgres) as name,
        pytest.raises(SourceError, match="a program that it started keeps its output open"),
    ):
        dump(postgres.url(name), tmp_path / "scratch", pg_bin=folder)
    assert has_ended(int((folder / "child").read_text()))
    assert list((tmp_path / "scratch").iterdir()) == []


RIGHTS = {
    "a table": ("REVOKE ALL ON first FROM PUBLIC", "permission denied for table"),
    "a schema": (
        "GRANT SELECT ON first TO PUBLIC; CREATE SCHEMA closed; CREATE TABLE closed.part (v int)",
        "permission denied for schema",
    ),
    "a sequence": (
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO PUBLIC; CREATE SEQUENCE s",
        "permission denied for|may lack SELECT",
    ),
}


@pytest.mark.parametrize("what", RIGHTS)
def test_missing_rights_are_named_with_what_the_login_needs(
    postgres: PostgresServer, tmp_path: Path, what: str
) -> None:
    statements, said = RIGHTS[what]
    with fresh_database(postgres) as name:
        postgres.query(name, "CREATE TABLE first (v int)")
        for statement in statements.split("; "):
            postgres.query(name, statement)
        with login(postgres, name) as user, pytest.raises(SourceError, match=said) as caught:
            dump(postgres.url(name, user=user), tmp_path / "scratch")
    for right in ("CONNECT", "USAGE", "SELECT", "pg_read_all_data", "docs/configuration.md"):
        assert right in caught.value.hint


def test_a_login_with_the_documented_rights_can_dump(postgres: PostgresServer, tmp_path: Path) -> None:
    with fresh_database(postgres) as name:
        postgres.query(name, "CREATE SCHEMA other")
        postgres.query(name, "CREATE TABLE other.first AS SELECT 1 AS v")
        postgres.query(name, "CREATE SEQUENCE other.numbers")
        with login(postgres, name) as user:
            postgres.query(name, f"GRANT pg_read_all_data TO {user}")
            assert dump(postgres.url(name, user=user), tmp_path / "scratch").rows() == {"other.first": 1}


def test_rows_hidden_by_a_policy_are_an_error_and_not_left_out(postgres: PostgresServer, tmp_path: Path) -> None:
    with fresh_database(postgres) as name:
        postgres.query(name, "CREATE TABLE first AS SELECT 1 AS v")
        postgres.query(name, "ALTER TABLE first ENABLE ROW LEVEL SECURITY")
        with login(postgres, name) as user:
            postgres.query(name, f"GRANT pg_read_all_data TO {user}")
            with pytest.raises(SourceError, match="row-level security") as caught:
                dump(postgres.url(name, user=user), tmp_path / "scratch")
    assert "BYPASSRLS" in caught.value.hint

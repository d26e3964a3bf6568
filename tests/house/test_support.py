"""What other tests lean on: the servers are real and of the version asked for, commands end when they are told to."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import psycopg
import pytest

from tests.support.command import CommandLine, Outcome, Started
from tests.support.postgres import PostgresServer, fresh_database, start_server


@pytest.fixture(params=["postgres16", "postgres18"])
def server(request: pytest.FixtureRequest) -> PostgresServer:
    server: PostgresServer = request.getfixturevalue(request.param)
    return server


def test_a_server_and_its_programs_are_of_the_version_asked_for(server: PostgresServer) -> None:
    assert server.query("postgres", "SHOW server_version_num")[0][0].startswith(str(server.major))
    for program in ("pg_dump", "pg_restore", "psql", "pg_dumpall"):
        version = subprocess.check_output([server.bin / program, "--version"], text=True)
        assert f"(PostgreSQL) {server.major}." in version


def test_its_url_is_what_other_programs_understand(server: PostgresServer) -> None:
    with fresh_database(server, 'host=evil dbname=x/"%') as name:
        shown = subprocess.check_output(
            [server.bin / "psql", "-XAt", "-c", "SELECT current_database()", server.url(name)], text=True
        )
        assert shown.rstrip("\n") == name
        assert name in server.databases()
    assert name not in server.databases()


def test_its_password_is_asked_for(server: PostgresServer) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(server.url(password="wrong"))


def test_a_stopped_server_leaves_nothing() -> None:
    with start_server(16) as server:
        children = [child.pid for child in psutil.Process(server.pid).children()]
        assert children
    assert not server.running()
    assert not server.socket_folder.exists()
    assert not [pid for pid in children if lives(pid)]


def test_a_command_sees_only_what_it_is_given(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://somewhere")
    assert set(cli.base_environment()) == {"PATH", "LANG", "PYTHONPATH", "HOLDFAST_HOME"}


def lives(pid: int) -> bool:
    """Is there such a process, and is it more than an entry that nobody has collected yet?"""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_a_command_runs_in_a_home_of_its_own(cli: CommandLine) -> None:
    outcome = cli("--version", code=0)
    assert outcome.stdout.rstrip().endswith("0.1.0")
    assert cli.home != CommandLine(cli.folder / "other").home
    with pytest.raises(AssertionError, match="expected exit code 0, got exit code 2"):
        cli("no-such-command", code=0)


def start(tmp_path: Path, source: str, stdin: bytes = b"") -> Started:
    return Started([sys.executable, "-c", source], env={"PATH": ""}, cwd=tmp_path, stdin=stdin)


def test_a_command_reads_its_input_and_tells_how_it_ended(tmp_path: Path) -> None:
    started = start(tmp_path, "import sys; print(input()); print('oh', file=sys.stderr); sys.exit(3)", b'{"a": 1}\n')
    outcome = started.wait()
    started.close()
    assert (outcome.code, outcome.json, outcome.stderr) == (3, {"a": 1}, "oh\n")
    with pytest.raises(AssertionError, match="not one JSON document"):
        _ = Outcome(0, b"text", "").json


def test_a_killed_command_and_its_children_are_gone(tmp_path: Path) -> None:
    source = (
        "import subprocess, sys; p = subprocess.Popen(['/bin/sleep', '60']); print(p.pid, file=sys.stderr); p.wait()"
    )
    started = start(tmp_path, source)
    while not started.stderr_so_far().endswith("\n"):
        assert started.running()
    child = int(started.stderr_so_far())
    assert started.kill().code == -9
    assert lives(child)
    started.close()
    deadline = time.monotonic() + 10
    while lives(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not lives(child)

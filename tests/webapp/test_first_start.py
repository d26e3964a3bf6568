"""The first start: what it makes protects Holdfast itself, wherever its database is; what lacks is told at once."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from engine.progress import Silent
from tests.support.command import CommandLine
from tests.support.postgres import PostgresServer, fresh_database
from webapp import first_start
from webapp.installation import Installation, open_installation
from webapp.models import Configuration, Run
from webapp.models.run import SUCCEEDED
from webapp.services import backups, runs
from webapp.services.repositories import silent
from webapp.settings import read_settings


@pytest.fixture
def own_database(tmp_path: Path, postgres: PostgresServer) -> Iterator[tuple[Installation, str]]:
    """An installation whose database is on a server; and its URL."""
    with fresh_database(postgres) as name:
        url = postgres.url(name)
        environment = {
            "HOLDFAST_HOME": str(tmp_path / "home"),
            "HOLDFAST_DATABASE_URL": url,
            "HOLDFAST_PG_BIN": str(postgres.bin),
        }
        installation = open_installation(read_settings(environment))
        yield installation, url
        installation.close()


def test_a_metadata_database_on_a_server_is_backed_up_too(own_database: tuple[Installation, str]) -> None:
    installation, url = own_database
    told = first_start.prepare(installation)
    assert any("password" in line for line in told)
    with installation.database.reading() as session:
        (waiting,) = session.scalars(select(Run.public_id))
    runs.request_cancel(installation, waiting)
    order = backups.Order(first_start.OWN, "local:test")
    made = backups.create(installation, order, cwd=installation.settings.home, progress=Silent(), tell=silent)
    assert (made.run.state, made.run.error) == (SUCCEEDED, None)
    databases = {each["name"]: each["tables"] for each in (made.run.result or {})["databases"]}
    assert list(databases) == [url.rpartition("/")[2]]
    assert min(databases.values()) > 10
    with installation.database.reading() as session:
        (row,) = session.scalars(select(Configuration).where(Configuration.id == first_start.OWN))
    secret = url.partition("://")[2].partition("@")[0].partition(":")[2]
    assert secret not in json.dumps(row.document)
    assert row.sealed is not None
    assert first_start.prepare(installation) == []


@pytest.mark.parametrize(
    ("url", "source"),
    [
        ("sqlite:////srv/hold fast/own.db", "sqlite:////srv/hold%20fast/own.db"),
        ("postgresql+psycopg://u:a$${b@h/d", "postgresql://u:a%24%24{b@h/d"),
        ("postgres://u@h/d", "postgresql://u@h/d"),
    ],
)
def test_the_database_as_a_source(url: str, source: str) -> None:
    assert first_start._own_database(url) == source


def test_what_the_machine_lacks_is_told_at_once(cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        environment = {
            "HOLDFAST_HOME": str(tmp_path / "file"),
            "HOLDFAST_BIND": f"127.0.0.1:{taken.getsockname()[1]}",
            "HOLDFAST_DATABASE_URL": "postgresql://nobody:secret@127.0.0.1:1/none",
        }
        outcome = cli("serve", env=environment, code=2)
    assert [name for name in environment if f"{name}:" not in outcome.stderr] == []
    assert "secret" not in outcome.stderr

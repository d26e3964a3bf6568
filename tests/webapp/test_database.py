"""The database: made and upgraded by whoever comes first, private, refused when newer, the same on PostgreSQL."""

from __future__ import annotations

import multiprocessing
import sqlite3
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, StatementError

from tests.support.postgres import PostgresServer, fresh_database
from tests.webapp.support import open_at_once
from webapp import create_app
from webapp.database import current_revision, open_database
from webapp.errors import Unavailable
from webapp.extensions import INSTALLATION, db
from webapp.migrations import HEAD
from webapp.migrations.upgrade import scripts
from webapp.models import Base, Configuration, RunProblem
from webapp.settings import read_settings

NOW = datetime(2026, 11, 23, 2, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/state ?#%20.db"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    with fresh_database(server, "holdfast_service") as name:
        yield server.url(name)


def configuration(**changes: object) -> Configuration:
    values = {"id": "shop", "name": "Shop", "document": {"a": [1, None, "ü"]}, "enabled": True, **changes}
    return Configuration(**{"created_at": NOW, "updated_at": NOW, **values})


def test_the_migrations_make_exactly_the_models(url: str) -> None:
    database = open_database(url)
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    database.close()


def test_rows_come_back_as_they_were_stored(url: str) -> None:
    database = open_database(url)
    east = timezone(timedelta(hours=5, minutes=45))
    with database.transaction() as session:
        session.add(configuration(created_at=NOW.astimezone(east)))
    with database.reading() as session:
        found = session.get_one(Configuration, "shop")
    assert (found.document, found.created_at, found.deleted_at) == ({"a": [1, None, "ü"]}, NOW, None)
    assert found.created_at.tzinfo is UTC
    database.close()


def test_naive_times_and_dangling_references_are_refused(url: str) -> None:
    database = open_database(url)
    with pytest.raises(StatementError, match="without a zone"), database.transaction() as session:
        session.add(configuration(created_at=NOW.replace(tzinfo=None)))
    with pytest.raises(IntegrityError), database.transaction() as session:
        session.add(RunProblem(run_id=7, position=0, kind="x", path="x", reason="x"))
    with database.reading() as session:
        assert session.get(Configuration, "shop") is None
    database.close()


def test_a_newer_database_is_refused_and_left_alone(url: str) -> None:
    database = open_database(url)
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    with pytest.raises(Unavailable, match="9999"):
        open_database(url)


def test_head_is_the_newest_file() -> None:
    assert scripts().get_current_head() == HEAD


def test_up_from_empty_and_down_again(url: str) -> None:
    database = open_database(url)
    assert current_revision(database.engine) == HEAD
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext

    directory = scripts()
    down = EnvironmentContext(Config(), directory, fn=lambda at, _: directory._downgrade_revs("base", at))
    with database.engine.begin() as connection, down:
        down.configure(connection=connection)
        down.run_migrations()
    assert current_revision(database.engine) is None
    database.close()
    open_database(url).close()


def test_several_processes_may_open_an_empty_database_at_once(url: str) -> None:
    context = multiprocessing.get_context("spawn")
    gate, results = context.Barrier(4), context.Queue()
    processes = [context.Process(target=open_at_once, args=(url, gate, results)) for _ in range(4)]
    for process in processes:
        process.start()
    found = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert found == [HEAD] * 4
    assert [process.exitcode for process in processes] == [0] * 4


def test_sqlite_is_private_and_journals_ahead(tmp_path: Path) -> None:
    path = tmp_path / "holdfast.db"
    path.touch(mode=0o644)
    database = open_database(f"sqlite:///{path}")
    with database.transaction() as session:
        assert session.scalar(text("PRAGMA journal_mode")) == "wal"
        assert session.scalar(text("PRAGMA foreign_keys")) == 1
        assert session.scalar(text("PRAGMA busy_timeout")) == 30_000
        session.add(configuration())
        session.flush()
        files = {item.name: stat.S_IMODE(item.stat().st_mode) for item in tmp_path.iterdir()}
    assert set(files.values()) == {0o600}
    assert "holdfast.db-wal" in files
    database.close()


def test_a_reader_does_not_wait_for_a_writer(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/holdfast.db")
    with database.transaction() as writer:
        writer.add(configuration())
        writer.flush()
        with database.reading() as reader:
            assert reader.get(Configuration, "shop") is None
    with database.reading() as reader:
        assert reader.get(Configuration, "shop") is not None
    database.close()


@pytest.mark.parametrize("kind", ["folder", "garbage", "missing"])
def test_a_place_that_is_no_database_is_told_in_one_sentence(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "holdfast.db"
    if kind == "folder":
        path.mkdir()
    elif kind == "garbage":
        path.write_bytes(b"this is no database " * 100)
    else:
        path = tmp_path / "nowhere" / "holdfast.db"
    with pytest.raises(Unavailable, match=r"holdfast\.db"):
        open_database(f"sqlite:///{path}")
    if kind == "garbage":
        assert path.read_bytes() == b"this is no database " * 100


def test_a_server_that_is_down_is_told_without_the_password() -> None:
    with pytest.raises(Unavailable, match="HOLDFAST_DATABASE_URL") as caught:
        open_database("postgresql://holdfast:canary@127.0.0.1:1/holdfast")
    assert "canary" not in str(caught.value)


def test_the_home_may_have_any_name(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/a?b#c%41.db")
    database.close()
    assert sqlite3.connect(tmp_path / "a?b#c%41.db").execute("SELECT version_num FROM alembic_version").fetchone()


def test_the_application_uses_the_same_connections(tmp_path: Path) -> None:
    app = create_app(read_settings({"HOLDFAST_HOME": str(tmp_path)}))
    database = app.extensions[INSTALLATION].database
    with database.transaction() as session:
        session.add(configuration())
    with app.app_context():
        assert db.engine is database.engine
        assert db.session.get(Configuration, "shop").name == "Shop"
    database.close()

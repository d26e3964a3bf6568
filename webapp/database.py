"""The service's own database: SQLite in the home, or PostgreSQL; opened at the newest revision, in short transactions.

SQLite: WAL, `BEGIN IMMEDIATE` (a writer waits at its beginning, never fails in its middle), 30 s of waiting, 0600.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DatabaseError, DBAPIError, NoSuchTableError, OperationalError, ProgrammingError
from sqlalchemy.orm import Session

from webapp.errors import Unavailable
from webapp.migrations import HEAD

BUSY_SECONDS = 30
SQLITE_PREFIX = "sqlite:///"
_READING = "holdfast_reading"


class Database:
    """The engine (a pool of connections) and its transactions. `describe` is for people and holds no password."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._reader = engine.execution_options(**{_READING: True})

    def describe(self) -> str:
        return self.engine.url.render_as_string(hide_password=True)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session that commits when the block ends well and rolls back when it raises. Rows may be read after it.

        Raises Unavailable when the database is locked, full, gone or read-only.
        """
        with self._session(self.engine) as session:
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that only reads: one snapshot, and no waiting for writers. Raises Unavailable."""
        with self._session(self._reader) as session:
            yield session

    @contextmanager
    def _session(self, engine: Engine) -> Iterator[Session]:
        try:
            with Session(engine, expire_on_commit=False) as session, session.begin():
                yield session
        except DatabaseError as error:
            # The plain class itself is SQLite's for a file that is damaged or no database at all.
            if isinstance(error, OperationalError) or type(error) is DatabaseError:
                raise _unavailable(self.describe(), error) from error
            raise

    def close(self) -> None:
        """Gives up all connections."""
        self.engine.dispose()


def open_database(url: str) -> Database:
    """The database at `url`, made and upgraded where needed. Raises Unavailable, also when a newer Holdfast has
    upgraded it."""
    database = Database(make_engine(url))
    try:
        if current_revision(database.engine) != HEAD:
            from webapp.migrations.upgrade import upgrade

            upgrade(database.engine)
    except DBAPIError as error:
        database.close()
        raise _unavailable(database.describe(), error) from error
    except BaseException:
        database.close()
        raise
    return database


def make_engine(url: str) -> Engine:
    """An engine with the habits of this module, for `sqlite:///…` and `postgresql://…`."""
    if url.startswith(SQLITE_PREFIX):
        path = Path(url.removeprefix(SQLITE_PREFIX))
        _prepare_file(path)
        engine = create_engine(
            URL.create("sqlite", database=str(path)), connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False}
        )
        event.listen(engine, "connect", _on_sqlite_connect)
        event.listen(engine, "begin", _begin)
        return engine
    return create_engine(make_url(url).set(drivername="postgresql+psycopg"), pool_pre_ping=True)


def current_revision(engine: Engine) -> str | None:
    """The revision that the database is at; None when it is empty. One cheap query."""
    try:
        with engine.execution_options(**{_READING: True}).connect() as connection:
            return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    except (OperationalError, ProgrammingError, NoSuchTableError) as error:
        if _is_missing_table(error):
            return None
        raise


def _prepare_file(path: Path) -> None:
    """The file exists with mode 0600 before SQLite opens it; its journal files take over that mode.

    A file that is there is not opened here: closing it would drop the locks that this process holds through SQLite.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        if path.is_file() and path.stat().st_mode & 0o077:
            path.chmod(0o600)
    except OSError as error:
        raise Unavailable(
            f"The database {path} cannot be made: {error.strerror}.",
            hint="Check HOLDFAST_HOME or HOLDFAST_DATABASE_URL.",
        ) from error


def _on_sqlite_connect(connection: Any, record: object) -> None:
    # The driver would begin transactions by itself, and too late; with None it leaves them to us.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
    _write_ahead(cursor)
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _write_ahead(cursor: Any) -> None:
    """Switches a new file to WAL. SQLite does not wait for others while it switches, so we do."""
    deadline = monotonic() + BUSY_SECONDS
    while cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or monotonic() > deadline:
                raise
            sleep(0.05)


def _begin(connection: Connection) -> None:
    reading = connection.get_execution_options().get(_READING, False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _is_missing_table(error: Exception) -> bool:
    cause = getattr(error, "orig", None)
    return "no such table" in str(cause) or getattr(cause, "sqlstate", None) == "42P01"


def _unavailable(place: str, error: DBAPIError) -> Unavailable:
    reason = " ".join(str(error.orig).split())
    hint = "Check that it is on a local disk with free space and that this user may write it."
    if "locked" in reason:
        hint = "Another process holds it; try again when that has ended."
    if not place.startswith("sqlite"):
        hint = "Check HOLDFAST_DATABASE_URL and that the server runs."
    return Unavailable(f"The database {place} cannot be used: {reason}.", hint=hint)

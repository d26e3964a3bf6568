"""PostgreSQL databases as streams: pg_dump inside a snapshot that was exported when the source was entered.

A stream ends well only if pg_dump ended with status 0 and the archive that passed by was structurally complete.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import SourceError
from engine.postgres import catalog
from engine.postgres.connection import Connection, parse_url
from engine.postgres.process import Child, Credentials, credentials
from engine.postgres.programs import Programs, find_dumper
from engine.postgres.session import connect, connect_anywhere, errors_in_words
from engine.progress import Progress
from engine.sources.dump import RIGHTS, DumpStream, archive_facts, table_fact

if TYPE_CHECKING:
    import psycopg

    Session = psycopg.Connection[tuple[Any, ...]]

KIND = "postgres"
# pg_dump waits this long for a table that somebody holds locked exclusively, then gives up with an error.
LOCK_WAIT_MILLISECONDS = 600_000
GLOBALS_SECONDS = 120
MANY = 5


@dataclass(frozen=True)
class Config:
    """One database, or with no name or `*` all of a server. `sslmode` and `sslrootcert` go before those of the URL;
    the exclusions are patterns as pg_dump takes them (`audit.*`)."""

    url: str = field(repr=False)
    sslmode: str = ""
    sslrootcert: str = ""
    exclude_tables: tuple[str, ...] = ()
    exclude_table_data: tuple[str, ...] = ()


@dataclass(frozen=True)
class Probe:
    """What a test of a source found out. `size` is a rough number of bytes; what is unreadable is `schema.table` with
    the database in front."""

    server_version: str
    client_version: str
    databases: tuple[str, ...]
    size: int
    unreadable: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Database:
    """One database of the entered source, with the session that holds its snapshot."""

    connection: Connection
    session: Session
    snapshot: str
    facts: dict[str, Any]
    expected: int


class PostgresSource:
    """See the module. `scratch` is an existing private folder, `path` a PATH, `pg_bin` the only folder to take client
    programs from, if given."""

    def __init__(self, config: Config, *, scratch: Path, path: str, pg_bin: Path | None = None) -> None:
        """Raises SourceError when the configuration cannot work."""
        self._config = config
        self._connection = parse_url(config.url, sslmode=config.sslmode, sslrootcert=config.sslrootcert)
        self._scratch = scratch
        self._path = path
        self._pg_bin = pg_bin
        self._stack = contextlib.ExitStack()
        self._databases: list[_Database] = []
        self._programs: Programs | None = None
        self._server: dict[str, Any] = {}

    def describe(self) -> str:
        """For people, without the password."""
        return self._connection.describe()

    def probe(self) -> Probe:
        """Connects and looks, without a backup. Raises SourceError when a backup cannot work at all."""
        with errors_in_words(self._connection), contextlib.ExitStack() as stack:
            names = self._names(stack)
            version, programs, size = "", None, 0
            unreadable: list[str] = []
            for name in names:
                session = _closed_with(stack, connect(self._connection.with_database(name)))
                server = catalog.server_version(session)
                version = server.text
                programs = find_dumper(server.number, pg_bin=self._pg_bin, path=self._path)
                size += catalog.expected_size(session)
                unreadable += [f"{name}:{table}" for table in catalog.unreadable(session)]
            assert programs is not None, "there is at least one database"
        warnings = [programs.warning] if programs.warning else []
        if unreadable:
            shown = ", ".join(unreadable[:MANY]) + (" …" if len(unreadable) > MANY else "")
            warnings.append(f"{len(unreadable)} tables or sequences cannot be read with this login: {shown}. {RIGHTS}")
        return Probe(version, programs.version, tuple(names), size, tuple(unreadable), tuple(warnings))

    def __enter__(self) -> PostgresSource:
        """Takes one snapshot of every database. Raises SourceError."""
        try:
            for name in self._names(self._stack):
                self._databases.append(self._freeze(self._connection.with_database(name)))
            self._server |= self._globals()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._databases.clear()
        self._stack.close()

    def entries(self, progress: Progress) -> Iterator[PostgresEntry]:
        """Each database once. `progress.checkpoint` is called while pg_dump keeps us waiting."""
        assert self._programs is not None, "entries are there only inside of the source's with block"
        for database in self._databases:
            yield PostgresEntry(database, self._config, self._programs, self._server, self._scratch, progress)

    def _names(self, stack: contextlib.ExitStack) -> list[str]:
        """The databases to dump."""
        if self._connection.database:
            return [self._connection.database]
        session = _closed_with(stack, connect_anywhere(self._connection))
        with errors_in_words(self._connection):
            names = catalog.databases(session)
        if not names:
            raise SourceError(f"The server at {self.describe()} has no database that this login may connect to.")
        return names

    def _freeze(self, connection: Connection) -> _Database:
        session = _closed_with(self._stack, connect(connection))
        server = catalog.server_version(session)
        if self._programs is None:
            self._programs = find_dumper(server.number, pg_bin=self._pg_bin, path=self._path)
            self._server = {"serverVersion": server.number, "serverVersionText": server.text}
        with errors_in_words(connection):
            session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            row = session.execute("SELECT pg_export_snapshot()").fetchone()
            assert row is not None
            return _Database(
                connection, session, row[0], catalog.database_facts(session), catalog.expected_size(session)
            )

    def _globals(self) -> dict[str, Any]:
        """Roles and tablespaces of the server as SQL, without passwords; a warning where they cannot be read."""
        assert self._programs is not None
        connection = self._databases[0].connection
        command = [
            self._programs.path("pg_dumpall"), "--globals-only", "--no-role-passwords", "--no-password",
            f"--dbname={connection.conninfo()}",
        ]  # fmt: skip
        with credentials(connection, self._scratch) as login:
            try:
                done = subprocess.run(
                    command, stdin=subprocess.DEVNULL, capture_output=True, env=login.environment, cwd=login.folder,
                    timeout=GLOBALS_SECONDS, check=False,
                )  # fmt: skip
            except (OSError, subprocess.TimeoutExpired) as failure:
                return {"globals": "", "globalsWarning": f"Roles could not be read: {type(failure).__name__}."}
            if done.returncode:
                reason = login.redact(" ".join(done.stderr.decode("utf-8", "replace").split()))[:300]
                return {"globals": "", "globalsWarning": f"Roles and other globals could not be read: {reason}"}
        return {"globals": done.stdout.decode("utf-8", "replace"), "globalsWarning": ""}


class PostgresEntry:
    """One database of an entered source."""

    kind = KIND

    def __init__(
        self,
        database: _Database,
        config: Config,
        programs: Programs,
        server: dict[str, Any],
        scratch: Path,
        progress: Progress,
    ) -> None:
        self._database = database
        self._config = config
        self._programs = programs
        self._server = server
        self._scratch = scratch
        self._progress = progress
        self._facts: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """The database's name."""
        return self._database.connection.database

    @property
    def expected(self) -> int:
        """Bytes that the tables take at the server."""
        return self._database.expected

    @contextlib.contextmanager
    def open(self) -> Iterator[DumpStream]:
        """The dump. On a clean exit pg_dump ended with 0 and the archive is complete, else SourceError is raised;
        an exception in the block ends pg_dump and passes on."""
        with credentials(self._database.connection, self._scratch) as login, self._start(login) as child:
            stream = DumpStream(child, login, self._progress)
            yield stream
            archive = stream.finish()
            self._facts = self._record(archive_facts(archive), child.warnings())

    def facts(self) -> dict[str, Any]:
        """After a clean exit from `open`: what a restore needs to know, in JSON types."""
        assert self._facts is not None, "there are facts only after the stream ended well"
        return self._facts

    def _start(self, login: Credentials) -> Child:
        command = [
            self._programs.path("pg_dump"),
            "--format=custom",
            "--compress=0",
            "--no-password",
            f"--snapshot={self._database.snapshot}",
            f"--lock-wait-timeout={LOCK_WAIT_MILLISECONDS}",
            *(f"--exclude-table={pattern}" for pattern in self._config.exclude_tables),
            *(f"--exclude-table-data={pattern}" for pattern in self._config.exclude_table_data),
            f"--dbname={self._database.connection.conninfo()}",
        ]
        try:
            return Child(command, login, writes=True)
        except OSError as failure:
            raise SourceError(f"pg_dump cannot be started: {failure.strerror or failure}.") from None

    def _record(self, archive: dict[str, Any], complaints: list[str]) -> dict[str, Any]:
        """The archive's facts, the server's and the database's together."""
        database, server = self._database.facts, dict(self._server)
        warnings = [self._programs.warning, server.pop("globalsWarning", ""), *complaints]
        if archive["rowsFrom"] == "sql":
            warnings.append("The rows were counted by SQL: this pg_dump's format is new to this version of Holdfast.")
            self._count(archive["tables"])
        owners = set(archive.pop("owners")) | set(database["roles"]) | {database["owner"]}
        owners |= {entry[0] for entry in database["acl"] or [] if entry[0]}
        owners |= {entry[0] for entry in database["settings"] if entry[0]}
        return {
            "format": "pg_dump-custom",
            "clientVersion": self._programs.version,
            **server,
            **database,
            **archive,
            "roles": sorted(owners),
            "excludedTables": list(self._config.exclude_tables),
            "excludedTableData": list(self._config.exclude_table_data),
            "warnings": [warning for warning in warnings if warning],
        }

    def _count(self, tables: list[dict[str, Any]]) -> None:
        """Rows by SQL inside of the snapshot, where the archive's reader could not count them."""
        session = self._database.session
        with errors_in_words(self._database.connection):
            # Which tables pg_dump's patterns leave out is its own knowledge, so then none can be listed.
            if not tables and not self._config.exclude_tables and not self._config.exclude_table_data:
                tables += [table_fact(schema, name) for schema, name in catalog.tables(session)]
            for table in tables:
                if table["rows"] is None:
                    table["rows"] = catalog.count_rows(session, table["schema"], table["name"])


def _closed_with(stack: contextlib.ExitStack, session: Session) -> Session:
    """The session, to be closed with the stack. As its own context manager it would commit first, and raise when the
    server is gone by then; there is nothing to commit."""
    stack.callback(session.close)
    return session

"""Our own connections to a server (psycopg), with its errors in words."""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from engine.errors import EngineError, SourceError
from engine.postgres.connection import Connection

if TYPE_CHECKING:
    import psycopg

MAINTENANCE_DATABASES = ("postgres", "template1")
CONNECT_SECONDS = 15
APPLICATION = "holdfast"
# libpq would read a password file of the user where none is given: ours come with the URL or not at all.
NO_PASSWORD_FILE = "/nonexistent/holdfast/pgpass"
# A snapshot is held for as long as the dump takes, whatever limits the server or the role has.
UNLIMITED = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
TRANSACTION_TIMEOUT_SINCE = 170000


def connect(connection: Connection, *, error: type[EngineError] = SourceError) -> psycopg.Connection[tuple[Any, ...]]:
    """An autocommit connection without time limits. Raises `error` with one sentence and a hint."""
    import psycopg

    try:
        session = psycopg.connect(
            **_keywords(connection),
            autocommit=True,
            prepare_threshold=None,
        )
    except psycopg.Error as failure:
        raise translate(failure, connection, error=error) from None
    try:
        limits = [*UNLIMITED]
        if session.info.server_version >= TRANSACTION_TIMEOUT_SINCE:
            limits.append("transaction_timeout")
        session.execute(("; ".join(f"SET {name} = 0" for name in limits)).encode())
    except psycopg.Error as failure:
        session.close()
        raise translate(failure, connection, error=error) from None
    return session


def connect_anywhere(
    connection: Connection, *, error: type[EngineError] = SourceError
) -> psycopg.Connection[tuple[Any, ...]]:
    """A session on the same server in whatever database is always there: to list, create and drop databases."""
    try:
        return connect(connection.with_database(MAINTENANCE_DATABASES[0]), error=error)
    except EngineError as first:
        try:
            return connect(connection.with_database(MAINTENANCE_DATABASES[1]), error=error)
        except EngineError:
            raise first from None


@contextlib.contextmanager
def errors_in_words(connection: Connection, *, error: type[EngineError] = SourceError) -> Iterator[None]:
    """What psycopg raises in the block is raised as `error` with one sentence."""
    import psycopg

    try:
        yield
    except psycopg.Error as failure:
        raise translate(failure, connection, error=error) from None


def translate(failure: Exception, connection: Connection, *, error: type[EngineError] = SourceError) -> EngineError:
    """The server's or libpq's words as one sentence with a hint, the password taken out."""
    text = _flatten(str(failure), connection)
    lower = text.lower()
    place = _place(connection)
    for fragments, message, hint, transient in _known(connection, place):
        if any(fragment in lower for fragment in fragments):
            return error(message, hint=hint, transient=transient)
    return error(f"The database server at {place} refused: {text}.", hint="See the server's log.")


def _known(connection: Connection, place: str) -> tuple[tuple[tuple[str, ...], str, str, bool], ...]:
    """(what the text holds, message, hint, whether trying again makes sense), the most specific first."""
    database = connection.database
    user = connection.user or _own_name()
    return (
        (
            ("password authentication failed", "no password supplied", "authentication failed"),
            f"The database server at {place} refuses the password of {user}.",
            "Check user and password in the database URL; write special characters percent-encoded.",
            False,
        ),
        (
            ("too many clients", "too many connections", "connection slots"),
            f"The database server at {place} has no connection left for us.",
            "Try later, or raise max_connections or the limit of the role or database.",
            True,
        ),
        (
            ("certificate file", "private key file"),
            f"A TLS file for the database server at {place} cannot be used.",
            "Check the paths and permissions of sslrootcert, sslcert and sslkey.",
            False,
        ),
        (
            ("certificate verify failed", "server certificate", "root certificate"),
            f"The certificate of the database server at {place} is not trusted.",
            "Check sslrootcert and that the certificate names this host.",
            False,
        ),
        (
            (
                "does not support ssl",
                "ssl error",
                "no encryption",
                "requires ssl",
                "ssl off",
                "ssl is not enabled",
                "sslmode",
            ),
            f"The database server at {place} and sslmode {connection.sslmode} do not fit together.",
            "Set sslmode to what the server offers (disable, require, verify-full).",
            False,
        ),
        (
            ("no pg_hba.conf entry", "pg_hba.conf rejects"),
            f"The database server at {place} does not let {user} in from this host.",
            "Allow it in the server's pg_hba.conf.",
            False,
        ),
        (
            ("translate host name", "name or service not known", "failed to resolve", "no address associated"),
            f"The database server's name {connection.host} is not known.",
            "Check the host in the database URL.",
            True,
        ),
        (
            ("starting up", "shutting down", "not yet accepting", "recovery mode"),
            f"The database server at {place} is starting or stopping.",
            "Try again in a moment.",
            True,
        ),
        (
            (
                "connection refused",
                "timeout expired",
                "timed out",
                "no such file or directory",
                "no route",
                "unreachable",
            ),
            f"No database server answers at {place}.",
            "Check that it runs and that host and port are right.",
            True,
        ),
        (
            (f'database "{database}" does not exist'.lower(),),
            f"There is no database “{database}” at {place}.",
            "Check the name in the database URL.",
            False,
        ),
        (
            (f'role "{user}" does not exist'.lower(),),
            f"The database server at {place} knows no role {user}.",
            "Check the user in the database URL.",
            False,
        ),
    )


def _keywords(connection: Connection) -> dict[str, Any]:
    """Everything that libpq would else take from the environment of this process is given, or given as empty."""
    empty = dict.fromkeys(("host", "hostaddr", "options", "sslrootcert", "sslcert", "sslkey"), "")
    return {
        **empty,
        **connection.parameters(),
        "user": connection.user or _own_name(),
        "password": connection.password,
        "passfile": NO_PASSWORD_FILE,
        "target_session_attrs": "any",
        "connect_timeout": CONNECT_SECONDS,
        "application_name": APPLICATION,
        "client_encoding": "UTF8",
    }


def _own_name() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name


def _place(connection: Connection) -> str:
    if connection.host.startswith("/") or not connection.host:
        return f"{connection.host or 'the local socket'}, port {connection.port}"
    return (
        f"[{connection.host}]:{connection.port}" if ":" in connection.host else f"{connection.host}:{connection.port}"
    )


def _flatten(text: str, connection: Connection) -> str:
    """One line without psycopg's and libpq's introductions."""
    line = " ".join(text.split())
    for mark in ("FATAL: ", "ERROR: "):
        line = line.rpartition(mark)[2] if mark in line else line
    line = line.removeprefix("connection failed: ").strip().rstrip(".")
    return line.replace(connection.password, "***") if connection.password else line

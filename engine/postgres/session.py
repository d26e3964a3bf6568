"""Our own connections to a server (psycopg), with its errors in words."""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.errors import EngineError, SourceError
from engine.postgres.connection import Connection, hide

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


@dataclass(frozen=True)
class Failure:
    """What the text of an error holds, and how we say it. `transient`: trying again makes sense."""

    fragments: tuple[str, ...]
    message: str
    hint: str
    transient: bool = False


# The first that fits is taken, so the most specific come first. A server that speaks another language than English is
# quoted in its own words.
KNOWN = (
    Failure(
        ("password authentication failed", "no password supplied", "authentication failed"),
        "The database server at {place} refuses the password of {user}.",
        "Check user and password in the database URL; write special characters percent-encoded.",
    ),
    Failure(
        ("too many clients", "too many connections", "connection slots"),
        "The database server at {place} has no connection left for us.",
        "Try later, or raise max_connections or the limit of the role or database.",
        transient=True,
    ),
    Failure(
        ("certificate file", "private key file"),
        "A TLS file for the database server at {place} cannot be used.",
        "Check the paths and permissions of sslrootcert, sslcert and sslkey.",
    ),
    Failure(
        ("certificate verify failed", "server certificate", "root certificate"),
        "The certificate of the database server at {place} is not trusted.",
        "Check sslrootcert and that the certificate names this host.",
    ),
    Failure(
        ("does not support ssl", "ssl error", "no encryption", "requires ssl", "ssl off", "sslmode"),
        "The database server at {place} and sslmode {sslmode} do not fit together.",
        "Set sslmode to what the server offers (disable, require, verify-full).",
    ),
    Failure(
        ("no pg_hba.conf entry", "pg_hba.conf rejects"),
        "The database server at {place} does not let {user} in from this host.",
        "Allow it in the server's pg_hba.conf.",
    ),
    Failure(
        ("translate host name", "name or service not known", "failed to resolve", "no address associated"),
        "The database server's name {host} is not known.",
        "Check the host in the database URL.",
        transient=True,
    ),
    Failure(
        ("starting up", "shutting down", "not yet accepting", "recovery mode"),
        "The database server at {place} is starting or stopping.",
        "Try again in a moment.",
        transient=True,
    ),
    Failure(
        ("connection refused", "timeout expired", "timed out", "no such file or directory", "no route", "unreachable"),
        "No database server answers at {place}.",
        "Check that it runs and that host and port are right.",
        transient=True,
    ),
    Failure(
        ('database "{database}" does not exist',),
        "There is no database “{database}” at {place}.",
        "Check the name in the database URL.",
    ),
    Failure(
        ('role "{user}" does not exist',),
        "The database server at {place} knows no role {user}.",
        "Check the user in the database URL.",
    ),
)


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
    names = {
        "place": _place(connection),
        "host": connection.host,
        "user": connection.user or _own_name(),
        "database": connection.database,
        "sslmode": connection.sslmode,
    }
    lower = text.lower()
    for known in KNOWN:
        if any(fragment.format(**names).lower() in lower for fragment in known.fragments):
            return error(known.message.format(**names), hint=known.hint, transient=known.transient)
    return error(f"The database server at {names['place']} refused: {text}.", hint="See the server's log.")


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
    return hide(line, connection.password)

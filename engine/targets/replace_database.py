"""A database put in the place of another at the same server: looked at, both renamed in one transaction, put in order
after a kill. Who is who is told by object ids, so at every moment it can be told whether the swap has happened."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.errors import EngineError, TargetError
from engine.postgres import catalog
from engine.postgres.connection import NAME_BYTES, Connection
from engine.postgres.session import MAINTENANCE_DATABASES, connect, connect_anywhere, errors_in_words, translate
from engine.targets.database import apply_properties

if TYPE_CHECKING:
    import psycopg

    Session = psycopg.Connection[tuple[Any, ...]]

_TRIES = 3
_USHER_SECONDS = 0.2
_PROPERTIES = ("owner", "settings", "acl", "connectionLimit", "comment")
_IN_THE_WAY = """
    SELECT (SELECT count(*) FROM pg_prepared_xacts WHERE database = d.datname),
           (SELECT count(*) FROM pg_replication_slots WHERE database = d.datname),
           (SELECT count(*) FROM pg_subscription WHERE subdbid = d.oid)
    FROM pg_database d WHERE d.datname = %s
"""
_FOUND = """
    SELECT d.oid::bigint, d.datistemplate, pg_get_userbyid(d.datdba), pg_has_role(d.datdba, 'MEMBER'),
           r.rolname, r.rolsuper, r.rolsuper OR r.rolcreatedb
    FROM pg_database d, pg_roles r WHERE d.datname = %s AND r.rolname = current_user
"""
_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"


@dataclass(frozen=True)
class DatabaseState:
    """What stands in a database: `oid` tells it from another of the same name; `rows` are exact; `bytes` is what it
    takes at the server; `digest` (64 hex digits) changes with any table, row or owner."""

    oid: int
    tables: int
    rows: int
    bytes: int
    digest: str


@dataclass(frozen=True)
class Swap:
    """The database `incoming` shall have the name that `connection` names, and the one that has it now `outgoing`.
    `new` and `old` are their object ids."""

    connection: Connection
    incoming: str
    outgoing: str
    new: int
    old: int


def beside_name(base: str, ending: str) -> str:
    """`<base>_<ending>`, the base cut at a character so that the whole fits into PostgreSQL's 63 bytes."""
    tail = f"_{ending}"
    return base.encode()[: NAME_BYTES - len(tail.encode())].decode("utf-8", "ignore") + tail


def refuse(connection: Connection) -> None:
    """Raises TargetError unless the database can be replaced by this login."""
    name = connection.database
    if name in MAINTENANCE_DATABASES:
        raise TargetError(f"The database “{name}” belongs to the server itself.", hint="Choose another one.")
    with _maintenance(connection) as session:
        row = session.execute(_FOUND.encode(), (name,)).fetchone()
        if row is None:
            raise TargetError(
                f"There is no database “{name}” that could be replaced.", hint="Restore without --replace."
            )
        _, is_template, owner, may_act, login, is_super, may_create = row
        if is_template:
            raise TargetError(f"The database “{name}” is a template.", hint="Choose another one.")
        if not may_act and not is_super:
            raise TargetError(
                f"The database “{name}” belongs to {owner}, as whom {login} may not act.",
                hint=f"Sign in as {owner} or as an administrator.",
            )
        if not may_create:
            raise TargetError(
                f"The role {login} may not create and rename databases.",
                hint=f"Let an administrator run: ALTER ROLE {login} CREATEDB.",
            )
        way = session.execute(_IN_THE_WAY.encode(), (name,)).fetchone()
    with _inside(connection) as session:
        publications = session.execute(b"SELECT count(*) FROM pg_publication").fetchone()
    assert way is not None
    assert publications is not None
    named = ("prepared transactions", "replication slots", "subscriptions", "publications")
    for count, what in zip((*way, *publications), named, strict=True):
        if count:
            raise TargetError(
                f"The database “{name}” has {what} ({count}), which a replaced database would lose.",
                hint="End or drop them first, or restore beside it without --replace.",
            )


def look(connection: Connection, checkpoint: Callable[[], None]) -> DatabaseState:
    """Counts every row. Raises TargetError."""
    from psycopg import sql

    digest = hashlib.sha256()
    total = count = 0
    with _inside(connection) as session:
        session.execute(b"SET row_security = off")
        row = session.execute(
            b"SELECT oid::bigint, pg_get_userbyid(datdba), pg_database_size(oid) FROM pg_database "
            b"WHERE datname = current_database()"
        ).fetchone()
        assert row is not None
        oid, owner, size = row
        for schema, name in catalog.tables(session):
            checkpoint()
            # The newest transaction that wrote a row changes with every INSERT and UPDATE, the count with every DELETE.
            query = sql.SQL("SELECT count(*), max(xmin::text::bigint) FROM ONLY {}").format(
                sql.Identifier(schema, name)
            )
            found = session.execute(query).fetchone()
            assert found is not None
            digest.update(repr((schema, name, *found)).encode())
            total, count = total + found[0], count + 1
    digest.update(repr((oid, owner)).encode())
    return DatabaseState(oid, count, total, size, digest.hexdigest())


def properties(connection: Connection) -> dict[str, Any]:
    """Owner, settings, privileges, limit and comment of the database, in the words of a dump's facts. Raises
    TargetError."""
    with _inside(connection) as session:
        facts = catalog.database_facts(session)
    return {name: facts[name] for name in _PROPERTIES}


def take_over_rights(connection: Connection, kept: dict[str, Any], name: str) -> None:
    """Gives the database `name` the `properties` of another but its owner and comment, which it has from the time when
    it was made. Raises TargetError when one cannot be given."""
    with _maintenance(connection) as session:
        roles = {row[0] for row in session.execute(b"SELECT rolname FROM pg_roles")}
        warnings = apply_properties(session, name, kept, roles=roles)
    if warnings:
        raise TargetError(f"What holds for the database “{connection.database}” cannot be kept. {warnings[0]}")


def oid_of(connection: Connection, name: str) -> int | None:
    """The object id of a database of this server; None when there is none. Raises TargetError."""
    with _maintenance(connection) as session:
        return _oids(session, name)[0]


def swap(wanted: Swap) -> None:
    """Ends every connection to both, and renames them in one transaction: at every moment one of them has the name.
    Raises TargetError; then nothing has changed, unless the answer was lost: `settle` tells."""
    import psycopg

    for attempt in range(_TRIES):
        try:
            _rename(wanted)
            return
        except psycopg.errors.ObjectInUse:
            if attempt + 1 == _TRIES:
                raise TargetError(
                    f"Others are connected to the database “{wanted.connection.database}” and cannot be sent away.",
                    hint="Stop the application, or sign in as an administrator.",
                ) from None
        except psycopg.Error as failure:
            raise translate(failure, wanted.connection, error=TargetError) from None


def settle(wanted: Swap) -> bool:
    """Whether the swap has happened: a transaction that was cut short has not. Raises TargetError when somebody else
    changed the databases meanwhile; nothing is touched."""
    with _maintenance(wanted.connection) as session:
        target, outgoing = _oids(session, wanted.connection.database, wanted.outgoing)
    if target == wanted.old:
        return False
    if target == wanted.new and outgoing == wanted.old:
        return True
    raise TargetError(
        f"Something else was put at “{wanted.connection.database}” while it was being replaced.",
        hint=f"Look at the databases “{wanted.incoming}” and “{wanted.outgoing}”, and rename the right one yourself.",
    )


def withdraw(wanted: Swap, aside: str) -> None:
    """Renames `incoming` to `aside`, so that a swap which has not happened cannot happen any more, whoever was about
    to do it; one that has happened stays. Raises TargetError."""
    import psycopg
    from psycopg import sql

    with _maintenance(wanted.connection) as session:
        if _oids(session, wanted.incoming)[0] != wanted.new:
            return
        session.execute(_SESSIONS.encode(), (wanted.incoming,))
        names = sql.Identifier(wanted.incoming), sql.Identifier(aside)
        with contextlib.suppress(psycopg.errors.InvalidCatalogName):  # swapped just now
            session.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(*names))


def remove(connection: Connection, name: str, oid: int | None) -> None:
    """Drops a database that was made or set aside here, if it is still that one (`oid` None: whichever has the name).
    Raises TargetError."""
    from psycopg import sql

    with _maintenance(connection) as session:
        found = _oids(session, name)[0]
        if found is None or oid not in (None, found):
            return
        session.execute(_SESSIONS.encode(), (name,))
        session.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)))


def _rename(wanted: Swap) -> None:
    from psycopg import sql

    name = wanted.connection.database
    pairs = ((name, wanted.outgoing), (wanted.incoming, name))
    with _maintenance(wanted.connection, raw=True) as session, _sent_away(wanted), session.transaction():
        if _oids(session, name, wanted.incoming) != [wanted.old, wanted.new]:
            raise TargetError(f"The database “{name}” was replaced by somebody else meanwhile.")
        for old, new in pairs:
            session.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(old), sql.Identifier(new)))


@contextlib.contextmanager
def _sent_away(wanted: Swap) -> Iterator[None]:
    """While the block lasts, whoever is connected to one of the databases is disconnected again and again. A rename
    first locks the door for new connections and then waits 5 s for those inside, so a pool that reconnects at once
    must be sent away after the door is locked."""
    ended = threading.Event()

    def usher() -> None:
        with contextlib.suppress(EngineError), _maintenance(wanted.connection) as session:
            while True:
                for name in (wanted.connection.database, wanted.incoming):
                    session.execute(_SESSIONS.encode(), (name,))
                if ended.wait(_USHER_SECONDS):
                    return

    thread = threading.Thread(target=usher, name="usher", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _oids(session: Session, *names: str) -> list[int | None]:
    rows = session.execute(b"SELECT datname, oid::bigint FROM pg_database WHERE datname = ANY(%s)", (list(names),))
    found: dict[str, int] = {row[0]: row[1] for row in rows.fetchall()}
    return [found.get(name) for name in names]


@contextlib.contextmanager
def _maintenance(connection: Connection, *, raw: bool = False) -> Iterator[Session]:
    """A session beside the databases; what goes wrong is a TargetError, or with `raw` as psycopg says it."""
    words = contextlib.nullcontext() if raw else errors_in_words(connection, error=TargetError)
    with words, connect_anywhere(connection, error=TargetError) as session:
        yield session


@contextlib.contextmanager
def _inside(connection: Connection) -> Iterator[Session]:
    with errors_in_words(connection, error=TargetError), connect(connection, error=TargetError) as session:
        yield session

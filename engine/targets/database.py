"""A new database at a server: made under a temporary name, given its settings back, and at last its own name.

An existing database is never touched: only what was made here is dropped, when a restore fails or was killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from engine.errors import TargetError
from engine.postgres.connection import Connection
from engine.postgres.session import translate

if TYPE_CHECKING:
    import psycopg
    from psycopg import sql

    Session = psycopg.Connection[tuple[Any, ...]]

FORCED_DROP_SINCE = 130000
PROVIDERS_SINCE = 150000
# As long as it stands there, a restore was not finished, whatever became of the program. Whose it is stands behind it.
UNFINISHED = "Holdfast is restoring into this database: it is not complete."
DIFFERING = "Holdfast restored this database, and found that it differs from what was backed up."
NAME_BYTES, _SHORT = 63, 8
DATABASE_PRIVILEGES = frozenset({"CREATE", "CONNECT", "TEMPORARY"})
# Settings that are lists of names: their stored text is not a literal that SET accepts.
LISTS = frozenset(
    {
        "local_preload_libraries",
        "search_path",
        "session_preload_libraries",
        "shared_preload_libraries",
        "temp_tablespaces",
        "unix_socket_directories",
    }
)


def temporary_name(base: str, label: str) -> str:
    """`<base>_restore_<end of the label>`, the base cut at a character so that the whole fits into 63 bytes."""
    ending = f"_restore_{label[-_SHORT:]}"
    return base.encode()[: NAME_BYTES - len(ending.encode())].decode("utf-8", "ignore") + ending


def create(session: Session, connection: Connection, facts: dict[str, Any], *, owner: str, label: str) -> list[str]:
    """Creates the database that `connection` names with encoding and locale of the old one; warnings. Its comment says
    that it is not complete, and has the restore's `label`.

    `owner` "" means whoever signs in. Raises TargetError, and then there is no new database.
    """
    from psycopg import errors, sql

    name = connection.database
    first: Exception | None = None
    attempts: tuple[dict[str, str], ...] = (
        _locale_options(facts, session.info.server_version),
        {},
        {"LC_COLLATE": "C", "LC_CTYPE": "C"},
    )
    for number, locale in enumerate(attempts):
        try:
            session.execute(_create_statement(name, {"ENCODING": facts["encoding"], **locale}, owner))
        except errors.DuplicateDatabase:
            raise TargetError(f"The database “{name}” exists already.", hint="Choose another name.") from None
        except errors.InsufficientPrivilege as failure:
            raise translate(failure, connection, error=TargetError) from None
        except errors.Error as failure:
            first = first or failure
            continue
        unfinished = sql.SQL("COMMENT ON DATABASE {} IS {}").format(
            sql.Identifier(name), sql.Literal(_unfinished(label))
        )
        try:
            session.execute(unfinished)
        except errors.Error as failure:
            drop(session, name)
            raise translate(failure, connection, error=TargetError) from None
        if not number:
            return []
        wanted = facts.get("locale") or facts["collate"]
        return [
            f"The locale {wanted} of the old database is not available at the target: its text may sort differently."
        ]
    assert first is not None
    raise translate(first, connection, error=TargetError)


def take_name(session: Session, connection: Connection, old: str, *, comment: str | None) -> None:
    """The database `old` gets the name that `connection` has and its own comment, both at once. Raises TargetError."""
    from psycopg import Error, errors, sql

    new = sql.Identifier(connection.database)
    try:
        with session.transaction():
            session.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(old), new))
            session.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(new, sql.Literal(comment)))
    except errors.DuplicateDatabase:
        raise TargetError(
            f"A database “{connection.database}” was made by somebody else meanwhile.", hint="Choose another name."
        ) from None
    except Error as failure:
        raise translate(failure, connection, error=TargetError) from None


def sweep(session: Session, is_dead: Callable[[str], bool]) -> list[str]:
    """Drops the databases of restores that were killed, known by comment and name; `is_dead` tells by the label whether
    a restore has ended. What became of them, as sentences."""
    from psycopg import sql

    query = "SELECT datname, shobj_description(oid, 'pg_database') FROM pg_database WHERE NOT datistemplate"
    start = _unfinished("")[:-1]
    outcomes = []
    for name, comment in session.execute(sql.SQL(query)).fetchall():
        if comment and comment.startswith(start):
            label = comment.removeprefix(start).removesuffix("]")
            if name == temporary_name(name.rpartition("_restore_")[0], label) and is_dead(label):
                outcomes.append(drop(session, name))
    return outcomes


def _unfinished(label: str) -> str:
    return f"{UNFINISHED} [{label}]"


def drop(session: Session, name: str) -> str:
    """Drops a database that `create` made, whoever is connected to it: what became of it, as a sentence."""
    from psycopg import Error, sql

    statement = sql.SQL("DROP DATABASE {}").format(sql.Identifier(name))
    try:
        if session.info.server_version >= FORCED_DROP_SINCE:
            statement += sql.SQL(" WITH (FORCE)")
        else:
            session.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        session.execute(statement)
    except Error:
        return f"The incomplete new database “{name}” could not be dropped: drop it yourself."
    return f"The new database “{name}” was dropped again."


def apply_properties(session: Session, name: str, facts: dict[str, Any], *, roles: set[str]) -> list[str]:
    """Gives the database its settings, privileges and connection limit; what could not be set, as warnings.

    `roles` are those that exist at the target; what concerns others is left out.
    """
    from psycopg import Error

    warnings = []
    for what, statements in _property_statements(name, facts, roles):
        try:
            for statement in statements:
                session.execute(statement)
        except Error as failure:
            reason = " ".join(str(failure).split()).rstrip(".")
            warnings.append(f"The {what} of the database could not be set: {reason}.")
    return warnings


def _create_statement(name: str, options: dict[str, str], owner: str) -> sql.Composed:
    from psycopg import sql

    statement = sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name))
    for option, value in options.items():
        statement += sql.SQL(f" {option} ") + sql.Literal(value)
    if owner:
        statement += sql.SQL(" OWNER ") + sql.Identifier(owner)
    return statement


def _locale_options(facts: dict[str, Any], server_version: int) -> dict[str, str]:
    options = {"LC_COLLATE": facts["collate"], "LC_CTYPE": facts["ctype"]}
    if server_version >= PROVIDERS_SINCE:
        options["LOCALE_PROVIDER"] = facts["localeProvider"]
        if facts["localeProvider"] == "icu":
            options["ICU_LOCALE"] = facts["locale"]
        if facts["localeProvider"] == "builtin":
            options["BUILTIN_LOCALE"] = facts["locale"]
        if facts["icuRules"]:
            options["ICU_RULES"] = facts["icuRules"]
    return options


def _property_statements(name: str, facts: dict[str, Any], roles: set[str]) -> Iterator[tuple[str, list[sql.Composed]]]:
    """(what it sets, the statements for it), the connection limit last."""
    from psycopg import sql

    database = sql.Identifier(name)
    for role, setting, value in facts["settings"]:
        if not role or role in roles:
            yield f"setting {setting}", _setting_statements(database, role, setting, value)
    if facts["acl"] is not None:
        yield "privileges", [sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database)]
    for grantee, privilege, grantable in facts["acl"] or ():
        if privilege in DATABASE_PRIVILEGES and (not grantee or grantee in roles):
            to = sql.Identifier(grantee) if grantee else sql.SQL("PUBLIC")
            option = sql.SQL(" WITH GRANT OPTION" if grantable else "")
            statement = sql.SQL("GRANT {} ON DATABASE {} TO {}{}").format(sql.SQL(privilege), database, to, option)
            yield "privileges", [statement]
    if facts["connectionLimit"] >= 0:
        limit = sql.Literal(facts["connectionLimit"])
        yield "connection limit", [sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(database, limit)]


def _setting_statements(database: sql.Identifier, role: str, setting: str, value: str) -> list[sql.Composed]:
    from psycopg import sql

    place = sql.SQL("ALTER DATABASE {}").format(database)
    if role:
        place = sql.SQL("ALTER ROLE {} IN DATABASE {}").format(sql.Identifier(role), database)
    target = sql.Identifier(setting)
    if setting.lower() not in LISTS:
        return [sql.SQL("{} SET {} TO {}").format(place, target, sql.Literal(value))]
    return [
        sql.SQL("SELECT set_config({}, {}, false)").format(sql.Literal(setting), sql.Literal(value)),
        sql.SQL("{} SET {} FROM CURRENT").format(place, target),
        sql.SQL("RESET {}").format(target),
    ]

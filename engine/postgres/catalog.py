"""What the catalogs of a server say of a database beyond its dump: how to create it again, who owns it, which roles
and extensions it needs, how large it is, and what we may not read. Every answer is JSON types only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

    Session = psycopg.Connection[tuple[Any, ...]]

PROVIDERS_SINCE = 150000
LOCALE_RENAMED_SINCE = 170000
ICU_RULES_SINCE = 160000

_DATABASES = """
    SELECT datname FROM pg_database
    WHERE datallowconn AND NOT datistemplate AND has_database_privilege(oid, 'CONNECT') ORDER BY datname
"""
_SETTINGS = """
    SELECT coalesce(r.rolname, ''), setting FROM pg_db_role_setting s
    JOIN pg_database d ON d.oid = s.setdatabase LEFT JOIN pg_roles r ON r.oid = s.setrole, unnest(s.setconfig) setting
    WHERE d.datname = current_database() ORDER BY 1, 2
"""
_PRIVILEGES = """
    SELECT CASE WHEN a.grantee = 0 THEN '' ELSE pg_get_userbyid(a.grantee) END, a.privilege_type, a.is_grantable
    FROM pg_database d, aclexplode(d.datacl) a WHERE d.datname = current_database() ORDER BY 1, 2
"""
# pg_shdepend knows owners and grantees of everything in the database, but not the bootstrap superuser.
_ROLES = """
    SELECT DISTINCT r.rolname, bool_or(s.deptype = 'r') FROM pg_shdepend s
    JOIN pg_roles r ON r.oid = s.refobjid AND s.refclassid = 'pg_authid'::regclass
    WHERE s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND r.rolname !~ '^pg_'
    GROUP BY 1 ORDER BY 1
"""
_EXTENSIONS = "SELECT extname, extversion FROM pg_extension ORDER BY 1"
_SIZE = """
    SELECT coalesce(sum(pg_table_size(c.oid)), 0)::bigint
        + (SELECT coalesce(pg_table_size('pg_largeobject'::regclass), 0))
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
"""
# A sequence needs SELECT too: pg_dump reads its value.
_UNREADABLE = """
    SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'S') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
      AND n.nspname !~ '^pg_(toast|temp)'
      AND (NOT has_schema_privilege(n.oid, 'USAGE')
           OR CASE WHEN c.relkind = 'S' THEN NOT has_sequence_privilege(c.oid, 'SELECT')
                   ELSE NOT has_table_privilege(c.oid, 'SELECT') END
           OR (c.relkind IN ('r', 'p') AND row_security_active(c.oid)))
    ORDER BY 1, 2
"""
_TABLES = """
    SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema')
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.classid = 'pg_class'::regclass
                      AND d.deptype = 'e')
    ORDER BY 1, 2
"""


@dataclass(frozen=True)
class ServerVersion:
    """`number` as `server_version_num` (180004), `text` as the server says it (`18.4`)."""

    number: int
    text: str


def server_version(session: Session) -> ServerVersion:
    return ServerVersion(session.info.server_version, _one(session, "SHOW server_version"))


def databases(session: Session) -> list[str]:
    """Every database that is no template and lets us in."""
    return [row[0] for row in session.execute(_DATABASES.encode())]


def expected_size(session: Session) -> int:
    """Bytes that the tables of this database take at the server: a rough measure for the size of its dump."""
    return int(_one(session, _SIZE))


def unreadable(session: Session) -> list[str]:
    """Tables and sequences, as `schema.name`, that this login cannot read in full."""
    return [f"{schema}.{name}" for schema, name in session.execute(_UNREADABLE.encode())]


def tables(session: Session) -> list[tuple[str, str]]:
    """Schema and name of every table with rows of its own that a dump holds."""
    return [(schema, name) for schema, name in session.execute(_TABLES.encode())]


def database_facts(session: Session) -> dict[str, Any]:
    """How the connected database was made and set up, in the words of the manifest (camelCase keys)."""
    version = session.info.server_version
    provider = "d.datlocprovider::text" if version >= PROVIDERS_SINCE else "'c'"
    locale = "NULL"
    if version >= PROVIDERS_SINCE:
        locale = "d.datlocale" if version >= LOCALE_RENAMED_SINCE else "d.daticulocale"
    rules = "d.daticurules" if version >= ICU_RULES_SINCE else "NULL"
    statement = f"""
        SELECT pg_encoding_to_char(d.encoding), d.datcollate, d.datctype, {provider}, {locale}, {rules},
               pg_get_userbyid(d.datdba), d.datconnlimit, shobj_description(d.oid, 'pg_database'), d.datacl IS NULL
        FROM pg_database d WHERE d.datname = current_database()
    """
    row = session.execute(statement.encode()).fetchone()
    assert row is not None, "the database that we are connected to is in pg_database"
    encoding, collate, ctype, provider_letter, provider_locale, icu_rules, owner, limit, comment, no_acl = row
    roles = session.execute(_ROLES.encode()).fetchall()
    return {
        "encoding": encoding,
        "collate": collate,
        "ctype": ctype,
        "localeProvider": {"c": "libc", "i": "icu", "b": "builtin"}.get(provider_letter, provider_letter),
        "locale": provider_locale,
        "icuRules": icu_rules,
        "owner": owner,
        "connectionLimit": limit,
        "comment": comment,
        "settings": [[role, *_split(setting)] for role, setting in session.execute(_SETTINGS.encode())],
        "acl": None if no_acl else [list(entry) for entry in session.execute(_PRIVILEGES.encode())],
        "extensions": [list(entry) for entry in session.execute(_EXTENSIONS.encode())],
        "roles": [name for name, _ in roles],
        "policyRoles": [name for name, policy in roles if policy],
    }


def relations(session: Session) -> set[tuple[str, str]]:
    """Schema and name of every table (of any kind) and sequence."""
    statement = """
        SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'f', 'S')
    """
    return {(schema, name) for schema, name in session.execute(statement.encode())}


def large_objects(session: Session) -> int:
    return int(_one(session, "SELECT count(*) FROM pg_largeobject_metadata"))


def count_rows(session: Session, schema: str, name: str) -> int:
    """Exact rows of one table, its children left out, by SQL. Raises psycopg.Error; row security never hides rows."""
    from psycopg import sql

    session.execute("SET row_security = off")
    query = sql.SQL("SELECT count(*) FROM ONLY {}").format(sql.Identifier(schema, name))
    row = session.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def _split(setting: str) -> tuple[str, str]:
    name, _, value = setting.partition("=")
    return name, value


def _one(session: Session, statement: str) -> Any:
    row = session.execute(statement.encode()).fetchone()
    assert row is not None
    return row[0]


@dataclass(frozen=True)
class Login:
    """The role that is signed in."""

    name: str
    creates_databases: bool


def login(session: Session) -> Login:
    """Who we are at this server, and whether we may create databases."""
    row = session.execute(
        "SELECT current_user, rolsuper OR rolcreatedb FROM pg_roles WHERE rolname = current_user"
    ).fetchone()
    assert row is not None
    return Login(row[0], row[1])


def exists(session: Session, database: str) -> bool:
    """Whether the server has a database of this name."""
    return session.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,)).fetchone() is not None


def knows_encoding(session: Session, encoding: str) -> bool:
    row = session.execute("SELECT pg_char_to_encoding(%s) >= 0", (encoding,)).fetchone()
    return bool(row and row[0])


def available_extensions(session: Session) -> set[str]:
    """The extensions that CREATE EXTENSION can create here."""
    return {row[0] for row in session.execute("SELECT name FROM pg_available_extensions")}


def usable_roles(session: Session, names: list[str]) -> set[str]:
    """Those of the roles that exist and whom this login may make owners of something."""
    statement = """
        SELECT rolname FROM pg_roles WHERE rolname = ANY(%s)
        AND ((SELECT rolsuper FROM pg_roles WHERE rolname = current_user) OR pg_has_role(oid, 'MEMBER'))
    """
    return {row[0] for row in session.execute(statement.encode(), (names,))}

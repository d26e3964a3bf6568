"""How a PostgreSQL server is reached: parsed from a URL, checked, and passed on without ever being an environment
variable, a connection string typed by somebody else, or a secret in an argument list."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from urllib.parse import unquote_to_bytes

from engine.errors import EngineError, SourceError

DEFAULT_PORT = 5432
NAME_BYTES = 63  # PostgreSQL cuts longer names
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
PARAMETERS = ("host", "port", "user", "password", "sslmode", "sslrootcert", "sslcert", "sslkey")
ALL_DATABASES = "*"
HIDDEN = "***"
SHORT_PASSWORD = 8  # signs
_SYNTAX = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*)://(?:(?P<login>[^/?#]*)@)?(?P<place>[^/?#]*)"
    r"(?:/(?P<database>[^?#]*))?(?:\?(?P<query>[^#]*))?(?P<rest>#.*)?",
    re.DOTALL,
)
_SCHEMES = re.compile(r"(postgresql|postgres)(\+[a-z0-9_]+)?", re.IGNORECASE)
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True)
class Connection:
    """A server, who signs in, and one of its databases. `database` is "" where the URL names none or all (`*`).

    `host` is a name, an address, or the folder of a unix socket; "" means the platform's own socket folder. `user` ""
    means the name of the user who runs this program.
    """

    host: str = ""
    port: int = DEFAULT_PORT
    user: str = ""
    password: str = field(default="", repr=False)
    database: str = ""
    sslmode: str = "prefer"
    sslrootcert: str = ""
    sslcert: str = ""
    sslkey: str = ""

    def describe(self) -> str:
        """For people, as a URL without the password."""
        login = f"{self.user}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        if self.host.startswith("/"):
            return f"postgresql://{login}/{self.database}?host={self.host}&port={self.port}"
        return f"postgresql://{login}{host}:{self.port}/{self.database}"

    def with_database(self, name: str) -> Connection:
        """The same server and login, another database."""
        return replace(self, database=name)

    def parameters(self) -> dict[str, str]:
        """libpq's keywords for this connection, the password left out."""
        values = {
            "host": self.host,
            "port": str(self.port),
            "user": self.user,
            "dbname": self.database,
            "sslmode": self.sslmode,
            "sslrootcert": self.sslrootcert,
            "sslcert": self.sslcert,
            "sslkey": self.sslkey,
        }
        return {key: value for key, value in values.items() if value}

    def conninfo(self) -> str:
        """One argument for the client programs. Each value is quoted, so a database named `host=evil dbname=x` is a
        database of that name on this server. Holds no password."""
        return " ".join(f"{key}={_quote(value)}" for key, value in self.parameters().items())


def parse_url(
    url: str, *, sslmode: str = "", sslrootcert: str = "", error: type[EngineError] = SourceError
) -> Connection:
    """The connection of a `postgresql://user:password@host:port/database?sslmode=…` URL, percent-decoded.

    `postgres://` and a driver's name (`postgresql+psycopg://`) are accepted; `sslmode` and `sslrootcert` go before
    those of the URL. Raises `error` with one sentence that never repeats the URL, since that may hold a password.
    """
    found = _SYNTAX.fullmatch(url.strip())
    if found is None or not _SCHEMES.fullmatch(found["scheme"]):
        raise error("The database URL must look like postgresql://user:password@host:5432/database.")
    if found["rest"]:
        raise error("The database URL has a “#” in it.", hint="In a password write it as %23.")
    parts = {"user": "", "password": ""}
    if found["login"] is not None:
        user, _, password = found["login"].partition(":")
        parts = {"user": _decode(user, error), "password": _decode(password, error)}
    host, port = _split_place(found["place"], error)
    parts |= {"host": _decode(host, error), "port": port}
    for key, value in _query(found["query"] or "", error).items():
        if parts.get(key):
            raise error(f"The database URL gives “{key}” twice.")
        parts[key] = value
    database = _decode(found["database"] or "", error)
    connection = Connection(
        host=parts["host"],
        port=_port(parts["port"], error),
        user=parts["user"],
        password=parts["password"],
        database="" if database == ALL_DATABASES else database,
        sslmode=sslmode or parts.get("sslmode", "prefer"),
        sslrootcert=sslrootcert or parts.get("sslrootcert", ""),
        sslcert=parts.get("sslcert", ""),
        sslkey=parts.get("sslkey", ""),
    )
    return check(connection, error=error)


def check(connection: Connection, *, error: type[EngineError] = SourceError) -> Connection:
    """The same connection. Raises `error` with one sentence where a field can never work."""
    for name in ("host", "user", "password", "database", "sslrootcert", "sslcert", "sslkey"):
        if "\0" in getattr(connection, name):
            raise error(f"The {name} of the database connection holds a NUL character.")
    if "\n" in connection.password or "\r" in connection.password:
        raise error("The password of the database connection holds a line break, which PostgreSQL's clients refuse.")
    if connection.host and not re.fullmatch(r"/[^\n]*|[A-Za-z0-9._:%\-]+", connection.host):
        raise error(
            f"“{connection.host}” is not the name of one database server.",
            hint="Give one host name, address or folder.",
        )
    if len(connection.database.encode()) > NAME_BYTES:
        raise error(f"The database name is longer than the {NAME_BYTES} bytes that PostgreSQL allows.")
    if connection.sslmode not in SSL_MODES:
        raise error(f"“{connection.sslmode}” is not an sslmode.", hint=f"Use one of {', '.join(SSL_MODES)}.")
    if connection.sslmode.startswith("verify-") and not connection.sslrootcert:
        raise error(
            f"sslmode {connection.sslmode} needs sslrootcert, the file of the certificates to trust.",
            hint="Give a path, or “system” for those of the operating system.",
        )
    return connection


def default_name(base: str, suffix: str) -> str:
    """`<base>_restored_<suffix>`, the base cut at a character so that the whole fits into PostgreSQL's 63 bytes."""
    ending = f"_restored_{suffix}"
    room = NAME_BYTES - len(ending.encode())
    if room < 1:
        raise ValueError(f"{suffix!r} leaves no room for a name")
    return base.encode()[:room].decode("utf-8", "ignore") + ending


def hide(text: str, password: str) -> str:
    """`text` without the password. One of a few signs is also a part of ordinary words, so it is looked for only where
    a message could hold a password: behind `=`, in a URL, in quotes."""
    if not password:
        return text
    if len(password) >= SHORT_PASSWORD:
        return text.replace(password, HIDDEN)
    return re.sub(rf"(?<==){re.escape(password)}(?!\w)|(?<=[:\"'“]){re.escape(password)}(?=[@\"'”])", HIDDEN, text)


def _quote(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _decode(text: str, error: type[EngineError]) -> str:
    if _BAD_PERCENT.search(text):
        raise error("The database URL has a “%” without two hexadecimal digits behind it.", hint="Write “%” as %25.")
    try:
        return unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        raise error("The database URL has percent-encoded bytes that are not UTF-8.") from None


def _split_place(place: str, error: type[EngineError]) -> tuple[str, str]:
    """Host and port; an IPv6 address stands in brackets."""
    found = re.fullmatch(r"(?:\[(?P<six>[^\]]*)\]|(?P<host>[^:\[\]]*))(?::(?P<port>[^:]*))?", place)
    if found is None:
        raise error(
            "The host and port of the database URL cannot be told apart.",
            hint="Put an IPv6 address into brackets; write “@”, “:” and “/” in a password as %40, %3A and %2F.",
        )
    return (found["six"] if found["six"] is not None else found["host"]), found["port"] or ""


def _port(text: str, error: type[EngineError]) -> int:
    if not text:
        return DEFAULT_PORT
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        # Not repeated: behind an unescaped “@” or “/” this can be a part of the password.
        raise error("The port of the database URL is not a number from 1 to 65535.")
    return int(text)


def _query(query: str, error: type[EngineError]) -> dict[str, str]:
    values: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        key, equals, value = pair.partition("=")
        key = _decode(key, error)
        if key not in PARAMETERS or not equals:
            raise error(
                f"The database URL has the unknown parameter “{key}”."
                if equals
                else "The database URL has a “?” too many.",
                hint=f"Known are {', '.join(PARAMETERS)}; in a password write “?” as %3F.",
            )
        if key in values:
            raise error(f"The database URL gives “{key}” twice.")
        values[key] = _decode(value, error)
    return values

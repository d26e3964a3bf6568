"""The environment, read once into a frozen `Settings` that is passed around; all its faults are told at once.

Nothing here touches the disk but `ensure_home`; the encryption key's file is webapp/keyfile.py.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from webapp import notify_rules, secret_files, timing
from webapp.errors import Fault, SettingsInvalid
from webapp.notify_rules import Rules
from webapp.timing import Timing

CHECKOUT = Path(__file__).resolve().parent.parent
KEY_BYTES = 32
QUEUES = ("backup", "restore", "system")
DATABASE_SCHEMES = ("sqlite", "postgresql", "postgres", "postgresql+psycopg")
REDIS_SCHEMES = ("redis", "rediss", "unix")
SMTP_SCHEMES = ("smtp", "smtps")
CACHE_GIB = 4
DEFAULT_BIND = "127.0.0.1:8000"
# HOLDFAST_VENV belongs to ./run.
KNOWN = frozenset(
    {
        "HOLDFAST_HOME",
        "HOLDFAST_DATABASE_URL",
        "HOLDFAST_SECRET_KEY",
        "HOLDFAST_BIND",
        "HOLDFAST_URL",
        "HOLDFAST_ALLOWED_NETWORKS",
        "HOLDFAST_TRUSTED_PROXIES",
        "HOLDFAST_SMTP_URL",
        "HOLDFAST_MAIL_FROM",
        "HOLDFAST_TIMEZONE",
        "HOLDFAST_PG_BIN",
        "HOLDFAST_QUEUES",
        "HOLDFAST_CACHE_GIB",
        "HOLDFAST_TIMING",
        "HOLDFAST_DEVELOPMENT",
        *notify_rules.NAMES,
        "HOLDFAST_VENV",
    }
)
_HEX_KEY = re.compile(rf"[0-9a-fA-F]{{{KEY_BYTES * 2}}}")
_QUEUE = re.compile(r"[a-z][a-z0-9-]*(:[A-Za-z0-9._-]+)?")


@dataclass(frozen=True)
class Settings:
    """What the environment says. Secrets are not part of the `repr`. `networks` are kept as text in CIDR form."""

    home: Path
    database_url: str = field(repr=False)
    encryption_key: bytes | None = field(repr=False, default=None)
    secret_key: str | None = field(repr=False, default=None)
    redis_url: str | None = field(repr=False, default=None)
    smtp_url: str | None = field(repr=False, default=None)
    mail_from: str | None = None
    bind: tuple[str, int] = ("127.0.0.1", 8000)
    public_url: str | None = None
    """Where people reach the pages, without a slash at the end."""
    allowed_networks: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    timezone: str = "UTC"
    pg_bin: Path | None = None
    queues: tuple[str, ...] = QUEUES
    cache_bytes: int = CACHE_GIB << 30
    """Room for what differences lean on and only a bucket has."""
    timing: Timing = field(default_factory=Timing)
    notify: Rules = field(default_factory=Rules)
    is_development: bool = False
    """Whether `/styleguide` is there, for those who build pages."""
    warnings: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(repr=False, default_factory=dict)
    """The whole environment, for `${NAME}` in configurations and for the AWS variables."""


class _Reader:
    """Reads single variables and collects what is wrong with them. An empty variable counts as unset."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment
        self.faults: list[Fault] = []

    def text(self, name: str) -> str | None:
        return self.environment.get(name, "").strip() or None

    def fault(self, name: str, detail: str) -> None:
        self.faults.append(Fault(name, detail))


def read_settings(environment: Mapping[str, str], *, cwd: Path | None = None) -> Settings:
    """The settings that `environment` holds. Relative paths are below `cwd` (default: the current folder).

    Raises SettingsInvalid with every fault; no value of a secret is ever repeated in it.
    """
    environment, unreadable = secret_files.read(environment)
    reader = _Reader(environment)
    reader.faults += unreadable
    here = cwd or Path.cwd()
    home_text = reader.text("HOLDFAST_HOME")
    home = _path(reader, "HOLDFAST_HOME", home_text, here) if home_text else CHECKOUT / "data"
    settings = Settings(
        home=home,
        database_url=_url(reader, "HOLDFAST_DATABASE_URL", DATABASE_SCHEMES) or f"sqlite:///{home / 'holdfast.db'}",
        encryption_key=_encryption_key(reader),
        secret_key=_secret_key(reader),
        redis_url=_url(reader, "REDIS_URL", REDIS_SCHEMES),
        smtp_url=_url(reader, "HOLDFAST_SMTP_URL", SMTP_SCHEMES),
        mail_from=_mail_from(reader),
        bind=_bind(reader),
        public_url=_public_url(reader),
        allowed_networks=_networks(reader, "HOLDFAST_ALLOWED_NETWORKS"),
        trusted_proxies=_networks(reader, "HOLDFAST_TRUSTED_PROXIES"),
        timezone=_timezone(reader),
        pg_bin=_pg_bin(reader, here),
        queues=_queues(reader),
        cache_bytes=_cache_bytes(reader),
        timing=_timing(reader),
        notify=_notify(reader),
        is_development=_development(reader),
        warnings=_unknown_names(environment),
        environment=dict(environment),
    )
    if reader.faults:
        raise SettingsInvalid("The environment has faults.", reader.faults)
    return settings


def ensure_home(settings: Settings) -> Path:
    """The home folder, created with mode 0700 when absent. Raises SettingsInvalid when it cannot be used."""
    home = settings.home
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise _home_fault(home, "is not a folder") from error
    except OSError as error:
        what = "is on a read-only file system" if error.errno == errno.EROFS else "cannot be created"
        raise _home_fault(home, f"{what} ({error.strerror})") from error
    if not os.access(home, os.R_OK | os.W_OK | os.X_OK):
        raise _home_fault(home, "cannot be written by this user")
    return home


def _home_fault(home: Path, what: str) -> SettingsInvalid:
    return SettingsInvalid(
        "The home folder cannot be used.",
        [Fault("HOLDFAST_HOME", f"{home} {what}.")],
        hint="Set HOLDFAST_HOME to a folder on a local disk that this user may write.",
    )


def _path(reader: _Reader, name: str, text: str, here: Path) -> Path:
    try:
        return here / Path(text).expanduser()
    except RuntimeError:
        reader.fault(name, f"{text} names the home folder of a user who does not exist.")
        return here


def _encryption_key(reader: _Reader) -> bytes | None:
    text = reader.text("BACKUP_ENCRYPTION_KEY")
    if text is None:
        return None
    if not _HEX_KEY.fullmatch(text):
        digits = KEY_BYTES * 2
        found = f"{len(text)} characters" if len(text) != digits else "other characters in it"
        reader.fault(
            "BACKUP_ENCRYPTION_KEY",
            f"must be exactly {digits} hexadecimal digits ({KEY_BYTES} bytes); what is set has {found}. "
            "`backup-cli key generate` prints a new key.",
        )
        return None
    return bytes.fromhex(text)


def _secret_key(reader: _Reader) -> str | None:
    text = reader.text("HOLDFAST_SECRET_KEY")
    if text is not None and len(text) < 32:
        reader.fault("HOLDFAST_SECRET_KEY", "must have at least 32 characters; unset, one is generated.")
    return text


def _url(reader: _Reader, name: str, schemes: tuple[str, ...]) -> str | None:
    text = reader.text(name)
    if text is None:
        return None
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        reader.fault(name, "is not a URL that can be read.")
        return None
    if parts.scheme not in schemes:
        reader.fault(name, f"must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}")
        return None
    if parts.scheme == "sqlite" and (not text.startswith("sqlite:///") or len(text) == len("sqlite:///")):
        reader.fault(name, "must name a file: sqlite:///relative/path or sqlite:////absolute/path.")
        return None
    return text


def _mail_from(reader: _Reader) -> str | None:
    text = reader.text("HOLDFAST_MAIL_FROM")
    if text is not None and ("@" not in text or any(ord(sign) < 32 for sign in text)):
        reader.fault("HOLDFAST_MAIL_FROM", "must be an e-mail address.")
    return text


def _bind(reader: _Reader) -> tuple[str, int]:
    text = reader.text("HOLDFAST_BIND") or DEFAULT_BIND
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        reader.fault("HOLDFAST_BIND", "must be ADDRESS:PORT, such as 127.0.0.1:8000 or [::1]:8000.")
        return "127.0.0.1", 8000
    return host.strip("[]"), int(port)


def _public_url(reader: _Reader) -> str | None:
    text = _url(reader, "HOLDFAST_URL", ("https", "http"))
    if text is None:
        return None
    parts = urlsplit(text)
    if not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment or parts.username:
        reader.fault("HOLDFAST_URL", "must be an address without path, such as https://backup.example.com.")
    return text.rstrip("/")


def _networks(reader: _Reader, name: str) -> tuple[str, ...]:
    text = reader.text(name)
    if text is None:
        return ()
    import ipaddress

    found = []
    for part in filter(None, re.split(r"[,\s]+", text)):
        try:
            found.append(str(ipaddress.ip_network(part, strict=False)))
        except ValueError:
            reader.fault(name, f"{part!r} is not a network such as 10.0.0.0/8 or fd00::/8.")
    return tuple(found)


def _timezone(reader: _Reader) -> str:
    text = reader.text("HOLDFAST_TIMEZONE")
    if text is None:
        return "UTC"
    from webapp.schema.times import zone_fault

    detail = zone_fault(text)
    if detail:
        reader.fault("HOLDFAST_TIMEZONE", detail)
    return text


def _pg_bin(reader: _Reader, here: Path) -> Path | None:
    text = reader.text("HOLDFAST_PG_BIN")
    if text is None:
        return None
    folder = _path(reader, "HOLDFAST_PG_BIN", text, here)
    if not folder.is_dir():
        reader.fault("HOLDFAST_PG_BIN", f"{folder} is not a folder; it must hold pg_dump, pg_restore and psql.")
    return folder


def _queues(reader: _Reader) -> tuple[str, ...]:
    text = reader.text("HOLDFAST_QUEUES")
    if text is None:
        return QUEUES
    names = tuple(filter(None, re.split(r"[,\s]+", text)))
    for name in names:
        if not _QUEUE.fullmatch(name):
            reader.fault("HOLDFAST_QUEUES", f"{name!r} is not a queue name such as backup or host:store-12.")
    return names


def _cache_bytes(reader: _Reader) -> int:
    text = reader.text("HOLDFAST_CACHE_GIB") or str(CACHE_GIB)
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        reader.fault("HOLDFAST_CACHE_GIB", "must be a whole number of GiB, 0 to 99999.")
        return CACHE_GIB << 30
    return int(text) << 30


def _timing(reader: _Reader) -> Timing:
    try:
        return timing.read(reader.text("HOLDFAST_TIMING") or "")
    except ValueError as error:
        reader.fault("HOLDFAST_TIMING", str(error))
        return Timing()


def _notify(reader: _Reader) -> Rules:
    found, faults = notify_rules.read(reader.environment)
    for name, detail in faults.items():
        reader.fault(name, detail)
    return found


def _development(reader: _Reader) -> bool:
    text = reader.text("HOLDFAST_DEVELOPMENT")
    if text not in (None, "yes", "no"):
        reader.fault("HOLDFAST_DEVELOPMENT", "must be yes or no.")
    return text == "yes"


def _unknown_names(environment: Mapping[str, str]) -> tuple[str, ...]:
    known = KNOWN | secret_files.FILE_NAMES
    unknown = sorted(name for name in environment if name.startswith("HOLDFAST_") and name not in known)
    return tuple(f"{name} is not a variable that Holdfast knows; is it misspelt?" for name in unknown)

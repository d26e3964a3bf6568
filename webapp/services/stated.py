"""What the environment says, for people: each variable by its name with its value, secrets only as set or not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from engine.keyring import RECOVERY_CODE
from webapp.installation import Installation
from webapp.keyfile import key_path
from webapp.schema import defaults
from webapp.schema.redact import hide_password
from webapp.services import keyrings
from webapp.settings import KNOWN, Settings

_GROUPS: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    (
        "Service",
        (
            ("HOLDFAST_HOME", "Home folder"),
            ("HOLDFAST_TIMEZONE", "Time zone"),
            ("HOLDFAST_URL", "Address that people use"),
            ("HOLDFAST_BIND", "Listens at"),
            ("HOLDFAST_ALLOWED_NETWORKS", "Networks that may come in"),
            ("HOLDFAST_TRUSTED_PROXIES", "Proxies that are believed"),
            ("HOLDFAST_DATABASE_URL", "Database"),
            ("REDIS_URL", "Redis"),
            ("HOLDFAST_QUEUES", "Queues of this host's workers"),
            ("HOLDFAST_PG_BIN", "PostgreSQL programs"),
        ),
    ),
    ("Mail", (("HOLDFAST_SMTP_URL", "Mail server"), ("HOLDFAST_MAIL_FROM", "Sender"))),
)
_ELSEWHERE = ("HOLDFAST_VENV",)

# Of the others, those whose values are no secrets.
_PLAIN = (
    "HOLDFAST_CACHE_GIB",
    "HOLDFAST_DEVELOPMENT",
    "HOLDFAST_DIGEST",
    "HOLDFAST_NOTIFY_PRIVATE",
    "HOLDFAST_REMIND_HOURS",
    "HOLDFAST_TIMING",
)
SET, UNSET = "set", "not set"


@dataclass(frozen=True)
class Variable:
    """`value` is what counts now, in words that hold no secret; `is_set` whether the environment says it."""

    name: str
    title: str
    value: str
    is_set: bool


@dataclass(frozen=True)
class Keys:
    """`epochs` are sealing keys, the newest of which seals what comes; `is_confirmed` that somebody typed the recovery
    code back; `is_changing` that old keys are still somewhere."""

    where: str
    epochs: int
    recovery_codes: int
    is_confirmed: bool
    is_changing: bool


def groups(installation: Installation) -> list[tuple[str, list[Variable]]]:
    """Every variable that there is, in groups."""
    settings = installation.settings
    found = [(title, [_variable(settings, *each) for each in variables]) for title, variables in _GROUPS]
    named = {variable.name for _, variables in found for variable in variables}
    others = sorted(KNOWN - named - {*_ELSEWHERE})
    return [*found, ("Others", [_other(settings, name) for name in others])]


def keys(installation: Installation) -> Keys | None:
    """None before the first backup."""
    settings = installation.settings
    if not keyrings.is_there(settings):
        return None
    slots = keyrings.readable(keyrings.current_slots(settings))
    return Keys(
        where="BACKUP_ENCRYPTION_KEY" if settings.encryption_key is not None else str(key_path(settings)),
        epochs=len(frozenset[int]().union(*(slot.epochs for slot in slots))),
        recovery_codes=sum(slot.kind == RECOVERY_CODE for slot in slots),
        is_confirmed=keyrings.is_code_confirmed(settings),
        is_changing=bool(keyrings.retired(settings)),
    )


def built_in() -> list[tuple[str, str]]:
    """What a configuration means when it leaves a key out."""
    stated = defaults.CONFIGURATION
    return [
        ("Compression", stated["compression"]),
        ("Encryption", f"{'on' if stated['encryption'] else 'off'}, {stated['cipher']}"),
        ("Retention", f"everything is kept; under a policy at least {defaults.RETENTION['keepMin']} stay"),
        ("Copies that a backup needs", str(stated["minCopies"])),
        ("Environment", stated["environment"]),
    ]


def _variable(settings: Settings, name: str, title: str) -> Variable:
    shown = _SHOWN[name](settings)
    return Variable(name, title, shown or UNSET, _is_set(settings, name))


def _other(settings: Settings, name: str) -> Variable:
    stated = settings.environment.get(name, "").strip()
    shown = (stated if name in _PLAIN else SET) if stated else UNSET
    return Variable(name, "", shown, bool(stated))


def _is_set(settings: Settings, name: str) -> bool:
    return bool(settings.environment.get(name, "").strip())


def _url(text: str | None) -> str:
    return hide_password(text) if text else ""


_SHOWN: Mapping[str, Callable[[Settings], str]] = {
    "HOLDFAST_HOME": lambda settings: str(settings.home),
    "HOLDFAST_TIMEZONE": lambda settings: settings.timezone,
    "HOLDFAST_URL": lambda settings: settings.public_url or "",
    "HOLDFAST_BIND": lambda settings: "{}:{}".format(*settings.bind),
    "HOLDFAST_ALLOWED_NETWORKS": lambda settings: ", ".join(settings.allowed_networks) or "any",
    "HOLDFAST_TRUSTED_PROXIES": lambda settings: ", ".join(settings.trusted_proxies) or "none",
    "HOLDFAST_DATABASE_URL": lambda settings: _url(settings.database_url),
    "REDIS_URL": lambda settings: _url(settings.redis_url) or "built in",
    "HOLDFAST_QUEUES": lambda settings: ", ".join(settings.queues),
    "HOLDFAST_PG_BIN": lambda settings: "" if settings.pg_bin is None else str(settings.pg_bin),
    "HOLDFAST_SMTP_URL": lambda settings: _url(settings.smtp_url),
    "HOLDFAST_MAIL_FROM": lambda settings: settings.mail_from or "",
}

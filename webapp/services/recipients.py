"""Who is told of what: the recipients of a configuration and those of the settings, known by fingerprints."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from engine.errors import EngineError
from webapp.errors import ServiceError
from webapp.installation import Installation
from webapp.models import Configuration
from webapp.notify import channels
from webapp.schema import placeholders
from webapp.schema.defaults import Document
from webapp.schema.redact import HIDDEN
from webapp.services import configurations

# What a run may be told as. A run of another kind than `create` has that kind in front, such as verify-failed.
SUCCEEDED, RECOVERED, WARNING, FAILED = "succeeded", "recovered", "warning", "failed"
DESTINATION, TAMPERING, MISSED, FULL, SILENCED = "destination", "tampering", "missed", "storage-full", "silenced"
DIGEST = "digest"
# Whoever finds these waits for the reminder interval, or they come once by their nature.
PACED = (RECOVERED, MISSED, FULL, DIGEST)
PING = "pingUrl"


@dataclass(frozen=True)
class Recipient:
    """An e-mail address, an Apprise URL, or with `is_ping` the address of a watchdog. `address` is None when the
    variable that holds it is not set: `fault` says so."""

    key: str
    shown: str
    address: str | None = field(repr=False)
    fault: str = ""
    is_ping: bool = False


def of(installation: Installation, configuration: Configuration | None, kind: str) -> list[Recipient]:
    """Who is told of this kind of news of a configuration (None: of the installation), each once."""
    environment = installation.settings.environment
    if kind == DIGEST:
        return [_recipient(text, environment) for text in installation.settings.notify.digest_to]
    told = _document(installation, configuration).get("notifications") or {}
    is_good = kind.endswith(SUCCEEDED)
    typed: list[str] = []
    if is_good or kind == RECOVERED:
        typed += told.get("onSuccess", [])
    if not is_good:
        typed += [*told.get("onFailure", []), *installation.settings.notify.everybody]
    return list({each.key: each for each in (_recipient(text, environment) for text in typed)}.values())


def stated(installation: Installation, configuration: Configuration | None) -> dict[str, list[Recipient]]:
    """Those that a configuration names (None: the settings), by what they are told of: FAILED or SUCCEEDED, and of the
    settings also DIGEST."""
    environment, rules = installation.settings.environment, installation.settings.notify
    if configuration is None:
        named: dict[str, Sequence[str]] = {FAILED: rules.everybody, DIGEST: rules.digest_to if rules.digest else ()}
    else:
        told = _document(installation, configuration).get("notifications") or {}
        named = {FAILED: told.get("onFailure", []), SUCCEEDED: told.get("onSuccess", [])}
    return {what: [_recipient(text, environment) for text in typed] for what, typed in named.items()}


def ping(installation: Installation, configuration: Configuration | None) -> Recipient | None:
    """The watchdog of a configuration."""
    typed = _document(installation, configuration).get("pingUrl")
    if not typed:
        return None
    found = _recipient(typed, installation.settings.environment)
    return Recipient(fingerprint(f"ping {typed}"), PING, found.address, found.fault, is_ping=True)


def _document(installation: Installation, configuration: Configuration | None) -> Document:
    """With its secrets. Where the key that opens them is gone, those whose addresses are no secrets are told."""
    if configuration is None:
        return {}
    try:
        return configurations.typed(installation, configuration)
    except (ServiceError, EngineError):
        told = configuration.document.get("notifications") or {}
        return {"notifications": {event: [each for each in to if HIDDEN not in each] for event, to in told.items()}}


def fingerprint(text: str) -> str:
    """By which a recipient is known where its address may not be kept (64 hex digits)."""
    return hashlib.sha256(f"holdfast recipient {text}".encode()).hexdigest()


def _recipient(typed: str, environment: Mapping[str, str]) -> Recipient:
    key, shown = fingerprint(typed), channels.shown(typed)[:200]
    try:
        return Recipient(key, shown, placeholders.substitute(typed, environment, in_url="://" in typed))
    except KeyError as error:
        return Recipient(key, shown, None, fault=f"The variable {error.args[0]} is not set.")

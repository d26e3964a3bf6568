"""Which restore point a new one leans on (its unchanged files are not read again), or why every file is read."""

from __future__ import annotations

from dataclasses import dataclass

from webapp.installation import Installation
from webapp.models import Backup, Configuration
from webapp.schema.resolve import Resolved
from webapp.services import records

FULL, INCREMENTAL, DIFFERENTIAL, DATABASE, FILES = "full", "incremental", "differential", "database", "files"
WITH_FOLDERS = (FULL, INCREMENTAL, DIFFERENTIAL, FILES)


@dataclass(frozen=True)
class Parent:
    """`backup` is None when every file is read; `type` is what the restore point will be, and `reason` says in words
    why more is read than was asked for."""

    backup: Backup | None
    type: str
    reason: str = ""


def choose(installation: Installation, configuration: Configuration, resolved: Resolved) -> Parent:
    """The parent for a run of this type. An incremental or differential one without a parent becomes a full one."""
    if resolved.type in (FULL, DATABASE):
        return Parent(None, resolved.type)
    types = (FULL,) if resolved.type == DIFFERENTIAL else WITH_FOLDERS
    newest = records.newest(installation, resolved.config_id, types=types, usable=True)
    reason = _why_full(installation, configuration, resolved, newest)
    if not reason:
        return Parent(newest, resolved.type)
    # A backup of type files holds no databases, so it does not become a full one.
    return Parent(None, FILES if resolved.type == FILES else FULL, reason)


def _why_full(
    installation: Installation, configuration: Configuration, resolved: Resolved, newest: Backup | None
) -> str:
    if newest is None and resolved.type == DIFFERENTIAL:
        return "There is no full restore point of this configuration yet, so this one is full."
    if newest is None:
        return "This is the first restore point of its kind, so every file is read."
    if configuration.source_fingerprint not in (None, resolved.source_fingerprint):
        return "The sources of the configuration changed since the last backup, so every file is read again."
    if resolved.full_every is None:
        return ""
    since = records.count_since_full(installation, resolved.config_id)
    if since is not None and since + 1 >= resolved.full_every:
        return f"Every {resolved.full_every}. backup of this configuration reads every file again (fullEvery)."
    return ""

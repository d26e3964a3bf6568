"""Which restore points of a configuration stay at a destination, and why: from what was typed and what is really there.

Only reads. Where it is not sure what shall stay, everything stays."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import selectinload

from engine.model.retention import Decision, Hold, Point, Policy, plan_retention
from webapp.installation import Installation
from webapp.models import Backup, BackupCopy, Configuration, Destination
from webapp.models.backup import DAMAGED, PRESENT
from webapp.schema import kinds, placeholders
from webapp.schema.defaults import RETENTION
from webapp.services import destinations, records

_FIELDS = {"keep_min" if name == "keepMin" else name: name for name in RETENTION}


@dataclass(frozen=True)
class Rules:
    """How many restore points stay, counted in which zone. `policy` is None when all stay: `why` says why."""

    policy: Policy | None
    zone: ZoneInfo
    why: str = ""

    def document(self) -> dict[str, int] | None:
        """As in a configuration; None when nothing is removed."""
        if self.policy is None:
            return None
        return {outside: getattr(self.policy, inside) for inside, outside in _FIELDS.items()}


@dataclass(frozen=True)
class Verdict:
    """A restore point, and what becomes of its copy at one destination."""

    backup: Backup
    decision: Decision


def rules(
    installation: Installation, configuration: Configuration, destination: Destination, *, is_asked_for: bool
) -> Rules:
    """What counts for a configuration at a destination: the destination's own retention, else the configuration's.

    A deleted configuration keeps its restore points unless somebody asks for a cleanup of just this one."""
    document, zone = configuration.document, zone_of(installation, configuration)
    if configuration.deleted_at is not None and not is_asked_for:
        return Rules(None, zone, f"{configuration.id} was deleted, and its restore points stay until it is named.")
    own, unclear = _of_destination(installation, document, destination)
    if unclear:
        return Rules(None, zone, unclear)
    typed = own or document.get("retention")
    if typed is None:
        return Rules(None, zone, f"{configuration.id} names no retention, so nothing is removed.")
    return Rules(policy(typed), zone)


def zone_of(installation: Installation, configuration: Configuration | None) -> ZoneInfo:
    """In which days of a configuration are counted: its own zone, or the service's."""
    named = None if configuration is None else configuration.document.get("timezone")
    return ZoneInfo(named or installation.settings.timezone)


def policy(typed: Mapping[str, int]) -> Policy:
    """The rules of a retention as a document has it."""
    counts = {**RETENTION, **typed}
    return Policy(**{inside: counts[outside] for inside, outside in _FIELDS.items()})


def verdicts(
    installation: Installation,
    configuration: Configuration,
    destination: Destination,
    counted: Rules,
    *,
    there: Collection[bytes] | None,
) -> list[Verdict]:
    """One for each restore point that is there (None: all on record) and not in the trash, newest first."""
    found = {records.identity(backup): backup for backup in _backups(installation, configuration, destination)}
    spoken = ZoneInfo(installation.settings.timezone)  # in which `pin --until` was typed
    points = [
        _point(backup, destination, spoken) for identity, backup in found.items() if there is None or identity in there
    ]
    if counted.policy is None:
        ordered = sorted(points, key=lambda point: (point.made_at, point.id), reverse=True)
        decisions = [Decision(point, True, ("nothing is removed",)) for point in ordered]
    else:
        decisions = plan_retention(points, counted.policy, counted.zone, now=installation.clock())
    return [Verdict(found[decision.point.id], decision) for decision in decisions]


def series_at(installation: Installation, destination: Destination) -> list[Configuration]:
    """The configurations, deleted ones too, that have restore points at a destination; by id."""
    query = (
        select(Configuration)
        .where(
            Configuration.id.in_(
                select(Backup.config_id)
                .join(BackupCopy, BackupCopy.backup_id == Backup.id)
                .where(BackupCopy.destination_id == destination.id, BackupCopy.state.in_((PRESENT, DAMAGED)))
            )
        )
        .order_by(Configuration.id)
    )
    with installation.database.reading() as session:
        return list(session.scalars(query))


def made_at(backup: Backup) -> datetime:
    """The time that retention counts by: when the run began, as its contents were then. A nightly backup that ends
    before midnight on one day and after it on another is still one of each day."""
    return backup.started_at


def _backups(installation: Installation, configuration: Configuration, destination: Destination) -> list[Backup]:
    query = (
        select(Backup)
        .join(BackupCopy, BackupCopy.backup_id == Backup.id)
        .where(
            Backup.config_id == configuration.id,
            BackupCopy.destination_id == destination.id,
            BackupCopy.state.in_((PRESENT, DAMAGED)),
            BackupCopy.trashed_at.is_(None),
        )
        .options(selectinload(Backup.copies))
    )
    with installation.database.reading() as session:
        return list(session.scalars(query))


def _point(backup: Backup, destination: Destination, zone: ZoneInfo) -> Point:
    copy = next(each for each in backup.copies if each.destination_id == destination.id)
    is_good = copy.state == PRESENT
    hold = backup.hold
    until = None if hold is None or hold.until_at is None else hold.until_at.astimezone(zone)
    return Point(
        records.identity(backup),
        made_at(backup),
        is_good=is_good,
        is_verified=is_good and copy.verified_at is not None,
        holds=() if hold is None else (Hold(hold.reason, until),),
        parts=frozenset({"databases"} if backup.databases else ()) | frozenset({"files"} if backup.paths else ()),
    )


def _of_destination(
    installation: Installation, document: Mapping[str, Any], destination: Destination
) -> tuple[Mapping[str, int] | None, str]:
    """The retention that the configuration gives this destination alone (None without one), or why that is unclear."""
    lost = False
    for item in document["destinations"]:
        is_this = _names(installation, item, destination)
        if is_this:
            return item.get("retention"), ""
        lost = lost or (is_this is None and item.get("retention") is not None)
    if lost:
        why = f"{document['id']} has a destination with a retention of its own, and that may be {destination.name}"
        return None, f"{why}: set the variables that it names, or back up to it once."
    return None, ""


def _names(installation: Installation, item: Mapping[str, Any], destination: Destination) -> bool | None:
    """Whether a destination of a configuration is this one: by its name, or by its place. None when that cannot be
    told: a variable that it names is not set, or it has a retention of its own and its place is on no record, so that
    it may be this one moved. Without a retention that makes no difference, and is simply no."""
    if "ref" in item:
        return bool(item["ref"] == destination.name)
    environment = installation.settings.environment
    try:
        settings = {
            name: placeholders.substitute(typed, environment) if isinstance(typed, str) else typed
            for name, typed in {**kinds.settings_defaults(item["type"]), **item["config"]}.items()
        }
    except KeyError:
        return None
    place = destinations.place_of(installation, item["type"], settings)
    if place == destination.place:
        return True
    if item.get("retention") is None:
        return False  # then it makes no difference: no query for each destination
    with installation.database.reading() as session:
        is_known = session.scalars(select(Destination.id).where(Destination.place == place)).first() is not None
    return False if is_known else None

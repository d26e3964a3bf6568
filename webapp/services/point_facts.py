"""What a restore point is worth: how many there are day by day, why each stays, and what of a damaged one restores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, case, distinct, func, literal_column, or_, select

from webapp.installation import Installation
from webapp.models import Backup, BackupCopy, Configuration, Verification
from webapp.models.backup import DAMAGED, LOST, PRESENT
from webapp.models.verification import FOUND
from webapp.services import retention
from webapp.services.retention import Verdict
from webapp.services.sql_terms import day_there

WEEKS = 26
_CHECKS = 20
_KEPT = (PRESENT, DAMAGED)


@dataclass(frozen=True)
class Day:
    """The restore points of one day, and how many of them have a copy that is damaged or lost."""

    day: date
    points: int
    damaged: int


@dataclass(frozen=True)
class Damage:
    """What is known of a damaged restore point. `sound` are destinations with a good copy: all of it restores from
    there. `files` are those that no check could read, where none is sound; `is_whole` when more than files is hit."""

    sound: tuple[str, ...]
    files: tuple[str, ...]
    reasons: tuple[str, ...]
    is_whole: bool


def configuration_of(installation: Installation, config_id: str | None) -> Configuration | None:
    """Also one that was deleted; None for one that never was."""
    if config_id is None:
        return None
    with installation.database.reading() as session:
        return session.get(Configuration, config_id)


def calendar(
    installation: Installation, configuration: Configuration | None, *, config_id: str | None = None
) -> list[Day]:
    """The last 26 weeks, in the zone of the configuration or of the service; of one configuration or of all."""
    zone = retention.zone_of(installation, configuration)
    days = weeks_until(installation.clock().astimezone(zone).date())
    day: Any = day_there(Backup.finished_at, _ahead(days, zone)).label("day")
    since = datetime.combine(days[0], time(), zone).astimezone(UTC)
    kept = Backup.deleted_at.is_(None), Backup.finished_at >= since
    of_one = () if config_id is None else (Backup.config_id == config_id,)
    hurt = BackupCopy.state.in_((DAMAGED, LOST)) & BackupCopy.trashed_at.is_(None)
    # Two queries: with the copies joined to all of them, 20,000 restore points take three times as long.
    made = select(day, func.count(Backup.id)).where(*kept, *of_one).group_by("day")
    bad = select(day, func.count(distinct(Backup.id))).join(BackupCopy, BackupCopy.backup_id == Backup.id)
    bad = bad.where(hurt, *kept, *of_one).group_by("day")
    with installation.database.reading() as session:
        points = {row[0]: row[1] for row in session.execute(made)}
        damaged = {row[0]: row[1] for row in session.execute(bad)}
    return [Day(each, points.get(f"{each}", 0), damaged.get(f"{each}", 0)) for each in days]


def weeks_until(today: date) -> list[date]:
    """The days of the last 26 weeks, from a Monday on."""
    days = today.weekday() + 7 * (WEEKS - 1)
    return [today - timedelta(days=days - number) for number in range(days + 1)]


def kept_because(
    installation: Installation, configuration: Configuration, points: Sequence[Backup]
) -> Mapping[str, str]:
    """Of restore points of one configuration, by public id: why they stay, or that the next clean-up takes them, at the
    destination where most of them lie. By what is on record; no destination is asked."""
    held = Counter(copy.destination_id for point in points for copy in point.copies if copy.state in _KEPT)
    if not held:
        return {}
    (most, _), *_ = held.most_common(1)
    destination = next(copy.destination for point in points for copy in point.copies if copy.destination_id == most)
    counted = retention.rules(installation, configuration, destination, is_asked_for=False)
    if counted.policy is None:
        return {point.public_id: counted.why for point in points}
    verdicts = retention.verdicts(installation, configuration, destination, counted, there=None)
    return {verdict.backup.public_id: _said(verdict) for verdict in verdicts}


def damage(installation: Installation, point: Backup) -> Damage | None:
    """None for one that no check found damaged. `point` has its copies with their destinations."""
    states = {copy.state for copy in point.copies if copy.trashed_at is None}
    if not states & {DAMAGED, LOST}:
        return None
    sound = tuple(copy.destination.name for copy in point.copies if copy.state == PRESENT and copy.trashed_at is None)
    query = (
        select(Verification.errors)
        .where(Verification.state == FOUND, or_(Verification.backup_id == point.id, Verification.backup_id.is_(None)))
        .order_by(Verification.id.desc())
        .limit(_CHECKS)
    )
    with installation.database.reading() as session:
        told = [error for errors in session.scalars(query) for error in errors if point.public_id in error["backups"]]
    files = dict.fromkeys(name for error in told for name in error["files"])
    reasons = dict.fromkeys(f"{error['destination']}: {error['reason']}" for error in told)
    is_whole = not told or any(not error["files"] for error in told)
    return Damage(sound, tuple(files), tuple(reasons), is_whole)


def _ahead(days: Sequence[date], zone: ZoneInfo) -> ColumnElement[int]:
    """By how many seconds the zone is ahead of UTC when a restore point ended. On a day on which clocks change it is
    told at noon: before it by its first midnight, after it by its last, so every moment falls into its day."""
    midnights = [datetime.combine(day, time(), zone) for day in (*days, days[-1] + timedelta(days=1))]
    ahead = [int((midnight.utcoffset() or timedelta()).total_seconds()) for midnight in midnights]
    changes: list[tuple[ColumnElement[bool], ColumnElement[int]]] = [
        (Backup.finished_at < midnight.replace(hour=12).astimezone(UTC), literal_column(f"{before}"))
        for midnight, (before, after) in zip(midnights, pairwise(ahead), strict=False)
        if before != after
    ]
    last: ColumnElement[int] = literal_column(f"{ahead[-1]}")
    return case(*changes, else_=last) if changes else last


def _said(verdict: Verdict) -> str:
    reasons = "; ".join(verdict.decision.reasons)
    return reasons if verdict.decision.keep else f"goes with the next clean-up: {reasons}"

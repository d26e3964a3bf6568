"""What a restore point is worth: how many there are day by day, why each stays, and what of a damaged one restores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import case, distinct, func, or_, select

from engine import ids
from webapp.installation import Installation
from webapp.models import Backup, BackupCopy, Configuration, Verification
from webapp.models.backup import DAMAGED, LOST, PRESENT
from webapp.models.verification import FOUND
from webapp.services import records, retention
from webapp.services.retention import Verdict
from webapp.services.sql_times import utc_day

WEEKS = 26
_CHECKS = 20
_KEPT = (PRESENT, DAMAGED)


@dataclass(frozen=True)
class Day:
    """The restore points of one day (UTC), and how many of them have a copy that is damaged or lost."""

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


def calendar(installation: Installation, config_id: str | None) -> list[Day]:
    """The last 26 weeks, from a Monday on until today, a day each."""
    today = installation.clock().date()
    first = today - timedelta(days=today.weekday() + 7 * (WEEKS - 1))
    day: Any = utc_day(Backup.finished_at)
    hurt = BackupCopy.state.in_((DAMAGED, LOST)) & BackupCopy.trashed_at.is_(None)
    query = (
        select(day, func.count(distinct(Backup.id)), func.count(distinct(case((hurt, Backup.id)))))
        .join(BackupCopy, BackupCopy.backup_id == Backup.id)
        .where(Backup.deleted_at.is_(None), Backup.finished_at >= datetime.combine(first, datetime.min.time(), UTC))
        .group_by(day)
    )
    if config_id is not None:
        query = query.where(Backup.config_id == config_id)
    with installation.database.reading() as session:
        found = {date.fromisoformat(text): (count, bad) for text, count, bad in session.execute(query)}
    days = [first + timedelta(days=number) for number in range((today - first).days + 1)]
    return [Day(each, *found.get(each, (0, 0))) for each in days]


def kept_because(installation: Installation, config_id: str, points: Sequence[Backup]) -> Mapping[str, str]:
    """Of restore points of one configuration, by public id: why they stay, or that the next clean-up takes them, at the
    destination where most of them lie. By what is on record; no destination is asked."""
    held = Counter(copy.destination_id for point in points for copy in point.copies if copy.state in _KEPT)
    if not held:
        return {}
    (most, _), *_ = held.most_common(1)
    destination = next(copy.destination for point in points for copy in point.copies if copy.destination_id == most)
    with installation.database.reading() as session:
        configuration = session.get_one(Configuration, config_id)
        names = list(session.scalars(select(Backup.public_id).where(Backup.config_id == config_id)))
    counted = retention.rules(installation, configuration, destination, is_asked_for=False)
    if counted.policy is None:
        return dict.fromkeys(names, counted.why)
    known = {ids.parse(records.PREFIX, name) for name in names}
    verdicts = retention.verdicts(installation, configuration, destination, counted, there=known)
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


def _said(verdict: Verdict) -> str:
    reasons = "; ".join(verdict.decision.reasons)
    return reasons if verdict.decision.keep else f"goes with the next clean-up: {reasons}"

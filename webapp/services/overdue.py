"""Backups that should be there and are not: told when the objective passes, and again at each reminder interval."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache

from sqlalchemy import func, select

from webapp.installation import Installation
from webapp.models import Backup, BackupCopy, Configuration, Schedule
from webapp.models.backup import PRESENT
from webapp.models.event import MISSED, Event
from webapp.services import schedules
from webapp.services.wholes import is_whole

# Without an objective of its own a configuration may miss one time of its schedule, and this much of the next.
GRACE = timedelta(minutes=15)


def look(installation: Installation) -> list[str]:
    """The configurations that are overdue since now, or still and told again; an event was written for each."""
    now = installation.clock()
    usable = select(BackupCopy.backup_id).where(BackupCopy.state == PRESENT, BackupCopy.trashed_at.is_(None))
    newest = (
        select(Backup.config_id, func.max(Backup.finished_at).label("at"))
        .where(Backup.deleted_at.is_(None), Backup.id.in_(usable), is_whole(Backup))
        .group_by(Backup.config_id)
        .subquery()
    )
    query = (
        select(Configuration, Schedule, newest.c.at)
        .join(Schedule, Schedule.config_id == Configuration.id)
        .outerjoin(newest, newest.c.config_id == Configuration.id)
        .where(Configuration.deleted_at.is_(None), Configuration.enabled.is_(True))
    )
    with installation.database.reading() as session:
        rows = session.execute(query).all()
    found = []
    for configuration, schedule, at in rows:
        deadline = due_by(configuration, schedule, at)
        is_late = deadline is not None and deadline < now
        if is_late and schedule.missed_at is not None:
            is_new = _remind(installation, configuration, at)
        else:
            is_new = is_late != (schedule.missed_at is not None) and _note(
                installation, configuration, at, is_late=is_late
            )
        if is_new:
            found.append(configuration.id)
    return found


def due_by(configuration: Configuration, schedule: Schedule, newest: datetime | None) -> datetime | None:
    """When the next restore point has to be there; None when nothing was promised, or it is paused."""
    since = newest or configuration.created_at
    objectives = configuration.document.get("objectives") or {}
    if objectives.get("rpoMinutes"):
        return since + timedelta(minutes=objectives["rpoMinutes"])
    if schedule.next_at is None or schedule.expression is None:
        return None
    return _second(schedule.expression, schedule.zone, max(since, configuration.updated_at)) + GRACE


@lru_cache(maxsize=4096)
def _second(expression: str, zone: str, since: datetime) -> datetime:
    """The time of a schedule after the next. It follows from these three alone, and to step through 200 schedules at
    each look at a page takes 40 ms."""
    _, second = schedules.preview(expression, zone, since, 2)
    return second


def _note(installation: Installation, configuration: Configuration, newest: datetime | None, *, is_late: bool) -> bool:
    """Whether this call was the one that noted it as overdue."""
    now = installation.clock()
    with installation.database.transaction() as session:
        row = session.get(Schedule, configuration.id, with_for_update=True)
        if row is None or (row.missed_at is not None) == is_late:
            return False
        row.missed_at = now if is_late else None
        if is_late:
            session.add(_event(configuration, newest, now))
    return is_late


def _remind(installation: Installation, configuration: Configuration, newest: datetime | None) -> bool:
    """Whether this call was the one that told it again, when the reminder interval is over and nothing has changed."""
    now, remind = installation.clock(), installation.settings.notify.remind
    if not remind:
        return False  # there it means: each trouble is told, and this one was
    last = select(func.max(Event.at)).where(Event.config_id == configuration.id, Event.kind == MISSED)
    with installation.database.transaction() as session:
        session.get(Schedule, configuration.id, with_for_update=True)  # another tick waits here, and then finds it told
        told = session.scalar(last)
        if told is not None and told + remind > now:
            return False
        session.add(_event(configuration, newest, now))
    return True


def _event(configuration: Configuration, newest: datetime | None, now: datetime) -> Event:
    details = {"newestAt": None if newest is None else newest.isoformat()}
    return Event(kind=MISSED, config_id=configuration.id, at=now, details=details)

"""What happened lately, for the pages: backups by day, what is running, what the last weeks added."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import func, select

from webapp.installation import Installation
from webapp.models import Backup, Run, Schedule
from webapp.models.run import ACTIVE, CANCELLED, FAILED, INTERRUPTED, QUEUED, RUNNING, SUCCEEDED, UNDO, WARNING
from webapp.services.restore_points import total_of
from webapp.services.sql_times import utc_day

DAYS = 30
_PATIENCE = timedelta(minutes=2)
GOOD, WARNED, BAD, NOTHING = "good", "warning", "failed", "nothing"
_OUTCOMES = {SUCCEEDED: GOOD, WARNING: WARNED, FAILED: BAD, INTERRUPTED: BAD}


@dataclass(frozen=True)
class Day:
    """The backups of one day (UTC) that ended."""

    day: date
    good: int = 0
    warned: int = 0
    bad: int = 0

    @property
    def outcome(self) -> str:
        """The worst of the day."""
        return BAD if self.bad else WARNED if self.warned else GOOD if self.good else NOTHING


@dataclass(frozen=True)
class Added:
    """Bytes of the restore points made in the last 30 days: what a restore of all would write, what it took."""

    points: int
    total: int
    stored: int


def days(installation: Installation) -> dict[str, list[Day]]:
    """The last 30 days by the id of the configuration, the oldest first; under "" those of all together."""
    today = installation.clock().date()
    first = today - timedelta(days=DAYS - 1)
    day: Any = utc_day(Run.created_at)
    query = (
        select(Run.config_id, day, Run.state, func.count(Run.id))
        .where(Run.kind == "create", Run.created_at >= _midnight(first, installation.clock()))
        .where(Run.state.notin_((*ACTIVE, CANCELLED)))
        .group_by(Run.config_id, day, Run.state)
    )
    found: dict[str, dict[date, dict[str, int]]] = {"": {}}
    with installation.database.reading() as session:
        rows = session.execute(query).all()
    for config_id, text, state, count in rows:
        for key in (config_id, ""):
            of_day = found.setdefault(key, {}).setdefault(date.fromisoformat(text), {})
            of_day[_OUTCOMES[state]] = of_day.get(_OUTCOMES[state], 0) + count
    span = [first + timedelta(days=number) for number in range(DAYS)]
    return {key: [_day(each, by_day.get(each, {})) for each in span] for key, by_day in found.items()}


def active(installation: Installation) -> list[Run]:
    """Runs that wait or are at work, the oldest first."""
    with installation.database.reading() as session:
        return list(session.scalars(select(Run).where(Run.state.in_(ACTIVE)).order_by(Run.id)))


def added(installation: Installation) -> Added:
    """Of the last 30 days."""
    since = installation.clock() - timedelta(days=DAYS)
    sums = [func.coalesce(func.sum(total_of(name)), 0) for name in ("bytes", "bytesStored")]
    query = select(func.count(Backup.id), *sums).where(Backup.finished_at >= since, Backup.deleted_at.is_(None))
    with installation.database.reading() as session:
        return Added(*(int(value) for value in session.execute(query).one()))


def _midnight(day: date, like: datetime) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=like.tzinfo)


def _day(day: date, counted: dict[str, int]) -> Day:
    return Day(day, counted.get(GOOD, 0), counted.get(WARNED, 0), counted.get(BAD, 0))


def success_rate(days: list[Day]) -> tuple[int, int]:
    """Backups that ended in a restore point, and all that ended."""
    good = sum(day.good + day.warned for day in days)
    return good, good + sum(day.bad for day in days)


def last_restore(installation: Installation) -> Run | None:
    """The restore that ended well last: how long one takes. To undo one is not to restore."""
    is_restore = (Run.kind == "restore") & Run.type.is_distinct_from(UNDO)
    query = select(Run).where(is_restore, Run.state.in_((SUCCEEDED, WARNING))).order_by(Run.id.desc())
    with installation.database.reading() as session:
        return session.scalars(query.limit(1)).first()


def standstill(installation: Installation) -> str:
    """Why backups do not run by themselves just now, in a sentence; "" while they do: nothing that was due more than
    two minutes ago was left undone, and no run has waited for so long for a worker."""
    late = installation.clock() - _PATIENCE
    busy = select(Run.config_id).where(Run.kind == "create", Run.state.in_(ACTIVE), Run.config_id.is_not(None))
    due: Any = select(func.min(Schedule.next_at)).where(Schedule.next_at < late, Schedule.config_id.not_in(busy))
    alive = installation.clock() - timedelta(seconds=installation.expiry_seconds)
    served = select(Run.queue).where(Run.state == RUNNING, Run.heartbeat_at >= alive, Run.queue.is_not(None))
    waiting: Any = select(func.min(Run.created_at)).where(
        Run.state == QUEUED, Run.created_at < late, Run.queue.not_in(served)
    )
    query = select(due.scalar_subquery(), waiting.scalar_subquery())
    with installation.database.reading() as session:
        since, asked = session.execute(query).one()
    if since is not None:
        return f"The scheduler did not start what was due at {since:%Y-%m-%d %H:%M} UTC. No backup runs by itself."
    if asked is not None:
        return f"A run has waited for a worker since {asked:%Y-%m-%d %H:%M} UTC. Nothing is carried out."
    return ""

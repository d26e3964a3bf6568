"""What happened lately, for the pages: backups by day, what is running, what the last weeks added."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from sqlalchemy import Row, func, select

from webapp.installation import Installation
from webapp.models import DayFigures, Destination, Run, RunPhase, Schedule
from webapp.models.figures import EVERY
from webapp.models.run import ACTIVE, FAILED, INTERRUPTED, SUCCEEDED, WARNING
from webapp.services import proofs, trends, waiting
from webapp.services.figures import STATE, day_of

DAYS = 30
GOOD, WARNED, BAD, NOTHING = "good", "warning", "failed", "nothing"


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
class Month:
    """What is told of the last 30 days, as `stats` tells it: `days` by the id of the configuration, the oldest first,
    and of all together `every` day on which something happened (from `since` on)."""

    since: date
    days: dict[str, list[Day]]
    every: list[trends.Day]

    @property
    def good(self) -> int:
        """Backups that made a restore point."""
        return self._count(SUCCEEDED, WARNING)

    @property
    def bad(self) -> int:
        """Backups that failed or were interrupted."""
        return self._count(FAILED, INTERRUPTED)

    @property
    def stored(self) -> int:
        """Bytes that the restore points took."""
        return sum(day.stored for day in self.every)

    @property
    def total(self) -> int:
        """Bytes that a restore of all of them would write."""
        return sum(day.total for day in self.every)

    def _count(self, *states: str) -> int:
        return sum(day.runs.get(state, 0) for day in self.every for state in states)


@dataclass(frozen=True)
class Work:
    """A run that waits or is at work, and the phase that it is in."""

    run: Run
    phase: RunPhase | None


@dataclass(frozen=True)
class Current:
    """What is going on, the oldest first, and the restore that ended well last: how long one takes."""

    works: tuple[Work, ...]
    restored: Run | None


def month(installation: Installation, config_ids: Collection[str]) -> Month:
    """With the days of these configurations. Two queries."""
    now = installation.clock()
    since = now.date() - timedelta(days=DAYS)
    query = select(DayFigures.config_id, DayFigures.day, DayFigures.sums).where(
        DayFigures.config_id.in_((EVERY, *config_ids)), DayFigures.day.between(since.isoformat(), day_of(now))
    )
    with installation.database.reading() as session:
        rows = session.execute(query.order_by(DayFigures.day)).all()
        names = dict(session.execute(select(Destination.id, Destination.name)).all())
    every = [trends.day_of_sums(day, sums, names) for name, day, sums in rows if name == EVERY]
    others = [row for row in rows if row.config_id != EVERY]
    return Month(since, _by_configuration(others, now.date()), every)


def days(installation: Installation, config_ids: Collection[str] | None = None) -> dict[str, list[Day]]:
    """The last 30 days by the id of the configuration (of all, or of these), the oldest first. One query."""
    today = installation.clock().date()
    first = today - timedelta(days=DAYS - 1)
    query = select(DayFigures.config_id, DayFigures.day, DayFigures.sums).where(
        DayFigures.day.between(first.isoformat(), today.isoformat()), DayFigures.config_id != EVERY
    )
    if config_ids is not None:
        query = query.where(DayFigures.config_id.in_(config_ids))
    with installation.database.reading() as session:
        rows = session.execute(query).all()
    return _by_configuration(rows, today)


def current(installation: Installation) -> Current:
    """Two facts in one query: the overview may ask twelve."""
    last = select(func.max(Run.id)).where(proofs.proving_restore())
    newest = (
        select(RunPhase.run_id, func.max(RunPhase.position).label("position"))
        .where(RunPhase.run_id.in_(select(Run.id).where(Run.state.in_(ACTIVE))))
        .group_by(RunPhase.run_id)
        .subquery()
    )
    query = (
        select(Run, RunPhase)
        .outerjoin(newest, newest.c.run_id == Run.id)
        .outerjoin(RunPhase, (RunPhase.run_id == newest.c.run_id) & (RunPhase.position == newest.c.position))
        .where(Run.state.in_(ACTIVE) | (Run.id == last.scalar_subquery()))
        .order_by(Run.id)
    )
    with installation.database.reading() as session:
        rows = session.execute(query).all()
    works = tuple(Work(run, phase) for run, phase in rows if run.is_active)
    return Current(works, next((run for run, _ in rows if not run.is_active), None))


def _by_configuration(rows: Iterable[Row[str, str, dict[str, Any]]], today: date) -> dict[str, list[Day]]:
    first = today - timedelta(days=DAYS - 1)
    found: dict[str, dict[date, Day]] = {}
    for name, text, sums in rows:
        day = date.fromisoformat(text)
        bad = sums.get(STATE + FAILED, 0) + sums.get(STATE + INTERRUPTED, 0)
        counted = Day(day, sums.get(STATE + SUCCEEDED, 0), sums.get(STATE + WARNING, 0), bad)
        if day >= first and counted.outcome != NOTHING:
            found.setdefault(name, {})[day] = counted
    span = [first + timedelta(days=number) for number in range(DAYS)]
    return {name: [by_day.get(day) or Day(day) for day in span] for name, by_day in found.items()}


def standstill(installation: Installation) -> str:
    """Why backups do not run by themselves just now, in a sentence; "" while they do: nothing that was due more than
    two minutes ago was left undone, and no run has waited for so long for a worker."""
    late = installation.clock() - waiting.PATIENCE
    busy = select(Run.config_id).where(Run.kind == "create", Run.state.in_(ACTIVE), Run.config_id.is_not(None))
    due: Any = select(func.min(Schedule.next_at)).where(Schedule.next_at < late, Schedule.config_id.not_in(busy))
    query = select(due.scalar_subquery(), waiting.unserved_since(installation))
    with installation.database.reading() as session:
        since, asked = session.execute(query).one()
    if since is not None:
        return f"The scheduler did not start what was due at {since:%Y-%m-%d %H:%M} UTC. No backup runs by itself."
    if asked is not None:
        return f"A run has waited for a worker since {asked:%Y-%m-%d %H:%M} UTC. Nothing is carried out."
    return ""

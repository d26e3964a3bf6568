"""Figures by day, from a few grouped queries: how runs ended; what was stored, by type, configuration, destination.

A day is one of UTC. Days without runs and without restore points are left out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, case, func, select

from webapp.installation import Installation
from webapp.models import Backup, BackupCopy, Destination, Run
from webapp.models.backup import MISSED
from webapp.models.run import FAILED, INTERRUPTED
from webapp.services.restore_points import total_of
from webapp.services.sql_times import utc_day

# Of more configurations nobody can follow the lines; the others are the rest of the day's whole.
TOP = 10
SUMS = ("bytes", "bytesRead", "bytesNew", "bytesStored")
_CREATE = "create"


@dataclass
class Day:
    """`runs` counts backup runs by state. `stored` and the three parts are bytes that the restore points made that day
    took: by type, by configuration (the largest TOP of the period), and by destination, which is more than the whole
    where a backup goes to several."""

    day: str
    runs: dict[str, int] = field(default_factory=dict)
    stored: int = 0
    by_type: dict[str, int] = field(default_factory=dict)
    by_config: dict[str, int] = field(default_factory=dict)
    by_destination: dict[str, int] = field(default_factory=dict)


@dataclass
class Trend:
    """`states` and `causes` count backup runs of the whole period, `sums` are the SUMS of its `backups` (also of those
    that were removed since), `grown` the bytes that all configurations added at each destination (by row)."""

    days: list[Day]
    states: dict[str, int]
    causes: dict[str, int]
    backups: int
    sums: tuple[int, ...]
    by_type: dict[str, int]
    grown: dict[int, int]


def trend(installation: Installation, since: datetime, *, config_id: str | None = None) -> Trend:
    """What happened since then, of all configurations or of one. Three queries."""
    found = _Collected()
    with installation.database.reading() as session:
        for day, state, cause, count in session.execute(_runs(since, config_id)):
            found.add_runs(day, state, cause, count)
        for day, backup_type, name, count, *sums in session.execute(_made(since, config_id)):
            found.add_made(day, backup_type, name, count, sums)
        for day, number, name, stored, wanted in session.execute(_by_destination(since, config_id)):
            found.grown[number] += int(stored)
            if wanted:
                found.days[day].by_destination[name] = int(wanted)
    return found.trend()


def grown(installation: Installation, since: datetime) -> dict[int, int]:
    """The bytes that were added at each destination (by row) since then. One query."""
    found: dict[int, int] = defaultdict(int)
    with installation.database.reading() as session:
        for _, number, _, stored, _ in session.execute(_by_destination(since, None)):
            found[number] += int(stored)
    return found


class _Collected:
    def __init__(self) -> None:
        self.days = _Days()
        self.states: dict[str, int] = defaultdict(int)
        self.causes: dict[str, int] = defaultdict(int)
        self.by_type: dict[str, int] = {}
        self.by_config: dict[str, int] = defaultdict(int)
        self.grown: dict[int, int] = defaultdict(int)
        self.backups = 0
        self.sums = [0] * len(SUMS)

    def add_runs(self, day: str, state: str, cause: str | None, count: int) -> None:
        runs = self.days[day].runs
        runs[state] = runs.get(state, 0) + count
        self.states[state] += count
        if state in (FAILED, INTERRUPTED):
            self.causes[cause or "unknown"] += count

    def add_made(self, name: str, backup_type: str, config_id: str, count: int, sums: Sequence[int]) -> None:
        self.backups += count
        self.sums = [total + int(part) for total, part in zip(self.sums, sums, strict=True)]
        day, stored = self.days[name], int(sums[-1])
        day.stored += stored
        for parts, part in ((day.by_type, backup_type), (day.by_config, config_id), (self.by_type, backup_type)):
            parts[part] = parts.get(part, 0) + stored
        self.by_config[config_id] += stored

    def trend(self) -> Trend:
        causes = dict(sorted(self.causes.items(), key=lambda item: (-item[1], item[0])))
        days = [self.days[name] for name in sorted(self.days)]
        largest = set(sorted(self.by_config, key=lambda name: (-self.by_config[name], name))[:TOP])
        for day in days:
            day.by_config = {name: stored for name, stored in day.by_config.items() if name in largest}
        sums = tuple(self.sums)
        return Trend(days, dict(self.states), causes, self.backups, sums, self.by_type, dict(self.grown))


class _Days(dict[str, Day]):
    def __missing__(self, day: str) -> Day:
        self[day] = Day(day)
        return self[day]


def _period(since: datetime, config_id: str | None) -> list[ColumnElement[bool]]:
    wanted = [Run.kind == _CREATE, Run.created_at >= since]
    return wanted if config_id is None else [*wanted, Run.config_id == config_id]


def _runs(since: datetime, config_id: str | None) -> Select[*tuple[Any, ...]]:
    day = utc_day(Run.created_at)
    columns = select(day, Run.state, Run.cause, func.count(Run.id))
    return columns.where(*_period(since, config_id)).group_by(day, Run.state, Run.cause)


def _made(since: datetime, config_id: str | None) -> Select[*tuple[Any, ...]]:
    day = utc_day(Backup.finished_at)
    sums = [func.coalesce(func.sum(total_of(name)), 0) for name in SUMS]
    query = select(day, Backup.type, Backup.config_id, func.count(Backup.id), *sums)
    query = query.where(Backup.finished_at >= since).group_by(day, Backup.type, Backup.config_id)
    return query if config_id is None else query.where(Backup.config_id == config_id)


def _by_destination(since: datetime, config_id: str | None) -> Select[*tuple[Any, ...]]:
    day, stored = utc_day(Backup.finished_at), total_of("bytesStored")
    mine = stored if config_id is None else case((Backup.config_id == config_id, stored), else_=0)
    return (
        select(day, Destination.id, Destination.name, func.sum(stored), func.sum(mine))
        .select_from(BackupCopy)
        .join(Backup, Backup.id == BackupCopy.backup_id)
        .join(Destination, Destination.id == BackupCopy.destination_id)
        .where(Backup.finished_at >= since, BackupCopy.state != MISSED)
        .group_by(day, Destination.id, Destination.name)
    )

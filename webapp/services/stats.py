"""Figures over the runs, restore points and destinations of an installation, computed when they are asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select

from engine.errors import EngineError
from engine.repository import layout
from webapp.errors import ServiceError
from webapp.installation import Installation
from webapp.models import Backup, Run
from webapp.models.run import FAILED, INTERRUPTED, STATES, SUCCEEDED, WARNING
from webapp.services import objectives, repositories, restore_points
from webapp.services.objectives import Attained
from webapp.services.restore_points import READY, Place, Series, total_of

_CREATE = "create"
_MEDIAN, _HIGH = 50, 95


@dataclass(frozen=True)
class Runs:
    """Backup runs asked for in the period. `success_rate` (0 to 1) leaves out those that somebody cancelled and those
    that have not ended; it is None when no other is left. Durations are seconds of runs that made a restore point."""

    by_status: dict[str, int]
    success_rate: float | None
    duration_p50: float | None
    duration_p95: float | None


@dataclass(frozen=True)
class Bytes:
    """Of the restore points made in the period, in bytes: `total` is what a restore of all would write, `read` what
    was read from the sources, `new` what no earlier point held, `stored` what that took after compression."""

    backups: int
    total: int
    read: int
    new: int
    stored: int

    @property
    def deduplication_ratio(self) -> float | None:
        """How many bytes of restore points stand behind each new one; None when nothing was new."""
        return self.total / self.new if self.new else None

    @property
    def reduction_ratio(self) -> float | None:
        """The same for each stored byte: deduplication and compression together."""
        return self.total / self.stored if self.stored else None


@dataclass(frozen=True)
class Storage:
    """What lies at one destination now: `packs` and their `bytes` are None when they could not be listed.
    `days_until_full` is by what the period added each day; None when nobody can tell."""

    place: Place
    packs: int | None
    bytes: int | None
    days_until_full: float | None = None


@dataclass(frozen=True)
class Stats:
    """All figures. `since` is where the period begins."""

    since: datetime
    runs: Runs
    bytes: Bytes
    series: list[Series]
    storage: list[Storage]
    failures: dict[str, int]
    attained: list[Attained]


def stats(installation: Installation, *, period: timedelta, config_id: str | None = None) -> Stats:
    """The figures of the last `period`; with `config_id` runs, bytes and restore points of this configuration alone.

    Raises NotFound for a configuration that never was.
    """
    if config_id is not None:
        restore_points.require_series(installation, config_id)
    since = installation.clock() - period
    growth = objectives.stored_per_day(installation, since)
    return Stats(
        since=since,
        runs=_runs(installation, since, config_id),
        bytes=_bytes(installation, since, config_id),
        series=restore_points.series(installation, config_id=config_id),
        storage=[
            _storage(installation, place, growth.get(place.destination.id, 0.0))
            for place in restore_points.places(installation)
        ],
        failures=objectives.failures(installation, since, config_id=config_id),
        attained=objectives.attained(installation, since, config_id=config_id),
    )


def percentile(values: Sequence[float], percent: int) -> float | None:
    """The smallest of the sorted `values` that at least `percent` of them do not exceed; None for none."""
    if not values:
        return None
    return values[max(0, math.ceil(len(values) * percent / 100) - 1)]


def _runs(installation: Installation, since: datetime, config_id: str | None) -> Runs:
    wanted = [Run.kind == _CREATE, Run.created_at >= since]
    if config_id is not None:
        wanted.append(Run.config_id == config_id)
    with installation.database.reading() as session:
        counted = session.execute(select(Run.state, func.count(Run.id)).where(*wanted).group_by(Run.state)).all()
        ended = select(Run.started_at, Run.finished_at).where(*wanted, Run.state.in_((SUCCEEDED, WARNING)))
        times = session.execute(ended).all()
    found = dict(counted)
    durations = sorted((end - start).total_seconds() for start, end in times if start and end)
    good = found.get(SUCCEEDED, 0) + found.get(WARNING, 0)
    judged = good + found.get(FAILED, 0) + found.get(INTERRUPTED, 0)
    return Runs(
        by_status={state: found[state] for state in STATES if found.get(state)},
        success_rate=good / judged if judged else None,
        duration_p50=percentile(durations, _MEDIAN),
        duration_p95=percentile(durations, _HIGH),
    )


def _bytes(installation: Installation, since: datetime, config_id: str | None) -> Bytes:
    sums = [func.coalesce(func.sum(total_of(name)), 0) for name in ("bytes", "bytesRead", "bytesNew", "bytesStored")]
    query = select(func.count(Backup.id), *sums).where(Backup.finished_at >= since, Backup.deleted_at.is_(None))
    if config_id is not None:
        query = query.where(Backup.config_id == config_id)
    with installation.database.reading() as session:
        return Bytes(*(int(value) for value in session.execute(query).one()))


def _storage(installation: Installation, place: Place, per_day: float) -> Storage:
    if place.state != READY:
        return Storage(place, None, None)
    try:
        packs = size = 0
        with closing(repositories.open_storage(installation, place.destination)) as storage:
            for item in storage.list(layout.PACKS):
                packs += 1
                size += item.size
    except (EngineError, ServiceError):
        return Storage(place, None, None)
    return Storage(place, packs, size, objectives.days_until_full(place.free_bytes, per_day))

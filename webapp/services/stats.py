"""Figures over the runs, restore points and destinations of an installation, and the one document that tells them
(`stats --json`, and the API). Those of a period are of whole UTC days: services/figures.py keeps their sums."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from engine.errors import EngineError
from engine.repository import layout
from webapp.errors import ServiceError
from webapp.installation import Installation
from webapp.models.run import FAILED, INTERRUPTED, STATES, SUCCEEDED, WARNING
from webapp.services import figures, objectives, repositories, restore_points, trends
from webapp.services.objectives import Attained
from webapp.services.restore_points import READY, Place, Series
from webapp.services.trends import Day, Trend


@dataclass(frozen=True)
class Runs:
    """Backup runs asked for in the period. `success_rate` (0 to 1) leaves out those that somebody cancelled and those
    that have not ended; it is None when no other is left. Durations are seconds of runs that made a restore point, good
    to two digits; everything else is exact."""

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
    """All figures. `since` is where the period begins, always with a day of UTC; `by_type` are bytes that its restore
    points took."""

    since: datetime
    runs: Runs
    bytes: Bytes
    series: list[Series]
    storage: list[Storage]
    failures: dict[str, int]
    attained: list[Attained]
    by_type: dict[str, int]
    days: list[Day]


def stats(
    installation: Installation,
    *,
    period: timedelta,
    until: datetime | None = None,
    config_id: str | None = None,
    look: bool = True,
    series: bool = True,
) -> Stats:
    """The figures of the last `period` (from the beginning of its first day, up to now or the end of the day of
    `until`); with `config_id` runs, bytes and restore points of this configuration alone. Restore points and storage
    are those of now. Without `look` no destination is asked, which may take seconds, and `storage` is empty; without
    `series` the restore points of now are not counted, and it is empty.

    Raises NotFound for a configuration that never was.
    """
    if config_id is not None:
        restore_points.require_series(installation, config_id)
    now = installation.clock()
    end = now if until is None else min(now, figures.start_of(figures.day_of(until)) + figures.DAY)
    since = figures.start_of(figures.day_of((until or now) - period))
    found = trends.trend(installation, since, until=until, config_id=config_id)
    days = max((end - since) / figures.DAY, 1.0)
    return Stats(
        since=since,
        runs=_runs(found),
        bytes=Bytes(found.backups, *found.sums),
        series=restore_points.series(installation, config_id=config_id) if series else [],
        storage=[
            _storage(installation, place, found.grown.get(place.destination.id, 0) / days)
            for place in (restore_points.places(installation) if look else ())
        ],
        failures=found.causes,
        attained=objectives.attained(installation, found.extremes, until=end, config_id=config_id),
        by_type=found.by_type,
        days=found.days,
    )


def _runs(found: Trend) -> Runs:
    states = found.states
    good = states.get(SUCCEEDED, 0) + states.get(WARNING, 0)
    judged = good + states.get(FAILED, 0) + states.get(INTERRUPTED, 0)
    return Runs(
        by_status={state: states[state] for state in STATES if states.get(state)},
        success_rate=good / judged if judged else None,
        duration_p50=found.duration_p50,
        duration_p95=found.duration_p95,
    )


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


def document(found: Stats, config_id: str | None) -> dict[str, Any]:
    """The JSON; times are datetimes."""
    runs, sizes = found.runs, found.bytes
    return {
        "since": found.since,
        "configId": config_id,
        "runs": {
            "total": sum(runs.by_status.values()),
            "byStatus": runs.by_status,
            "successRate": _rounded(runs.success_rate),
            "durationSeconds": {"p50": runs.duration_p50, "p95": runs.duration_p95},
            "failuresByCause": found.failures,
        },
        "bytes": {
            "backups": sizes.backups,
            "total": sizes.total,
            "read": sizes.read,
            "new": sizes.new,
            "stored": sizes.stored,
            "deduplicationRatio": _rounded(sizes.deduplication_ratio),
            "reductionRatio": _rounded(sizes.reduction_ratio),
        },
        "storedByType": found.by_type,
        "trend": [_day(each) for each in found.days],
        "objectives": [
            {
                "configId": each.config_id,
                "rpoMinutes": each.rpo_objective,
                "rpoAttainedSeconds": each.rpo_seconds,
                "rtoMinutes": each.rto_objective,
                "rtoAttainedSeconds": each.rto_seconds,
            }
            for each in found.attained
        ],
        "restorePoints": [_series(each) for each in found.series],
        "destinations": [_place(each) for each in found.storage],
    }


def _day(each: Day) -> dict[str, Any]:
    return {
        "day": each.day,
        "runs": each.runs,
        "durationSeconds": {"p50": each.duration_p50, "p95": each.duration_p95},
        "bytesTotal": each.total,
        "bytesNew": each.new,
        "bytesStored": each.stored,
        "byType": each.by_type,
        "byConfig": each.by_config,
        "byDestination": each.by_destination,
    }


def _series(each: Series) -> dict[str, Any]:
    return {
        "configId": each.config_id,
        "count": each.count,
        "bytes": each.bytes,
        "oldestAt": each.oldest_at,
        "newestAt": each.newest_at,
        "newestAgeSeconds": None if each.newest_age is None else each.newest_age.total_seconds(),
    }


def _place(each: Storage) -> dict[str, Any]:
    place = each.place
    return {
        "name": place.destination.name,
        "type": place.destination.kind,
        "status": place.state,
        "copies": place.copies,
        "trashed": place.trashed,
        "packs": each.packs,
        "bytes": each.bytes,
        "freeBytes": place.free_bytes,
        "daysUntilFull": _rounded(each.days_until_full),
        "error": None if place.trouble is None else place.trouble.error,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)

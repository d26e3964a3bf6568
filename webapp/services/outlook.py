"""What a configuration means, before or after it is stored: its schedule in words, the next runs and what is odd about
them, what its retention keeps, and about how much space that takes. Only reads; faults are no errors here."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import select

from engine.model.retention import Point, Policy, plan_retention
from webapp.installation import Installation
from webapp.models import Backup, Configuration, Schedule
from webapp.schema.defaults import RETENTION
from webapp.schema.times import cron_fault, plain_cron, zone_fault
from webapp.services import schedules

NEXT = 5
AT_ONCE = 3
_GAPS_LOOKED_AT = 60
_POINTS_LOOKED_AT = 1000
_RUNS_OF_A_PACE = 10
_LATE_DAYS = re.compile(r"\b(29|30|31)\b")
_MINUTE = timedelta(minutes=1)
_PERIODS = ("hourly", "daily", "weekly", "monthly", "yearly")
_UNITS = {"hourly": "hour", "daily": "day", "weekly": "week", "monthly": "month", "yearly": "year"}


@dataclass(frozen=True)
class NextRun:
    """A time at which it will run, in UTC and in its zone; `note` tells when the clocks change at just that time."""

    at: datetime
    local: datetime
    note: str


@dataclass(frozen=True)
class Kept:
    """What a retention would do with the restore points that are on record now."""

    stay: int
    go: int
    oldest_at: datetime | None


@dataclass(frozen=True)
class Space:
    """Bytes: `whole` of the newest restore point as a restore would write it, `each` that a run adds (the median of
    the last ten), `expected` for as many restore points as the retention keeps at most; None when there is no end."""

    whole: int
    each: int
    expected: int | None


@dataclass(frozen=True)
class Outlook:
    """`words` are empty without a schedule; `fault` says why a schedule cannot be read."""

    words: str
    zone: str
    fault: str
    runs: tuple[NextRun, ...]
    warnings: tuple[str, ...]
    retention: str
    most: int | None
    kept: Kept | None
    space: Space | None


def of(installation: Installation, document: Mapping[str, Any]) -> Outlook:
    """Of a document that need not be valid: what cannot be read of it is left out."""
    zone = _zone(installation, document)
    expression = _text(document.get("schedule"))
    fault = (cron_fault(expression) if expression else "") or zone_fault(zone) or ""
    runs: tuple[NextRun, ...] = ()
    warnings: list[str] = []
    if expression and not fault:
        runs = tuple(next_runs(expression, zone, installation.clock(), NEXT))
        warnings = [*_of_days(expression), *_of_gaps(document, expression, zone, installation.clock())]
        warnings += _of_company(installation, document, runs[0].at)
    policy = _policy(document.get("retention"))
    return Outlook(
        words=in_words(expression) if expression and not fault else "",
        zone=zone,
        fault=fault,
        runs=runs,
        warnings=tuple(warnings),
        retention="" if policy is None and document.get("retention") else retention_words(document.get("retention")),
        most=_most(policy),
        kept=None if policy is None else _kept(installation, document, policy),
        space=_space(installation, document, _most(policy)),
    )


def in_words(expression: str) -> str:
    """`At 02:00 every day`, of a cron expression that is valid."""
    from cronsim import CronSim

    return str(CronSim(plain_cron(expression), datetime(2026, 1, 1, tzinfo=UTC)).explain())


def next_runs(expression: str, zone: str, after: datetime, count: int) -> list[NextRun]:
    """The next `count` times, with a note where the clocks change at just that time."""
    return noted(expression, zone, schedules.preview(expression, zone, after, count))


def noted(expression: str, zone: str, times: list[datetime]) -> list[NextRun]:
    """These times of a schedule, as `next_runs` tells them."""
    return [NextRun(at, at.astimezone(ZoneInfo(zone)), _note(expression, zone, at)) for at in times]


def retention_words(retention: Mapping[str, Any] | None) -> str:
    """`Kept is the newest of each of the last 7 days and 4 weeks.`"""
    if not retention:
        return "Every restore point is kept."
    counts = {**RETENTION, **retention}
    parts = [_counted(counts[name], _UNITS[name]) for name in _PERIODS if counts[name]]
    text = f"Kept is the newest of each of the last {_joined(parts)}" if parts else ""
    if counts["last"]:
        newest = "the newest one" if counts["last"] == 1 else f"the newest {counts['last']}"
        text += f", and {newest} in any case" if text else f"Kept is only {newest}"
    return f"{text}; never fewer than {counts['keepMin']} good ones." if text else ""


def _counted(count: object, unit: str) -> str:
    return unit if count == 1 else f"{count} {unit}s"


def _joined(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _zone(installation: Installation, document: Mapping[str, Any]) -> str:
    return _text(document.get("timezone")) or installation.settings.timezone


def _note(expression: str, zone: str, at: datetime) -> str:
    """The clocks skip some times and repeat others: of these it is told what becomes of the run."""
    from cronsim import CronSim

    local = at.astimezone(ZoneInfo(zone))
    if local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset():
        return "The clocks go back: this time comes twice, and it runs once."
    before = (at - _MINUTE).astimezone(ZoneInfo(zone))
    if before.utcoffset() == local.utcoffset():
        return ""
    plain = local.replace(tzinfo=None)
    if next(CronSim(plain_cron(expression), plain - _MINUTE)) == plain:
        return ""
    return "The clocks go forward: its time is skipped on that day, and it runs right after."


def _of_days(expression: str) -> list[str]:
    days = plain_cron(expression).split()[2]
    if not _LATE_DAYS.search(days) or days.startswith("1-31"):
        return []
    return ["Not every month has a day 29, 30 or 31: it does not run in those that lack it. L is the last day."]


def _of_gaps(document: Mapping[str, Any], expression: str, zone: str, now: datetime) -> list[str]:
    objectives = document.get("objectives")
    minutes = objectives.get("rpoMinutes") if isinstance(objectives, Mapping) else None
    if not isinstance(minutes, int):
        return []
    times = schedules.preview(expression, zone, now, _GAPS_LOOKED_AT)
    widest = max((later - earlier for earlier, later in pairwise(times)), default=timedelta(0))
    if widest <= timedelta(minutes=minutes):
        return []
    return [
        f"Up to {int(widest.total_seconds() // 60)} minutes lie between two runs; the accepted loss is {minutes} "
        "minutes."
    ]


def _of_company(installation: Installation, document: Mapping[str, Any], first: datetime) -> list[str]:
    """More than three that begin in the same minute wait for each other, or slow each other down."""
    query = (
        select(Schedule.expression, Schedule.zone)
        .join(Configuration, Configuration.id == Schedule.config_id)
        .where(Schedule.next_at.is_not(None), Configuration.id != _text(document.get("id")))
    )
    with installation.database.reading() as session:
        others = [(expression, zone) for expression, zone in session.execute(query) if expression]
    just_before = first - _MINUTE
    together = {each: schedules.preview(*each, just_before, 1)[:1] == [first] for each in set(others)}
    count = sum(together[each] for each in others)
    return [f"{count} other backups begin in the same minute as the next run."] if count >= AT_ONCE else []


def _policy(retention: Any) -> Policy | None:
    if not isinstance(retention, Mapping):
        return None
    counts = {**RETENTION, **retention}
    if not all(isinstance(counts[name], int) and 0 <= counts[name] <= 10_000 for name in RETENTION):
        return None
    return Policy(**{"keep_min" if name == "keepMin" else name: counts[name] for name in RETENTION})


def _most(policy: Policy | None) -> int | None:
    if policy is None:
        return None
    return max(policy.keep_min, policy.last + sum(int(getattr(policy, name)) for name in _PERIODS))


def _kept(installation: Installation, document: Mapping[str, Any], policy: Policy) -> Kept | None:
    zone = _zone(installation, document)
    if zone_fault(zone):
        return None
    query = select(Backup.started_at).where(Backup.config_id == _text(document.get("id")), Backup.deleted_at.is_(None))
    with installation.database.reading() as session:
        times = list(session.scalars(query.order_by(Backup.started_at.desc()).limit(_POINTS_LOOKED_AT)))
    if not times:
        return None
    points = [Point(number.to_bytes(4, "big"), at) for number, at in enumerate(times)]
    decisions = plan_retention(points, policy, ZoneInfo(zone), now=installation.clock())
    stay = [decision.point.made_at for decision in decisions if decision.keep]
    return Kept(len(stay), len(times) - len(stay), min(stay, default=None))


def _space(installation: Installation, document: Mapping[str, Any], most: int | None) -> Space | None:
    query = select(Backup.totals).where(Backup.config_id == _text(document.get("id")), Backup.deleted_at.is_(None))
    with installation.database.reading() as session:
        totals = list(session.scalars(query.order_by(Backup.sequence.desc()).limit(_RUNS_OF_A_PACE)))
    if not totals:
        return None
    each = int(statistics.median(one.get("bytesStored", 0) for one in totals))
    whole = int(totals[0].get("bytes", 0))
    return Space(whole, each, None if most is None else whole + each * (most - 1))

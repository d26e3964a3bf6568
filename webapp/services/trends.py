"""Figures of whole UTC days, read from the sums of services/figures.py: how runs ended, how long they took, and what
was stored, by type, configuration and destination. Days on which nothing happened are left out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from webapp.installation import Installation
from webapp.models import DayFigures, Destination, Run
from webapp.models.figures import EVERY
from webapp.models.run import ACTIVE
from webapp.services import figures
from webapp.services.figures import (
    BACKUPS,
    CAUSE,
    CREATE,
    DAY,
    PLACE,
    STATE,
    TOTALS,
    TYPE,
    day_of,
    part,
    start_of,
)
from webapp.services.sql_terms import utc_day

# Of more configurations nobody can follow the lines; the others are the rest of the day's whole.
TOP = 10
HALF, MOST = 50, 95


@dataclass
class Day:
    """`runs` counts backup runs by state. `total`, `new` and `stored` are bytes of the restore points made that day;
    the three parts are what they took: by type, by configuration (the largest TOP of the period), and by destination,
    which is more than the whole where a backup goes to several. Durations are seconds, good to two digits."""

    day: str
    runs: dict[str, int] = field(default_factory=dict)
    stored: int = 0
    by_type: dict[str, int] = field(default_factory=dict)
    by_config: dict[str, int] = field(default_factory=dict)
    by_destination: dict[str, int] = field(default_factory=dict)
    total: int = 0
    new: int = 0
    duration_p50: float | None = None
    duration_p95: float | None = None


@dataclass(frozen=True)
class Extremes:
    """Of one configuration in the period, in seconds: the longest time between two good backups, of which the later
    ended in it; the newest good end since 1970; the slowest restore."""

    longest_gap: float | None
    last_end: float | None
    slowest_restore: float | None


@dataclass
class Trend:
    """`states` and `causes` count backup runs of the whole period, `sums` are the TOTALS of its `backups` (also of
    those that were removed since), `grown` the bytes that all configurations added at each destination (by row)."""

    days: list[Day]
    states: dict[str, int]
    causes: dict[str, int]
    backups: int
    sums: tuple[int, ...]
    by_type: dict[str, int]
    grown: dict[int, int]
    duration_p50: float | None
    duration_p95: float | None
    extremes: dict[str, Extremes]


def trend(
    installation: Installation, since: datetime, *, until: datetime | None = None, config_id: str | None = None
) -> Trend:
    """What happened from the day of `since` to that of `until` (today), of all configurations or of one. Five
    queries."""
    wanted = EVERY if config_id is None else config_id
    first, last = day_of(since), day_of(until or installation.clock())
    start, end = start_of(first), start_of(last) + DAY
    with installation.database.reading() as session:
        names = dict(session.execute(select(Destination.id, Destination.name)).all())
        rows = session.execute(_rows({EVERY, wanted}, first, last)).all()
        active = session.execute(_active(start, end, config_id)).all()
        found = {row[0]: row for row in session.execute(_each(first, last, config_id))}
        largest = _largest(session, found, first, last)
    days = {day: day_of_sums(day, sums, names, took) for name, day, sums, took in rows if name == wanted}
    for name, day, stored in largest:
        if day in days:
            days[day].by_config[name] = stored
    together = _together(sums for name, _, sums, _ in rows if name == wanted)
    for day, state, count in active:
        days.setdefault(day, Day(day)).runs[state] = count
        together[STATE + state] += count
    everywhere = together if config_id is None else _together(sums for name, _, sums, _ in rows if name == EVERY)
    half, most = durations(_together(took for name, _, _, took in rows if name == wanted))
    return Trend(
        days=[days[day] for day in sorted(days)],
        states=part(together, STATE),
        causes=by_count(part(together, CAUSE)),
        backups=together[BACKUPS],
        sums=tuple(together[name] for name in TOTALS),
        by_type=part(together, TYPE),
        grown=_by_place(everywhere),
        duration_p50=half,
        duration_p95=most,
        extremes={name: Extremes(*values) for name, _, *values in found.values()},
    )


def grown(installation: Installation, since: datetime) -> dict[int, int]:
    """The bytes that were added at each destination (by row) from the day of `since` on. One query."""
    with installation.database.reading() as session:
        rows = session.execute(_rows({EVERY}, day_of(since), day_of(installation.clock()))).all()
    return _by_place(_together(sums for _, _, sums, _ in rows))


def exactly(installation: Installation, since: datetime) -> Counter[str]:
    """The sums of all configurations since a moment that is no day's beginning, added up now: for short times."""
    with installation.database.reading() as session:
        found = figures.counted(session, since, installation.clock() + DAY)
    return _together(facts.sums for facts in found.values())


def durations(took: Mapping[str, int]) -> list[float | None]:
    """The smallest number of seconds that half of the backups, and 95 of 100, did not exceed; None for none."""
    number = sum(took.values())
    ordered = sorted(took, key=float)
    found: list[float | None] = []
    for percent in (HALF, MOST):
        left = max(1, math.ceil(number * percent / 100))
        for seconds in ordered:
            left -= took[seconds]
            if left <= 0:
                found.append(float(seconds))
                break
        else:
            found.append(None)
    return found


def _rows(names: set[str], first: str, last: str) -> Select[*tuple[Any, ...]]:
    query = select(DayFigures.config_id, DayFigures.day, DayFigures.sums, DayFigures.took)
    return query.where(DayFigures.config_id.in_(sorted(names)), DayFigures.day.between(first, last))


def _active(start: datetime, end: datetime, config_id: str | None) -> Select[str, str, int]:
    """Backup runs that have not ended are in no sum."""
    day = utc_day(Run.created_at)
    query = select(day, Run.state, func.count(Run.id)).group_by(day, Run.state)
    query = query.where(Run.state.in_(ACTIVE), Run.kind == CREATE, Run.created_at >= start, Run.created_at < end)
    return query if config_id is None else query.where(Run.config_id == config_id)


def _each(first: str, last: str, config_id: str | None) -> Select[*tuple[Any, ...]]:
    query = (
        select(
            DayFigures.config_id,
            func.sum(DayFigures.stored),
            func.max(DayFigures.longest_gap),
            func.max(DayFigures.last_end),
            func.max(DayFigures.slowest_restore),
        )
        .where(DayFigures.day.between(first, last))
        .group_by(DayFigures.config_id)
    )
    return query.where(DayFigures.config_id > EVERY if config_id is None else DayFigures.config_id == config_id)


def _largest(session: Session, found: Mapping[str, Any], first: str, last: str) -> Iterable[tuple[str, str, int]]:
    names = sorted(found, key=lambda name: (-found[name][1], name))[:TOP]
    query = select(DayFigures.config_id, DayFigures.day, DayFigures.stored)
    query = query.where(DayFigures.config_id.in_(names), DayFigures.day.between(first, last), DayFigures.stored > 0)
    return session.execute(query.order_by(DayFigures.stored.desc())).all()


def day_of_sums(
    day: str, sums: Mapping[str, int], names: Mapping[int, str], took: Mapping[str, int] | None = None
) -> Day:
    """A day from its row of sums; `names` are those of destinations by their row. Without `took`, how many backups took
    how long, it has no durations."""
    half, most = durations(took or {})
    total, _, new, stored = (sums.get(name, 0) for name in TOTALS)
    places = {names[number]: count for number, count in _by_place(sums).items() if count}
    return Day(day, part(sums, STATE), stored, part(sums, TYPE), {}, places, total, new, half, most)


def _together(every: Iterable[Mapping[str, int]]) -> Counter[str]:
    found: Counter[str] = Counter()
    for sums in every:
        found.update(sums)
    return found


def _by_place(sums: Mapping[str, int]) -> dict[int, int]:
    return {int(number): count for number, count in part(sums, PLACE).items()}


def by_count(counts: Mapping[str, int]) -> dict[str, int]:
    """The same, the largest first."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

"""Figures of whole UTC days, read from the sums of services/figures.py: how runs ended, how long they took, and what
was stored, by type, configuration and destination. Days on which nothing happened are left out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from sqlalchemy import CompoundSelect, Select, case, func, null, select, type_coerce, union_all
from sqlalchemy.orm import Session

from webapp.installation import Installation
from webapp.models import DayFigures, Destination, MonthFigures, Run
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
    durations,
    parts,
    start_of,
    together,
)
from webapp.services.sql_terms import utc_day

# Of more configurations nobody can follow the lines; the others are the rest of the day's whole.
TOP = 10


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
    days, sums_of, took = {}, defaultdict[str, list[Any]](list), []
    for name, day, sums, half, most, seconds in rows:
        if sums is not None:
            sums_of[name].append(sums)
        if name != wanted:
            continue
        if sums is not None:
            days[day] = day_of_sums(day, sums, names, half, most)
        if seconds is not None:
            took.append(seconds)
    for name, day, stored in largest:
        if day in days:
            days[day].by_config[name] = stored
    whole = Counter(together(sums_of[wanted]))
    for day, state, count in active:
        days.setdefault(day, Day(day)).runs[state] = count
        whole[STATE + state] += count
    everywhere = whole if config_id is None else together(sums_of[EVERY])
    half, most = durations(together(took))
    of_whole = parts(whole)
    return Trend(
        days=[days[day] for day in sorted(days)],
        states=of_whole[STATE],
        causes=by_count(of_whole[CAUSE]),
        backups=whole[BACKUPS],
        sums=tuple(whole[name] for name in TOTALS),
        by_type=of_whole[TYPE],
        grown=_by_place(parts(everywhere)),
        duration_p50=half,
        duration_p95=most,
        extremes={name: Extremes(*values) for name, _, *values in found.values()},
    )


def grown(installation: Installation, since: datetime) -> dict[int, int]:
    """The bytes that were added at each destination (by row) from the day of `since` on. One query."""
    with installation.database.reading() as session:
        days = DayFigures.day.between(day_of(since), day_of(installation.clock()))
        sums = session.scalars(select(DayFigures.sums).where(DayFigures.config_id == EVERY, days)).all()
    return _by_place(parts(together(sums)))


def exactly(installation: Installation, since: datetime) -> Counter[str]:
    """The sums of all configurations since a moment that is no day's beginning, added up now: for short times."""
    with installation.database.reading() as session:
        found = figures.counted(session, since, installation.clock() + DAY)
    return Counter(together(facts.sums for facts in found.values()))


def _rows(names: set[str], first: str, last: str) -> CompoundSelect[*tuple[Any, ...]]:
    """Days with their sums, and how long backups took on those outside whole months; these months, which have no sums,
    say it for the others."""
    one, other = _months(first, last)
    is_outside = (DayFigures.day < f"{one}-01") | (DayFigures.day > f"{other}-31")
    took = type_coerce(case((is_outside, DayFigures.took)), DayFigures.took.type).label("took")
    durations = DayFigures.duration_p50, DayFigures.duration_p95
    days = select(DayFigures.config_id, DayFigures.day, DayFigures.sums, *durations, took)
    months = select(MonthFigures.config_id, MonthFigures.month, null(), null(), null(), MonthFigures.took)
    return union_all(
        days.where(DayFigures.config_id.in_(sorted(names)), DayFigures.day.between(first, last)),
        months.where(MonthFigures.config_id.in_(sorted(names)), MonthFigures.month.between(one, other)),
    )


def _active(start: datetime, end: datetime, config_id: str | None) -> Select[str, str, int]:
    """Backup runs that have not ended are in no sum."""
    day = utc_day(Run.created_at)
    query = select(day, Run.state, func.count(Run.id)).group_by(day, Run.state)
    query = query.where(Run.state.in_(ACTIVE), Run.kind == CREATE, Run.created_at >= start, Run.created_at < end)
    return query if config_id is None else query.where(Run.config_id == config_id)


def _each(first: str, last: str, config_id: str | None) -> Select[*tuple[Any, ...]]:
    read = _parts(first, last, "config_id", "stored", "longest_gap", "last_end", "slowest_restore")
    # Not "after EVERY", which is the same: SQLite would begin with the configuration and read all of their years.
    wanted = [
        part.where(of.config_id != EVERY if config_id is None else of.config_id == config_id) for of, part in read
    ]
    name, stored, *extremes = union_all(*wanted).subquery().c
    return select(name, func.sum(stored), *map(func.max, extremes)).group_by(name)


def _parts(first: str, last: str, *names: str) -> list[tuple[type[DayFigures] | type[MonthFigures], Select[Any]]]:
    """These columns of a period: of its whole months, and of the days before and after them."""

    def days(start: str, end: str) -> tuple[type[DayFigures], Select[Any]]:
        return DayFigures, select(*(getattr(DayFigures, name) for name in names)).where(
            DayFigures.day.between(start, end)
        )

    one, other = _months(first, last)
    if one > other:
        return [days(first, last)]
    months = select(*(getattr(MonthFigures, name) for name in names)).where(MonthFigures.month.between(one, other))
    return [days(first, f"{one}-00"), (MonthFigures, months), days(f"{other}-32", last)]


def _months(first: str, last: str) -> tuple[str, str]:
    """The first and the last month of which all days lie in a period; without one, the second is before the first."""
    begin, end = date.fromisoformat(first), date.fromisoformat(last) + DAY
    begin = begin if begin.day == 1 else begin.replace(day=28) + 4 * DAY
    return begin.isoformat()[:7], (end.replace(day=1) - DAY).isoformat()[:7]


def _largest(session: Session, found: Mapping[str, Any], first: str, last: str) -> Iterable[tuple[str, str, int]]:
    names = sorted(found, key=lambda name: (-found[name][1], name))[:TOP]
    rows = DayFigures.__table__.c  # of a table, not of its class: thousands of rows come in half the time
    query = select(rows.config_id, rows.day, rows.stored)
    query = query.where(rows.config_id.in_(names), rows.day.between(first, last), rows.stored > 0)
    return session.execute(query).all()


def day_of_sums(
    day: str, sums: Mapping[str, int], names: Mapping[int, str], half: float | None = None, most: float | None = None
) -> Day:
    """A day from its row of sums; `names` are those of destinations by their row; `half` and `most` its durations."""
    total, _, new, stored = (sums.get(name, 0) for name in TOTALS)
    found = parts(sums)
    places = {names[number]: count for number, count in _by_place(found).items()}
    return Day(day, found[STATE], stored, found[TYPE], {}, places, total, new, half, most)


def _by_place(found: Mapping[str, Mapping[str, int]]) -> dict[int, int]:
    return {int(number): count for number, count in found[PLACE].items()}


def by_count(counts: Mapping[str, int]) -> dict[str, int]:
    """The same, the largest first."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

"""The sums of each UTC day and month, of every configuration and of all together: kept in the transaction that ends a
run or puts down a restore point, so that years are told from some hundred rows. A configuration's day is always added
up anew from its runs and restore points, and a month from its days, never counted on: whatever changed, and however
often that is told, the sums are right. Each day and its month are looked at once more when the day has ended. A run
belongs to the day on which it was asked for. What is zero is in no sum."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from itertools import accumulate, pairwise
from typing import Any

from sqlalchemy import ColumnElement, Select, delete, func, insert, select, text
from sqlalchemy.orm import Session

from webapp.installation import Installation
from webapp.models import Backup, BackupCopy, Configuration, DayFigures, MonthFigures, Run
from webapp.models.backup import MISSED
from webapp.models.figures import EVERY
from webapp.models.run import ENDED, FAILED, INTERRUPTED, SUCCEEDED, UNDO, WARNING
from webapp.services.sql_terms import epoch, total_of, utc_day
from webapp.services.wholes import is_whole

CREATE, RESTORE = "create", "restore"
GOOD = (SUCCEEDED, WARNING)
BACKUPS = "backups"
TOTALS = ("bytes", "bytesRead", "bytesNew", "bytesStored")
# The names of sums: a word, or what is counted behind one of these: backup runs by how they ended, those that failed by
# cause, stored bytes by type of backup and by destination (its row's id).
STATE, CAUSE, TYPE, PLACE = "state:", "cause:", "type:", "place:"
HALF, MOST = 50, 95
_EXTREMES = ("longest_gap", "last_end", "slowest_restore")
DAY = timedelta(days=1)
_CHUNK = 31 * DAY
_LOCK = 0x46696775  # any number that is ours: on PostgreSQL days are added up one after another


@dataclass
class Facts:
    """Of one configuration on one day: its sums, how many good backups took how long (two digits of seconds), when
    those of all of its sources ended, and its slowest restore, in seconds."""

    sums: Counter[str] = field(default_factory=Counter)
    took: Counter[str] = field(default_factory=Counter)
    ends: list[float] = field(default_factory=list)
    slowest: float | None = None


def start_of(day: str) -> datetime:
    """The moment at which a day begins."""
    return datetime.combine(date.fromisoformat(day), time(), UTC)


def day_of(moment: datetime) -> str:
    """The day of a moment, as `2026-11-23`."""
    return moment.astimezone(UTC).date().isoformat()


def recount(session: Session, config_id: str | None, *moments: datetime) -> None:
    """Adds up the days of these moments anew, for one configuration, in the transaction that changed something there.
    Runs of no configuration count nowhere."""
    if config_id is None:
        return
    _one_at_a_time(session)
    for day in {day_of(moment) for moment in moments}:
        start = start_of(day)
        facts = counted(session, start, start + DAY, config_id=config_id).get((config_id, day), Facts())
        before = _ends_before(session, [config_id], start)
        _write(session, config_id, day, facts, _columns(facts, before[config_id]))


def counted(
    session: Session, start: datetime, end: datetime, *, config_id: str | None = None
) -> dict[tuple[str, str], Facts]:
    """What is added up from runs and restore points themselves, by configuration and day. Two queries."""
    found: dict[tuple[str, str], Facts] = defaultdict(Facts)
    for name, day, kind, state, cause, whole, began, ended in session.execute(_runs(start, end, config_id)):
        facts = found[name, day]
        if kind == RESTORE:
            _count_restore(facts, state, began, ended)
        else:
            _count_backup(facts, state, cause, began, ended, is_whole=bool(whole))
    seen = set()
    for number, name, day, backup_type, place, *totals in session.execute(_points(start, end, config_id)):
        sums, stored = found[name, day].sums, int(totals[-1])
        if place is not None:
            sums[f"{PLACE}{place}"] += stored
        if number in seen:  # once for each of its copies
            continue
        seen.add(number)
        sums[BACKUPS] += 1
        sums[f"{TYPE}{backup_type}"] += stored
        for total, amount in zip(TOTALS, totals, strict=True):
            sums[total] += int(amount)
    for facts in found.values():
        facts.sums = +facts.sums
        facts.ends.sort()
    return dict(found)


def rebuild(session: Session) -> None:
    """Everything anew, in parts of a month: for an upgrade."""
    session.execute(delete(DayFigures))
    session.execute(delete(MonthFigures))
    first = [session.scalar(select(func.min(column))) for column in (Run.created_at, Backup.finished_at)]
    last = [session.scalar(select(func.max(column))) for column in (Run.created_at, Backup.finished_at)]
    start = min((each for each in first if each is not None), default=None)
    end = max((each for each in last if each is not None), default=None)
    ends: dict[str, float] = {}
    while start is not None and end is not None and start <= end:
        start = start_of(day_of(start))
        _insert(session, counted(session, start, start + _CHUNK), ends)
        start += _CHUNK
    for month in session.scalars(select(func.substr(DayFigures.day, 1, 7)).distinct()).all():
        add_up_month(session, month)


def add_up_month(session: Session, month: str, config_ids: Collection[str] | None = None) -> set[str]:
    """A month (`2026-11`) anew from its days, of these configurations (EVERY is one) or of all: those of which it was
    another. Two queries if none was."""

    def of(table: type[DayFigures] | type[MonthFigures]) -> Select[*tuple[Any, ...]]:
        columns = ("took", "stored", *_EXTREMES)
        query = select(table.config_id, *(getattr(table, name) for name in columns))
        return query if config_ids is None else query.where(table.config_id.in_(config_ids))

    days: dict[str, list[Any]] = defaultdict(list)
    for name, *figures in session.execute(of(DayFigures).where(DayFigures.day.between(f"{month}-01", f"{month}-31"))):
        days[name].append(figures)
    right = {}
    for name, every in days.items():
        took, stored, *extremes = zip(*every, strict=True)
        right[name] = [together(took), sum(stored), *map(_highest, extremes)]
    there = {name: figures for name, *figures in session.execute(of(MonthFigures).where(MonthFigures.month == month))}
    wrong = {name for name in right.keys() | there.keys() if right.get(name) != there.get(name)}
    rows = [
        {"config_id": name, "month": month, **dict(zip(("took", "stored", *_EXTREMES), right[name], strict=True))}
        for name in wrong & right.keys()
    ]
    if wrong:
        session.execute(delete(MonthFigures).where(MonthFigures.month == month, MonthFigures.config_id.in_(wrong)))
    if rows:
        session.execute(insert(MonthFigures), rows)
    return wrong


def check_ended(installation: Installation) -> list[str]:
    """Adds up one ended day more from its runs, and its month: once for each day, and again when something of it
    changed later. What was found to be wrong, as names of configurations; it is right now."""
    ended = select(DayFigures.day).where(
        DayFigures.config_id == EVERY, DayFigures.day < day_of(installation.clock()), DayFigures.checked.is_(False)
    )
    with installation.database.reading() as session:
        day = session.scalars(ended.limit(1)).first()
    if day is None:
        return []
    with installation.database.transaction() as session:
        _one_at_a_time(session)
        start = start_of(day)
        found = counted(session, start, start + DAY)
        there = {row.config_id: row for row in session.scalars(select(DayFigures).where(DayFigures.day == day))}
        names = {name for name, _ in found} | there.keys() - {EVERY}
        wrong = set()
        for name, before in _ends_before(session, names, start).items():
            facts = found.get((name, day), Facts())
            right = _columns(facts, before)
            if name not in there or any(getattr(there[name], column) != right[column] for column in right):
                _write(session, name, day, facts, right)
                wrong.add(name)
        whole = session.get_one(DayFigures, (EVERY, day))
        _put(whole, {**_together(found.values()), "checked": True})
        session.flush()
        return sorted((wrong | add_up_month(session, day[:7])) - {EVERY})


def together(every: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """All of them added up. By hand: a year has 30,000 of them, with which Counter.update takes 20 ms."""
    found: dict[str, int] = {}
    for sums in every:
        for name, count in sums.items():
            found[name] = found.get(name, 0) + count
    return found


def durations(took: Mapping[str, int]) -> list[float | None]:
    """The smallest number of seconds that half of the backups, and 95 of 100, did not exceed; None for none."""
    ordered = sorted(took, key=float)
    counts = list(accumulate(took[seconds] for seconds in ordered))
    if not counts or counts[-1] <= 0:
        return [None, None]
    ranks = (math.ceil(counts[-1] * percent / 100) for percent in (HALF, MOST))
    return [float(ordered[bisect_left(counts, rank)]) for rank in ranks]


def parts(sums: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """The sums behind the names that end with a colon, by these. In one go: a year has 5,000 of them."""
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for name, count in sums.items():
        kind, colon, what = name.partition(":")
        if colon:
            found[kind + colon][what] = count
    return found


def _count_restore(facts: Facts, state: str, began: float | None, ended: float | None) -> None:
    if state in GOOD and began is not None and ended is not None:
        facts.slowest = max(facts.slowest or 0.0, _seconds(began, ended))


def _count_backup(
    facts: Facts, state: str, cause: str | None, began: float | None, ended: float | None, *, is_whole: bool
) -> None:
    facts.sums[STATE + state] += 1
    if state in (FAILED, INTERRUPTED):
        facts.sums[CAUSE + (cause or "unknown")] += 1
    if state in GOOD and began is not None and ended is not None:
        # Two digits are what a person reads; whole ones would make a day's row as long as its runs are many.
        facts.took[f"{_seconds(began, ended):.2g}"] += 1
        if is_whole:
            facts.ends.append(ended)


def _seconds(began: float, ended: float) -> float:
    return max(0.0, round(ended - began, 3))


def _runs(start: datetime, end: datetime, config_id: str | None) -> Select[*tuple[Any, ...]]:
    query = select(
        Run.config_id,
        utc_day(Run.created_at),
        Run.kind,
        Run.state,
        Run.cause,
        is_whole(Run),
        epoch(Run.started_at),
        epoch(Run.finished_at),
    ).where(
        Run.kind.in_((CREATE, RESTORE)),
        Run.state.in_(ENDED),
        Run.type.is_distinct_from(UNDO),  # takes seconds: that is not how long a restore takes
        *_within(Run.created_at, start, end),
    )
    return query.where(Run.config_id.is_not(None) if config_id is None else Run.config_id == config_id)


def _points(start: datetime, end: datetime, config_id: str | None) -> Select[*tuple[Any, ...]]:
    totals = [func.coalesce(total_of(name), 0) for name in TOTALS]
    there = (BackupCopy.backup_id == Backup.id) & (BackupCopy.state != MISSED)
    query = (
        select(
            Backup.id, Backup.config_id, utc_day(Backup.finished_at), Backup.type, BackupCopy.destination_id, *totals
        )
        .outerjoin(BackupCopy, there)
        .where(*_within(Backup.finished_at, start, end))
    )
    return query if config_id is None else query.where(Backup.config_id == config_id)


def _within(column: Any, start: datetime, end: datetime) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return column >= start, column < end


def _ends_before(session: Session, config_ids: Collection[str], start: datetime) -> dict[str, float | None]:
    """When the last good backup of each that was asked for before `start` ended. One query: 200 would take 0.5 s."""
    last = select(epoch(Run.finished_at)).where(
        Run.config_id == Configuration.id,
        Run.kind == CREATE,
        Run.state.in_(GOOD),
        Run.started_at.is_not(None),
        Run.created_at < start,
        is_whole(Run),
    )
    last = last.order_by(Run.created_at.desc()).limit(1).correlate(Configuration)
    query = select(Configuration.id, last.scalar_subquery()).where(Configuration.id.in_(config_ids))
    return dict(session.execute(query).all())


def _write(session: Session, config_id: str, day: str, facts: Facts, right: Mapping[str, Any]) -> None:
    """The configuration's row, and the difference that it makes in the row of all."""
    own = session.get(DayFigures, (config_id, day), populate_existing=True)
    whole = session.get(DayFigures, (EVERY, day), populate_existing=True)
    if own is None and facts == Facts():
        return
    if own is None:
        own = DayFigures(config_id=config_id, day=day, sums={}, took={})
        session.add(own)
    if whole is None:
        whole = DayFigures(config_id=EVERY, day=day, sums={}, took={})
        session.add(whole)
    sums, took = (_exchanged(getattr(whole, name), getattr(own, name), right[name]) for name in ("sums", "took"))
    _put(whole, {**_columns(Facts(Counter(sums), Counter(took))), "checked": False})
    _put(own, right)
    session.flush()
    add_up_month(session, day[:7], (EVERY, config_id))


def _put(row: DayFigures, columns: Mapping[str, Any]) -> None:
    for name, value in columns.items():
        setattr(row, name, value)


def _highest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _exchanged(whole: Mapping[str, int], before: Mapping[str, int], now: Mapping[str, int]) -> dict[str, int]:
    """A whole of which one part was `before` and is `now`."""
    together = Counter(whole)
    together.update(now)
    together.subtract(before)
    return {name: count for name, count in together.items() if count}


def _insert(session: Session, found: Mapping[tuple[str, str], Facts], ends: dict[str, float]) -> None:
    """Rows of days that have none. `ends` are the newest good ends so far, and go on."""
    rows = []
    whole: dict[str, list[Facts]] = defaultdict(list)
    for name, day in sorted(found, key=lambda key: key[1]):
        facts = found[name, day]
        rows.append({"config_id": name, "day": day, "checked": False, **_columns(facts, ends.get(name))})
        whole[day].append(facts)
        if facts.ends:
            ends[name] = facts.ends[-1]
    rows += [{"config_id": EVERY, "day": day, "checked": True, **_together(every)} for day, every in whole.items()]
    if rows:
        session.execute(insert(DayFigures), rows)


def _together(every: Iterable[Facts]) -> dict[str, Any]:
    every = list(every)
    sums, took = (Counter(together(getattr(facts, name) for facts in every)) for name in ("sums", "took"))
    return _columns(Facts(sums, took))


def _columns(facts: Facts, before: float | None = None) -> dict[str, Any]:
    """All that a day's row says. `before` is when the last good backup before that day ended."""
    ends = facts.ends if before is None else [before, *facts.ends]
    half, most = durations(facts.took)
    return {
        "sums": dict(facts.sums),
        "took": dict(facts.took),
        "duration_p50": half,
        "duration_p95": most,
        "stored": facts.sums[TOTALS[-1]],
        "longest_gap": _longest(ends),
        "last_end": facts.ends[-1] if facts.ends else None,
        "slowest_restore": facts.slowest,
    }


def _longest(ends: Iterable[float]) -> float | None:
    return max((max(0.0, round(later - earlier, 3)) for earlier, later in pairwise(ends)), default=None)


def _one_at_a_time(session: Session) -> None:
    """SQLite has one writer anyway. Taken last but for the audit log's, by everybody, so nobody waits in a circle."""
    session.flush()
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})

"""The sums of each UTC day and month, of every configuration and of all together: kept in the transaction that ends a
run or puts down a restore point, so that years are told from some hundred rows. A configuration's day is always added
up anew from its runs and restore points, and a month from its days, never counted on: whatever changed, and however
often that is told, the sums are right. A run belongs to the day on which it was asked for."""

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
from webapp.models import Backup, BackupCopy, DayFigures, MonthFigures, Run
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
        _write(session, config_id, day, facts, _end_before(session, config_id, start))


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


def add_up_month(session: Session, month: str, config_ids: Collection[str] | None = None) -> None:
    """A month (`2026-11`) anew from its days, of these configurations (EVERY is one) or of all. Two queries."""
    chosen = [] if config_ids is None else [DayFigures.config_id.in_(config_ids)]
    columns = (DayFigures.took, DayFigures.stored, *(getattr(DayFigures, name) for name in _EXTREMES))
    query = select(DayFigures.config_id, *columns).where(DayFigures.day.between(f"{month}-01", f"{month}-31"), *chosen)
    found: dict[str, list[Any]] = defaultdict(list)
    for name, *figures in session.execute(query):
        found[name].append(figures)
    rows = []
    for name, days in found.items():
        took, stored, *extremes = zip(*days, strict=True)
        row = {"config_id": name, "month": month, "took": together(took), "stored": sum(stored)}
        row |= {name: _highest(values) for name, values in zip(_EXTREMES, extremes, strict=True)}
        rows.append(row)
    chosen = [] if config_ids is None else [MonthFigures.config_id.in_(config_ids)]
    session.execute(delete(MonthFigures).where(MonthFigures.month == month, *chosen))
    if rows:
        session.execute(insert(MonthFigures), rows)


def check_ended(installation: Installation) -> list[str]:
    """Adds up one ended day more from its runs: once for each day, and again when something of it changed later. What
    was found to be wrong, as names of configurations; it is right now."""
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
        right = counted(session, start, start + DAY)
        there = {row.config_id: row for row in session.scalars(select(DayFigures).where(DayFigures.day == day))}
        wrong = [
            name
            for name in sorted({name for name, _ in right} | there.keys() - {EVERY})
            if name not in there or not _is_right(there[name], right.get((name, day), Facts()))
        ]
        for name in wrong:
            before = _end_before(session, name, start)
            _write(session, name, day, right.get((name, day), Facts()), before)
        whole = session.get_one(DayFigures, (EVERY, day))
        whole.sums = together(facts.sums for facts in right.values())
        _put_took(whole, together(facts.took for facts in right.values()))
        whole.stored, whole.checked = whole.sums.get(TOTALS[-1], 0), True
        add_up_month(session, day[:7])
    return wrong


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


def part(sums: Mapping[str, int], name: str) -> dict[str, int]:
    """The sums behind one of the names that end with a colon."""
    length = len(name)
    return {key[length:]: count for key, count in sums.items() if key.startswith(name)}


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


def _end_before(session: Session, config_id: str, start: datetime) -> float | None:
    """When the last good backup that was asked for before `start` ended."""
    query = select(epoch(Run.finished_at)).where(
        Run.config_id == config_id,
        Run.kind == CREATE,
        Run.state.in_(GOOD),
        Run.started_at.is_not(None),
        Run.created_at < start,
        is_whole(Run),
    )
    return session.scalars(query.order_by(Run.created_at.desc()).limit(1)).first()


def _write(session: Session, config_id: str, day: str, facts: Facts, before: float | None) -> None:
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
    whole.sums = _exchanged(whole.sums, own.sums, facts.sums)
    _put_took(whole, _exchanged(whole.took, own.took, facts.took))
    whole.stored, whole.checked = whole.sums.get(TOTALS[-1], 0), False
    for name, value in _columns(facts, before).items():
        setattr(own, name, value)
    session.flush()
    add_up_month(session, day[:7], (EVERY, config_id))


def _put_took(row: DayFigures, took: dict[str, int]) -> None:
    row.took, (row.duration_p50, row.duration_p95) = took, durations(took)


def _highest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _exchanged(whole: Mapping[str, int], before: Mapping[str, int], now: Mapping[str, int]) -> dict[str, int]:
    """A whole of which one part was `before` and is `now`."""
    together = Counter(whole)
    together.update(now)
    together.subtract(before)
    return {name: count for name, count in together.items() if count}


def _is_right(row: DayFigures, facts: Facts) -> bool:
    return (row.sums, row.took) == (dict(facts.sums), dict(facts.took))


def _insert(session: Session, found: Mapping[tuple[str, str], Facts], ends: dict[str, float]) -> None:
    """Rows of days that have none. `ends` are the newest good ends so far, and go on."""
    rows = []
    whole: dict[str, Facts] = defaultdict(Facts)
    for name, day in sorted(found, key=lambda key: key[1]):
        facts = found[name, day]
        rows.append({"config_id": name, "day": day, "checked": False, **_columns(facts, ends.get(name))})
        whole[day].sums.update(facts.sums)
        whole[day].took.update(facts.took)
        if facts.ends:
            ends[name] = facts.ends[-1]
    rows += [{"config_id": EVERY, "day": day, "checked": True, **_columns(facts, None)} for day, facts in whole.items()]
    if rows:
        session.execute(insert(DayFigures), rows)


def _columns(facts: Facts, before: float | None) -> dict[str, Any]:
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

"""Is every configuration protected? Answered from restore points that are there and were checked, with the reasons.

A configuration is *protected* when its newest usable restore point is young enough, one of them was read back in full
within 30 days, and nothing about it asks for attention; *at risk* when something does; *not protected* when there is no
restore point that is young enough, whatever its runs say.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache, cached_property
from typing import Any

from sqlalchemy import Select, bindparam, func, select
from sqlalchemy.sql.functions import count

from webapp.installation import Installation
from webapp.models import Alarm, Backup, BackupCopy, Configuration, Run, Schedule
from webapp.models.backup import DAMAGED, LOST, MISSED, PRESENT
from webapp.models.run import FAILED, INTERRUPTED, SUCCEEDED, WARNING
from webapp.services import configurations, overdue, records
from webapp.services.before_replacing import PREFIX
from webapp.services.waiting import PATIENCE
from webapp.services.wholes import is_whole

PROTECTED, AT_RISK, UNPROTECTED, OFF = "protected", "at risk", "not protected", "switched off"
STATUSES = (UNPROTECTED, AT_RISK, PROTECTED, OFF)
CHECKED_WITHIN = timedelta(days=30)
RUN, VERIFY, RESUME, LOG = "run", "verify", "resume", "log"
_ID = "id"
# What a cancelled run leaves behind is told by the one before it.
_TELLING = (SUCCEEDED, WARNING, FAILED, INTERRUPTED)


@dataclass(frozen=True)
class Reason:
    """Why a configuration is not simply protected: a sentence, more of it, and what mends it (`fix` one of `run`,
    `verify`, `resume`, `log`; `target` the public id that it needs)."""

    status: str
    text: str
    more: str = ""
    fix: str | None = None
    target: str | None = None


@dataclass(frozen=True)
class Point:
    """What is told of a restore point. Of hundreds the whole rows are not read: that took 20 ms."""

    public_id: str
    sequence: int
    finished_at: datetime


@dataclass(frozen=True)
class Ended:
    """What is told of a run that ended."""

    public_id: str
    state: str
    error: str | None


@dataclass(frozen=True)
class Protection:
    """One configuration. `limit` is when the next restore point has to be there, None when nothing was promised;
    `checked_at` when a restore point of it was last read back in full; `last_run` its last backup that ended."""

    configuration: Configuration
    schedule: Schedule | None
    newest: Point | None
    limit: datetime | None
    checked_at: datetime | None
    last_run: Ended | None
    reasons: tuple[Reason, ...]

    @cached_property
    def status(self) -> str:
        """The worst of its reasons; protected without one."""
        found = {reason.status for reason in self.reasons}
        return next(each for each in (OFF, UNPROTECTED, AT_RISK, PROTECTED) if each in found or each == PROTECTED)


def of_all(installation: Installation) -> list[Protection]:
    """Every configuration that is not deleted, those most in danger first. Four queries, however many there are."""
    return _judged(installation, None)


def of_one(installation: Installation, config_id: str) -> Protection:
    """One configuration. Raises NotFound."""
    found = _judged(installation, config_id)
    if not found:
        configurations.find(installation, config_id)  # says what is wrong with the id
    return found[0]


def is_check_old(checked_at: datetime, now: datetime) -> bool:
    """Whether it is time to read a restore point back again."""
    return now - checked_at > CHECKED_WITHIN


def points(installation: Installation, config_ids: Collection[str] | None = None) -> dict[str, int]:
    """How many restore points can be used, by configuration (of these, or of all): a copy is present, not in the trash,
    and all of the sources are in it. One query; to count 20,000 takes 15 ms, those of a page of configurations 2. In a
    transaction of its own: beside what `of_all` says it may count what came or went in between."""
    query = _counting(of_all=config_ids is None)
    with installation.database.reading() as session:
        return dict(session.execute(query, {} if config_ids is None else {_ID: list(config_ids)}).all())


def _judged(installation: Installation, config_id: str | None) -> list[Protection]:
    asked, which = _queries(of_one=config_id is not None), {} if config_id is None else {_ID: config_id}
    with installation.database.reading() as session:
        rows = session.execute(asked.each, which).all()
        checked = dict(session.execute(asked.checked, which).all())
        bad: dict[str, dict[str, tuple[int, int]]] = {}
        for id, state, number, sequence in session.execute(asked.bad, which):
            bad.setdefault(id, {})[state] = number, sequence
        alarms = dict(session.execute(asked.alarms, which).all())
    now = installation.clock()
    found = []
    for configuration, schedule, *of_point, run_id, state, error in rows:
        id, checked_at = configuration.id, checked.get(configuration.id)
        newest = Point(*of_point) if of_point[0] is not None else None
        run = Ended(run_id, state, error) if run_id is not None else None
        limit = None
        if schedule is not None:
            limit = overdue.due_by(configuration, schedule, newest.finished_at if newest else None)
        reasons = (
            *_of_schedule(configuration, schedule, now),
            *_of_age(newest, limit, now),
            *_of_run(run),
            *_of_copies(newest, bad.get(id, {}), alarms.get(id, 0)),
            *_of_checks(newest, checked_at, now),
        )
        found.append(Protection(configuration, schedule, newest, limit, checked_at, run, reasons))
    return sorted(found, key=lambda each: (STATUSES.index(each.status), each.configuration.name.casefold()))


@dataclass(frozen=True)
class _Queries:
    """`each` has a row for each configuration; the others are by its id."""

    each: Select[*tuple[Any, ...]]
    checked: Select[*tuple[Any, ...]]
    bad: Select[*tuple[Any, ...]]
    alarms: Select[*tuple[Any, ...]]


@cache
def _queries(*, of_one: bool) -> _Queries:
    """Of all, or of the one that `_ID` names. Made once: to put them together takes 10 ms."""

    def of(query: Any, column: Any) -> Any:
        return query.where(column == bindparam(_ID)) if of_one else query

    # From the end of the index of each one's runs: to group 100,000 runs takes 75 ms.
    last = (
        select(Run.id)
        .where(Run.config_id == Configuration.id, Run.kind == "create", Run.state.in_(_TELLING))
        .order_by(Run.id.desc())
        .limit(1)
        .correlate(Configuration)
        .scalar_subquery()
    )
    each = (
        select(Configuration, Schedule, Backup.public_id, Backup.sequence, Backup.finished_at)
        .add_columns(Run.public_id, Run.state, Run.error)
        .outerjoin(Schedule, Schedule.config_id == Configuration.id)
        .outerjoin(Backup, Backup.id == records.newest_usable())
        .outerjoin(Run, Run.id == last)
        .where(Configuration.deleted_at.is_(None), Configuration.id.not_like(f"{PREFIX}%"))
    )
    checked = _usable(Backup.config_id, func.max(BackupCopy.verified_at)).where(BackupCopy.verified_at.is_not(None))
    bad = (
        select(Backup.config_id, BackupCopy.state, count(BackupCopy.id), func.max(Backup.sequence))
        .join(Backup, Backup.id == BackupCopy.backup_id)
        .where(BackupCopy.state.in_((DAMAGED, LOST, MISSED)), BackupCopy.trashed_at.is_(None))
        .where(Backup.deleted_at.is_(None))
        .group_by(Backup.config_id, BackupCopy.state)
    )
    alarms = select(Backup.config_id, count(Alarm.id)).join(Backup, Backup.public_id == Alarm.backup)
    return _Queries(
        each=of(each, Configuration.id),
        checked=of(checked, Backup.config_id).group_by(Backup.config_id),
        bad=of(bad, Backup.config_id),
        alarms=of(alarms, Backup.config_id).group_by(Backup.config_id),
    )


@cache
def _counting(*, of_all: bool) -> Select[*tuple[Any, ...]]:
    there = select(BackupCopy.id).where(
        BackupCopy.backup_id == Backup.id, BackupCopy.state == PRESENT, BackupCopy.trashed_at.is_(None)
    )
    points = select(count(Backup.id)).where(Backup.config_id == Configuration.id, Backup.deleted_at.is_(None))
    points = points.where(there.exists(), is_whole(Backup)).correlate(Configuration)
    query = select(Configuration.id, points.scalar_subquery())
    return query if of_all else query.where(Configuration.id.in_(bindparam(_ID, expanding=True)))


def _usable(*columns: Any) -> Select[*tuple[Any, ...]]:
    """Restore points that can be used, with their copies that make it so."""
    query = select(*columns).join(BackupCopy, BackupCopy.backup_id == Backup.id)
    query = query.where(BackupCopy.state == PRESENT, BackupCopy.trashed_at.is_(None), Backup.deleted_at.is_(None))
    return query.where(is_whole(Backup))


def _of_schedule(configuration: Configuration, schedule: Schedule | None, now: datetime) -> Iterator[Reason]:
    if not configuration.enabled:
        yield Reason(OFF, "It is switched off.", "Nothing backs it up by itself.")
    elif configuration.schedule is None:
        yield Reason(AT_RISK, "It has no schedule.", "It is backed up only when somebody asks for it.")
    elif schedule is None or schedule.version != configuration.version:
        if now - configuration.updated_at > PATIENCE:
            yield Reason(AT_RISK, "The scheduler has not taken it up.", "It does not run by itself.")
    elif schedule.paused_at is not None:
        yield Reason(AT_RISK, "It is paused.", "It does not run by itself until it is resumed.", RESUME)


def _of_age(newest: Point | None, limit: datetime | None, now: datetime) -> Iterator[Reason]:
    if newest is None:
        yield Reason(UNPROTECTED, "It has no restore point.", "All of it would be lost.", RUN)
    elif limit is not None and limit < now:
        yield Reason(UNPROTECTED, "Its newest restore point is too old.", "The next one is overdue.", RUN)
    elif newest.finished_at > now + PATIENCE:
        yield Reason(AT_RISK, "Its newest restore point is dated in the future.", "Is the clock right?", RUN)


def _of_run(run: Ended | None) -> Iterator[Reason]:
    if run is not None and run.state in (FAILED, INTERRUPTED):
        yield Reason(AT_RISK, "Its last run failed.", run.error or "", LOG, run.public_id)
    elif run is not None and run.state == WARNING:
        yield Reason(AT_RISK, "Its last run left something out.", run.error or "", LOG, run.public_id)


def _of_copies(newest: Point | None, bad: Mapping[str, tuple[int, int]], alarms: int) -> Iterator[Reason]:
    if newest is None:
        return
    if alarms:
        text = "Restore points were deleted, replaced or rolled back, and not by a clean-up."
        yield Reason(AT_RISK, text, f"Alarms: {alarms}.", VERIFY, newest.public_id)
    damaged = sum(number for state, (number, _) in bad.items() if state != MISSED)
    if damaged:
        text = "Copies of its restore points are damaged or lost."
        yield Reason(AT_RISK, text, f"Copies: {damaged}. `destination sync --repair` heals.", VERIFY, newest.public_id)
    if bad.get(MISSED, (0, 0))[1] >= newest.sequence:
        yield Reason(AT_RISK, "A destination lacks its newest restore point.", "The next run copies it there.", RUN)


def _of_checks(newest: Point | None, checked_at: datetime | None, now: datetime) -> Iterator[Reason]:
    if newest is None:
        return
    if checked_at is None:
        yield Reason(AT_RISK, "No restore point of it was ever checked.", "", VERIFY, newest.public_id)
    elif is_check_old(checked_at, now):
        days = (now - checked_at).days
        text = f"No restore point of it was checked for {days} days."
        yield Reason(
            AT_RISK, text, f"At least every {CHECKED_WITHIN.days} days one should be.", VERIFY, newest.public_id
        )


def counts(found: list[Protection]) -> Mapping[str, int]:
    """How many configurations have each status."""
    return {status: sum(each.status == status for each in found) for status in STATUSES}

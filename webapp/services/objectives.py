"""What was promised and what was attained: the longest time without a new restore point, the slowest restore, why
backups failed, and for how long a destination has room."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from sqlalchemy import func, select

from webapp.installation import Installation
from webapp.models import Backup, BackupCopy, Configuration, Run
from webapp.models.backup import MISSED
from webapp.models.run import FAILED, INTERRUPTED, SUCCEEDED, WARNING
from webapp.services.restore_points import total_of

_GOOD = (SUCCEEDED, WARNING)


@dataclass(frozen=True)
class Attained:
    """Of one configuration in the period. `rpo_seconds` is the longest time between two good backups, or since the
    newest; `rto_seconds` the slowest restore that ended well; None when there was none. Objectives are minutes."""

    config_id: str
    rpo_objective: int | None
    rpo_seconds: float | None
    rto_objective: int | None
    rto_seconds: float | None


def attained(installation: Installation, since: datetime, *, config_id: str | None = None) -> list[Attained]:
    """Every configuration that is not deleted, by id. Three queries."""
    configurations = select(Configuration).where(Configuration.deleted_at.is_(None)).order_by(Configuration.id)
    times = select(Run.config_id, Run.kind, Run.started_at, Run.finished_at).where(
        Run.kind.in_(("create", "restore")), Run.created_at >= since, Run.state.in_(_GOOD)
    )
    if config_id is not None:
        configurations = configurations.where(Configuration.id == config_id)
        times = times.where(Run.config_id == config_id)
    with installation.database.reading() as session:
        wanted = list(session.scalars(configurations))
        ended = session.execute(times).all()
    ends: dict[str | None, list[datetime]] = {}
    slowest: dict[str | None, float] = {}
    for name, kind, start, end in ended:
        if start is None or end is None:
            continue
        if kind == "create":
            ends.setdefault(name, []).append(end)
        else:
            slowest[name] = max(slowest.get(name, 0.0), (end - start).total_seconds())
    now = installation.clock()
    return [_attained(each, ends.get(each.id, []), slowest.get(each.id), now) for each in wanted]


def failures(installation: Installation, since: datetime, *, config_id: str | None = None) -> dict[str, int]:
    """Why backups of the period failed: cause → number of runs, the most frequent first."""
    count = func.count(Run.id)
    query = select(func.coalesce(Run.cause, "unknown"), count).where(
        Run.kind == "create", Run.created_at >= since, Run.state.in_((FAILED, INTERRUPTED))
    )
    if config_id is not None:
        query = query.where(Run.config_id == config_id)
    with installation.database.reading() as session:
        rows = session.execute(query.group_by(Run.cause).order_by(count.desc(), Run.cause)).all()
    return dict(rows)


def stored_per_day(installation: Installation, since: datetime) -> dict[int, float]:
    """Bytes that the backups of the period added each day, by the row of the destination."""
    query = (
        select(BackupCopy.destination_id, func.sum(total_of("bytesStored")))
        .join(Backup, Backup.id == BackupCopy.backup_id)
        .where(Backup.finished_at >= since, BackupCopy.state != MISSED)
        .group_by(BackupCopy.destination_id)
    )
    days = max((installation.clock() - since) / timedelta(days=1), 1.0)
    with installation.database.reading() as session:
        return {number: float(total or 0) / days for number, total in session.execute(query)}


def days_until_full(free_bytes: int | None, per_day: float) -> float | None:
    """For how many days there is room; None where nobody can tell, or nothing grows."""
    return None if free_bytes is None or per_day <= 0 else free_bytes / per_day


def _attained(configuration: Configuration, ends: list[datetime], slowest: float | None, now: datetime) -> Attained:
    promised = configuration.document.get("objectives") or {}
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise([*sorted(ends), now])]
    return Attained(
        config_id=configuration.id,
        rpo_objective=promised.get("rpoMinutes"),
        rpo_seconds=max(gaps, default=None),
        rto_objective=promised.get("rtoMinutes"),
        rto_seconds=slowest,
    )

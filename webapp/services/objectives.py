"""What was promised and what was attained: the longest time without a new restore point, and the slowest restore; and
for how long a destination has room."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from webapp.installation import Installation
from webapp.models import Configuration, Run
from webapp.models.run import SUCCEEDED, UNDO, WARNING
from webapp.services.sql_times import epoch

CREATE, RESTORE = "create", "restore"
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


@dataclass(frozen=True)
class Good:
    """A backup or restore that ended well: seconds since 1970."""

    config_id: str | None
    kind: str
    start: float
    end: float


def good_ends(installation: Installation, since: datetime, *, config_id: str | None = None) -> list[Good]:
    """The backups and restores of the period that ended well, in the order of their ends. One query."""
    query = select(Run.config_id, Run.kind, epoch(Run.started_at), epoch(Run.finished_at)).where(
        Run.kind.in_((CREATE, RESTORE)), Run.created_at >= since, Run.state.in_(_GOOD), Run.started_at.is_not(None)
    )
    query = query.where(Run.type.is_distinct_from(UNDO))  # takes seconds: that is not how long a restore takes
    if config_id is not None:
        query = query.where(Run.config_id == config_id)
    with installation.database.reading() as session:
        return sorted((Good(*row) for row in session.execute(query)), key=lambda each: each.end)


def attained(installation: Installation, ends: Sequence[Good], *, config_id: str | None = None) -> list[Attained]:
    """Every configuration that is not deleted, by id, from what `good_ends` found. One query."""
    query = select(Configuration).where(Configuration.deleted_at.is_(None)).order_by(Configuration.id)
    if config_id is not None:
        query = query.where(Configuration.id == config_id)
    with installation.database.reading() as session:
        wanted = list(session.scalars(query))
    newest: dict[str | None, float] = {}
    gaps: dict[str | None, float] = {}
    slowest: dict[str | None, float] = {}
    for each in ends:
        if each.kind == RESTORE:
            slowest[each.config_id] = max(slowest.get(each.config_id, 0.0), _seconds(each.end - each.start))
            continue
        before = newest.get(each.config_id)
        if before is not None:
            gaps[each.config_id] = max(gaps.get(each.config_id, 0.0), _seconds(each.end - before))
        newest[each.config_id] = each.end
    now = installation.clock().timestamp()
    for name, last in newest.items():
        gaps[name] = max(gaps.get(name, 0.0), _seconds(now - last))
    return [_attained(each, gaps.get(each.id), slowest.get(each.id)) for each in wanted]


def durations(ends: Sequence[Good], percents: Sequence[int]) -> list[float | None]:
    """For each of `percents` the smallest number of seconds that so many backups did not exceed; None for none."""
    took = sorted(_seconds(each.end - each.start) for each in ends if each.kind == CREATE)
    return [took[max(0, math.ceil(len(took) * percent / 100) - 1)] if took else None for percent in percents]


def _seconds(difference: float) -> float:
    return round(difference, 3)


def days_until_full(free_bytes: int | None, per_day: float) -> float | None:
    """For how many days there is room; None where nobody can tell, or nothing grows."""
    return None if free_bytes is None or per_day <= 0 else free_bytes / per_day


def _attained(configuration: Configuration, longest: float | None, slowest: float | None) -> Attained:
    promised = configuration.document.get("objectives") or {}
    return Attained(
        config_id=configuration.id,
        rpo_objective=promised.get("rpoMinutes"),
        rpo_seconds=longest,
        rto_objective=promised.get("rtoMinutes"),
        rto_seconds=slowest,
    )

"""What was promised and what was attained: the longest time without a new restore point, and the slowest restore; and
for how long a destination has room."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from webapp.installation import Installation
from webapp.models import Configuration
from webapp.services.trends import Extremes

_NOTHING = Extremes(None, None, None)


@dataclass(frozen=True)
class Attained:
    """Of one configuration in the period. `rpo_seconds` is the longest time between two good backups, of which the
    later ended in it, or since the newest; `rto_seconds` the slowest restore that ended well; None when there was none.
    Objectives are minutes."""

    config_id: str
    rpo_objective: int | None
    rpo_seconds: float | None
    rto_objective: int | None
    rto_seconds: float | None


def attained(
    installation: Installation, found: Mapping[str, Extremes], *, until: datetime | None = None, config_id: str | None
) -> list[Attained]:
    """Every configuration that is not deleted, by id, from what `trends.trend` found. One query."""
    query = select(Configuration.id, Configuration.document["objectives"]).order_by(Configuration.id)
    query = query.where(Configuration.deleted_at.is_(None))
    if config_id is not None:
        query = query.where(Configuration.id == config_id)
    with installation.database.reading() as session:
        wanted = session.execute(query).all()
    now = (until or installation.clock()).timestamp()
    return [_attained(id, promised or {}, found.get(id, _NOTHING), now) for id, promised in wanted]


def days_until_full(free_bytes: int | None, per_day: float) -> float | None:
    """For how many days there is room; None where nobody can tell, or nothing grows."""
    return None if free_bytes is None or per_day <= 0 else free_bytes / per_day


def _attained(config_id: str, promised: Mapping[str, int], found: Extremes, now: float) -> Attained:
    since = None if found.last_end is None else max(0.0, round(now - found.last_end, 3))
    return Attained(
        config_id=config_id,
        rpo_objective=promised.get("rpoMinutes"),
        rpo_seconds=since if since is None else max(since, found.longest_gap or 0.0),
        rto_objective=promised.get("rtoMinutes"),
        rto_seconds=found.slowest_restore,
    )

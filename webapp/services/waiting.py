"""A run that waits: at which place in its queue, and why it does not begin; and what one that is stopped leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ScalarSelect, func, select

from webapp.installation import Installation
from webapp.models import Run
from webapp.models.run import QUEUED, RUNNING

PATIENCE = timedelta(minutes=2)
"""For so long it is nothing to speak of that what is due has not begun."""
_STAYS: Mapping[str, str] = {
    "create": "What it has stored stays, and the next run uses it.",
    "restore": "What exists was not changed; what it has built is removed.",
    "verify": "What it has read so far is not counted as a check.",
}


@dataclass(frozen=True)
class Place:
    """`position` 1 is the next one; `working` runs of this queue are at work now."""

    queue: str
    position: int
    working: int

    @property
    def reason(self) -> str:
        """Why it waits, in a sentence."""
        if self.position > 1:
            return f"{self.position - 1} {'run waits' if self.position == 2 else 'runs wait'} before it."
        if self.working:
            return "It is the next one: it begins when a worker of this queue is free."
        return "It is the next one, and no run of this queue is at work: a worker takes it up within seconds."


def place(installation: Installation, run: Run) -> Place | None:
    """Where it stands; None when it does not wait. One query."""
    if run.state != QUEUED or run.queue is None:
        return None
    query = select(Run.state, func.count(Run.id)).where(
        Run.queue == run.queue, (Run.state == RUNNING) | ((Run.state == QUEUED) & (Run.id < run.id))
    )
    with installation.database.reading() as session:
        counted: dict[str, int] = dict(session.execute(query.group_by(Run.state)).all())
    return Place(run.queue, counted.get(QUEUED, 0) + 1, counted.get(RUNNING, 0))


def unserved_since(installation: Installation) -> ScalarSelect[datetime]:
    """Since when the oldest run waits that waited for longer than PATIENCE although no worker carries out anything of
    its queue, to be selected; NULL without one."""
    now = installation.clock()
    alive = now - timedelta(seconds=installation.expiry_seconds)
    served = select(Run.queue).where(Run.state == RUNNING, Run.heartbeat_at >= alive, Run.queue.is_not(None))
    query = select(func.min(Run.created_at)).where(
        Run.state == QUEUED, Run.created_at < now - PATIENCE, Run.queue.not_in(served)
    )
    return query.scalar_subquery()


def what_stays(run: Run) -> str:
    """What is left of a run of this kind that is stopped; "" where there is nothing to tell."""
    return _STAYS.get(run.kind, "")

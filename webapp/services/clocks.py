"""Whether the clock can be believed when it says that a delay is over. A clock that was set ten years ahead ends all of
them at once; then each begins anew, and whoever sets the clock right in that time has lost nothing."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

from sqlalchemy import select

from webapp.installation import Installation
from webapp.models import Run

# Nightly and weekly work leaves no such hole, and monthly work neither.
HOLE = timedelta(days=45)


def believed_since(installation: Installation, since: datetime) -> datetime:
    """The end of the newest hole between `since` and now in which no run began here: the clock was set, or nothing was
    at work, and how much time went by is not known. `since` where there is none."""
    now = installation.clock()
    query = select(Run.created_at).where(Run.created_at > since, Run.created_at <= now).order_by(Run.created_at)
    with installation.database.reading() as session:
        times = [since, *session.scalars(query), now]
    return max((later for earlier, later in pairwise(times) if later - earlier > HOLE), default=since)


def doubt(since: datetime) -> str:
    """What is told when a delay begins anew at `since`, the end of a hole."""
    return (
        f"nothing was at work here for more than {HOLE.days} days before {since:%Y-%m-%d}: is the clock right? "
        "If so, wait; else set it"
    )

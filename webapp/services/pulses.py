"""Whether scheduler and workers live: each tick writes down that it came and which queues had a worker, and every page
looks how long ago that was. So a dead one is told before anything is late."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select

from webapp.errors import Unavailable
from webapp.installation import Installation
from webapp.models import Pulse
from webapp.queue import BACKUP, RESTORE, SYSTEM, opened

TICK = "tick"
_SILENCE = timedelta(seconds=90)
_TICKS = 4
_WORK = {BACKUP: "backups", RESTORE: "restores", SYSTEM: "checks and clean-ups"}


def beat(installation: Installation) -> None:
    """Called by each tick. Raises Unavailable when the database cannot be used."""
    living = [TICK]
    try:
        with opened(installation.settings) as queue:
            living += [name for name in _WORK if queue.workers(name)]
    except Unavailable:
        living = [TICK]  # the tick that runs came through Redis: its next one will tell of the workers
    with installation.database.transaction() as session:
        for part in living:
            session.merge(Pulse(part=part, at=installation.clock()))


def silence(installation: Installation) -> dict[str, str]:
    """Who has not reported for more than 90 seconds (four ticks, where ticks are rarer) and what that means, in a
    sentence: TICK for the scheduler, without which nothing is known of the others, or queues without a worker. A part
    that never reported was never started, and is not missed."""
    patience = max(_SILENCE, timedelta(seconds=_TICKS * installation.settings.timing.tick))
    late = installation.clock() - patience
    with installation.database.reading() as session:
        rows = session.scalars(select(Pulse).where(Pulse.at < late))
        since = {row.part: f"has not reported since {row.at:%Y-%m-%d %H:%M} UTC." for row in rows}
    if TICK in since:
        return {TICK: f"The scheduler {since[TICK]} No backup will run by itself."}
    return {
        part: f"The worker for {work} {since[part]} They wait until it is back."
        for part, work in _WORK.items()
        if part in since
    }

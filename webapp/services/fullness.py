"""Destinations that are nearly full: noticed before a backup fails there, told once in a reminder interval.

Only folders know how much room is left (a bucket has no end), so nobody far away is asked at each tick."""

from __future__ import annotations

import shutil
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import select

from engine.errors import EngineError
from engine.storage.local import LocalStorage
from webapp.errors import ServiceError
from webapp.installation import Installation
from webapp.models import Destination, Event
from webapp.services import objectives, recipients, repositories, trends

# Full within so many days at the pace of the last thirty, or with so little left, whichever comes first.
DAYS, SHARE = 7.0, 0.05
_PACE = timedelta(days=30)
_AGAIN_AT_LEAST = timedelta(hours=1)


@dataclass(frozen=True)
class Room:
    """Bytes."""

    free: int
    total: int


def look(installation: Installation) -> list[str]:
    """The destinations that are nearly full and of which that was not told lately; an event was written for each."""
    told = []
    for destination in repositories.used_destinations(installation):
        found = room(installation, destination)
        if found is None or found.free >= found.total / 2:
            continue
        grown = trends.grown(installation, installation.clock() - _PACE).get(destination.id, 0)
        days = objectives.days_until_full(found.free, grown / _PACE.days)
        if not is_low(found, days):
            continue
        if _was_told(installation, destination):
            continue
        details = {"destination": destination.name, "freeBytes": found.free, "days": days}
        with installation.database.transaction() as session:
            session.add(Event(kind=recipients.FULL, at=installation.clock(), details=details))
        told.append(destination.name)
    return told


def is_low(room: Room, days: float | None) -> bool:
    """Whether it is time to say so: it is nearly full, or will be within DAYS and is more than half full already."""
    return room.free < SHARE * room.total or (days is not None and days < DAYS and room.free < room.total / 2)


def room(installation: Installation, destination: Destination) -> Room | None:
    """None where it cannot be looked at: the next backup tells that."""
    if destination.kind != "local" or destination.deleted_at is not None:
        return None
    try:
        with closing(repositories.open_storage(installation, destination)) as storage:
            assert isinstance(storage, LocalStorage)
            total, _, free = shutil.disk_usage(storage.root)
            return Room(free, total)
    except (EngineError, ServiceError, OSError):
        return None


def _was_told(installation: Installation, destination: Destination) -> bool:
    again = max(installation.settings.notify.remind, _AGAIN_AT_LEAST)
    query = select(Event.details).where(Event.kind == recipients.FULL, Event.at > installation.clock() - again)
    with installation.database.reading() as session:
        return any(details.get("destination") == destination.name for details in session.scalars(query))

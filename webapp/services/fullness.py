"""Destinations that are nearly full: noticed before a backup fails there, told once in a reminder interval.

Only folders know how much room is left (a bucket has no end), so nobody far away is asked at each tick."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
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
PACE = timedelta(days=30)
_AGAIN_AT_LEAST = timedelta(hours=1)


@dataclass(frozen=True)
class Room:
    """Bytes."""

    free: int
    total: int


@dataclass(frozen=True)
class Left:
    """`room` is None where a place cannot tell (a bucket has no end), `days` where it does not grow either."""

    destination: Destination
    room: Room | None
    days: float | None

    @property
    def is_low(self) -> bool:
        """Whether it is time to say so: it is nearly full, or more than half full and will be full within DAYS."""
        if self.room is None:
            return False
        free, total = self.room.free, self.room.total
        return free < SHARE * total or (self.days is not None and self.days < DAYS and free < total / 2)


def look(installation: Installation) -> list[str]:
    """The destinations that are nearly full and of which that was not told lately; an event was written for each."""
    told = []
    for each in left(installation, repositories.used_destinations(installation)):
        destination = each.destination
        if each.room is None or not each.is_low or _was_told(installation, destination):
            continue
        details = {"destination": destination.name, "freeBytes": each.room.free, "days": each.days}
        with installation.database.transaction() as session:
            session.add(Event(kind=recipients.FULL, at=installation.clock(), details=details))
        told.append(destination.name)
    return told


def left(installation: Installation, found: Iterable[Destination]) -> list[Left]:
    """How much room each of them has, and for how long it lasts at the pace of the last thirty days. One query."""
    grown = trends.grown(installation, installation.clock() - PACE)
    places = []
    for each in found:
        space = room(installation, each)
        days = objectives.days_until_full(None if space is None else space.free, grown.get(each.id, 0) / PACE.days)
        places.append(Left(each, space, days))
    return places


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

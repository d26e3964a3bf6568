"""How much room each destination has, and for how long it lasts: two queries, and no far place is asked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from webapp.installation import Installation
from webapp.models import Destination
from webapp.services import destinations, fullness, objectives, trends
from webapp.services.fullness import Room

PACE = timedelta(days=30)


@dataclass(frozen=True)
class Left:
    """`room` is None where a place cannot tell (a bucket has no end), `days` where it does not grow either."""

    destination: Destination
    room: Room | None
    days: float | None


def everywhere(installation: Installation) -> list[Left]:
    """Every destination by name; days at the pace of the last thirty."""
    grown = trends.grown(installation, installation.clock() - PACE)
    found = []
    for each in destinations.listing(installation):
        room = fullness.room(installation, each)
        free = None if room is None else room.free
        found.append(Left(each, room, objectives.days_until_full(free, grown.get(each.id, 0) / PACE.days)))
    return found

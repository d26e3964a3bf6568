"""The plan of a cleanup as JSON, the same in the API and the command line."""

from __future__ import annotations

from typing import Any

from engine import ids
from webapp.services import records, retention
from webapp.services.cleanup_plans import Part, Place, Plan


def document(plan: Plan) -> dict[str, Any]:
    """What becomes of each restore point at each destination, with reasons and bytes. Times are datetimes."""
    return {
        "configId": plan.order.config_id,
        "configurations": [part_document(place, part) for place in plan.places for part in place.parts],
        "destinations": [place_document(place) for place in plan.places],
    }


def place_document(place: Place) -> dict[str, Any]:
    """One destination, in bytes."""
    estimate, error = place.estimate, place.error
    return {
        "name": place.destination.name,
        "type": place.destination.kind,
        "status": "failed" if error else "succeeded",
        "storedBytes": None if estimate is None else estimate.stored_bytes,
        "wouldFreeBytes": None if estimate is None else estimate.freed_bytes,
        "error": None if error is None else str(error),
    }


def part_document(place: Place, part: Part) -> dict[str, Any]:
    """One configuration at one destination."""
    freed = {} if place.estimate is None else place.estimate.by_point
    return {
        "configId": part.configuration.id,
        "destination": place.destination.name,
        "retention": part.rules.document(),
        "timezone": part.rules.zone.key,
        "note": part.rules.why or None,
        "toConfirm": list(part.questions),
        "points": [
            {
                "backupId": each.backup.public_id,
                "madeAt": retention.made_at(each.backup),
                "keep": each.decision.keep,
                "reasons": list(each.decision.reasons),
                "freedBytes": 0 if each.decision.keep else freed.get(each.decision.point.id, 0),
            }
            for each in part.verdicts
        ],
        "trash": [
            {
                "backupId": copy.backup.public_id,
                "madeAt": retention.made_at(copy.backup),
                "removedAt": copy.trashed_at,
                "reason": copy.removal_reason,
                "freedBytes": freed.get(ids.parse(records.PREFIX, copy.backup.public_id), 0),
            }
            for copy in part.trash
        ],
    }

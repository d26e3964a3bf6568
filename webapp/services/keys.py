"""`key slots`: what opens the backups, and where copies of it lie."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from engine.errors import EngineError
from engine.repository.repository import read_slots
from webapp.errors import ServiceError
from webapp.installation import Installation
from webapp.services import keyrings, repositories

HOME = "home"


@dataclass(frozen=True)
class SlotCopies:
    """One slot: its kind (`service`: the encryption key; `recovery-code`) and where it is (`home`, or the name of a
    destination)."""

    slot: str
    kind: str
    places: tuple[str, ...]


def slots(installation: Installation) -> tuple[list[SlotCopies], dict[str, str]]:
    """All slots, and why a destination could not be asked, by its name."""
    local = keyrings.readable(keyrings.local_slots(installation.settings))
    kinds = {slot.slot: slot.kind for slot in local}
    places = {slot.slot: [HOME] for slot in local}
    failures = {}
    for destination in repositories.used_destinations(installation):
        if destination.deleted_at is not None:
            continue
        try:
            with closing(repositories.open_storage(installation, destination)) as storage:
                there = read_slots(storage)
        except (EngineError, ServiceError) as error:
            failures[destination.name] = str(error)
            continue
        for slot in there:
            kinds.setdefault(slot.slot, slot.kind)
            places.setdefault(slot.slot, []).append(destination.name)
    listed = [SlotCopies(slot.hex(), kinds[slot], tuple(names)) for slot, names in places.items()]
    return sorted(listed, key=lambda each: (each.kind, each.slot)), failures

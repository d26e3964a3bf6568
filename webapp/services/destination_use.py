"""What destinations are used for and how much room they have: from what is on record, without asking a far place."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from webapp.installation import Installation
from webapp.models import Backup, BackupCopy, Configuration, Destination
from webapp.models.backup import DAMAGED, LOST, PRESENT
from webapp.schema import kinds, placeholders
from webapp.services import destinations, fullness
from webapp.services.fullness import Left

READY, UNTESTED, UNUSABLE, FILLING, HURT = "ready", "never tested", "not usable", "nearly full", "damaged"


@dataclass(frozen=True)
class Part:
    """What one configuration keeps at a destination: restore points, and the bytes that they added there."""

    config_id: str
    points: int
    stored: int


@dataclass(frozen=True)
class Use:
    """`named_by` are the configurations that keep backups there; `trashed` and `hurt` count copies in its trash and
    damaged or lost ones."""

    left: Left
    named_by: tuple[str, ...]
    parts: tuple[Part, ...]
    trashed: int
    hurt: int

    @property
    def destination(self) -> Destination:
        """The place itself."""
        return self.left.destination

    @property
    def points(self) -> int:
        """How many restore points are there, those in the trash not counted."""
        return sum(part.points for part in self.parts)

    @property
    def stored(self) -> int:
        """The bytes that they added."""
        return sum(part.stored for part in self.parts)

    @property
    def status(self) -> str:
        """The worst that is known of it, in a word."""
        probe = self.destination.probe
        if probe is not None and not probe["ok"]:
            return UNUSABLE
        if self.hurt:
            return HURT
        if self.left.is_low:
            return FILLING
        return UNTESTED if probe is None else READY


def uses(installation: Installation) -> list[Use]:
    """Every destination, by name."""
    found = destinations.listing(installation)
    named, (parts, counts) = configurations_at(installation, found), _copies(installation)
    return [
        Use(
            left,
            named.get(left.destination.id, ()),
            tuple(sorted(parts.get(left.destination.id, []), key=lambda part: (-part.stored, part.config_id))),
            *counts.get(left.destination.id, (0, 0)),
        )
        for left in fullness.left(installation, found)
    ]


def configurations_at(installation: Installation, found: Sequence[Destination]) -> dict[int, tuple[str, ...]]:
    """The configurations that name each destination, by its row: as a stored one, or by its place."""
    by_name = {each.name: each.id for each in found}
    by_place = {each.place: each.id for each in found}
    named: dict[int, list[str]] = defaultdict(list)
    places: dict[str, str] = {}  # most configurations go to the same few places
    for config_id, items in _configured(installation):
        for item in items:
            if "ref" in item:
                number = by_name.get(item["ref"])
            else:
                typed = repr((item["type"], item["config"]))
                places[typed] = places.get(typed) or _place(installation, item)
                number = by_place.get(places[typed])
            if number is not None and config_id not in named[number]:
                named[number].append(config_id)
    return {number: tuple(names) for number, names in named.items()}


def named_as(installation: Installation, name: str) -> list[str]:
    """The configurations that hold this name."""
    return [
        config_id for config_id, items in _configured(installation) if any(item.get("ref") == name for item in items)
    ]


def is_inline(installation: Installation, destination: Destination) -> bool:
    """Whether a configuration holds its settings itself: what is changed elsewhere, its next run would change back."""
    return any(
        "ref" not in item and _place(installation, item) == destination.place
        for _, items in _configured(installation)
        for item in items
    )


def _configured(installation: Installation) -> list[tuple[str, list[dict[str, Any]]]]:
    """Every configuration that is not deleted, by id, and where it keeps its backups."""
    query = select(Configuration.id, Configuration.document["destinations"]).where(Configuration.deleted_at.is_(None))
    with installation.database.reading() as session:
        rows = session.execute(query.order_by(Configuration.id)).all()
    return [(config_id, items or []) for config_id, items in rows]


def _place(installation: Installation, item: Mapping[str, Any]) -> str:
    """The fingerprint of the place that a configuration describes; "" while a variable that it needs is not set."""
    kind = item["type"]
    settings = {**kinds.settings_defaults(kind), **item["config"]}
    with suppress(KeyError):
        for key, value in settings.items():
            if isinstance(value, str) and key not in kinds.secret_settings(kind):
                settings[key] = placeholders.substitute(value, installation.settings.environment)
        return destinations.place_of(installation, kind, settings)
    return ""


def _copies(installation: Installation) -> tuple[dict[int, list[Part]], dict[int, tuple[int, int]]]:
    """What is at each destination by configuration; and how many copies are in its trash, or damaged or lost. In one
    query: of 20,000 restore points each look costs 25 ms."""
    in_trash = BackupCopy.trashed_at.is_not(None)
    query = (
        select(
            BackupCopy.destination_id,
            Backup.config_id,
            BackupCopy.state,
            in_trash,
            func.count(BackupCopy.id),
            func.sum(Backup.bytes_stored),
        )
        .join(Backup, Backup.id == BackupCopy.backup_id)
        # Not the bare state: SQLite would begin with its index and read 20,000 restore points one by one, which takes
        # twice as long as two indexes beside each other.
        .where(func.coalesce(BackupCopy.state, "").in_((PRESENT, DAMAGED, LOST)), Backup.deleted_at.is_(None))
        .group_by(Backup.config_id, BackupCopy.destination_id, BackupCopy.state, in_trash)
    )
    parts: dict[int, list[Part]] = defaultdict(list)
    counts: dict[int, tuple[int, int]] = {}
    with installation.database.reading() as session:
        rows = session.execute(query).all()
    for number, config_id, state, is_trashed, count, stored in rows:
        trashed, hurt = counts.get(number, (0, 0))
        if state != PRESENT:
            counts[number] = trashed, hurt + count
        elif is_trashed:
            counts[number] = trashed + count, hurt
        else:
            parts[number].append(Part(config_id, count, int(stored)))
    return parts, counts

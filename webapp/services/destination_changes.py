"""Changing a destination that is there: another name, other settings, off the list and back. Nothing is deleted there,
and what is on record at a place stays bound to the repository that was found in it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from engine.repository import repository as engine
from webapp.errors import Conflict, Invalid, NotFound
from webapp.installation import Installation
from webapp.models import Backup, BackupCopy, Destination
from webapp.models.backup import PRESENT
from webapp.schema.redact import settings_without_secrets
from webapp.services import audit, destination_use, destinations, keyrings, repositories, secrets
from webapp.services.access import Actor

_SHOWN = 3
_NUMBERS = 1 << 31


def fetch(installation: Installation, number: int, *, removed: bool = False) -> Destination:
    """The destination of this row, with `removed` also one that is off the list. Raises NotFound."""
    with installation.database.reading() as session:
        found = session.get(Destination, number) if number < _NUMBERS else None
    if found is None or (found.deleted_at is not None and not removed):
        raise NotFound(f"There is no destination {number}.", hint="The list of destinations shows what there is.")
    return found


def change(
    installation: Installation, actor: Actor, destination: Destination, *, name: str, typed: Mapping[str, Any]
) -> Destination:
    """Another name, other settings, or both. `typed` are settings as typed; a secret that is not among them stays as
    it is. Settings of a place that was used must lead to the same repository.

    Raises Invalid, Conflict, and what opening the place raises; then nothing is changed."""
    known = secrets_of(installation, destination)
    settings = {**{key: value for key, value in known.items() if key not in typed}, **typed}
    candidate = destinations.unstored(installation, name, destination.kind, settings)
    others = destination.name != name, settings != {**destination.settings, **known}
    if not any(others):
        return destination
    _refuse_renaming(installation, destination, name)
    if others[1]:
        _refuse_another_place(installation, destination, candidate)
    kept, sealed = _parted(installation, destination, settings, candidate.place)
    before = _shown(destination)
    with installation.database.transaction() as session:
        _refuse_taken(session, destination, name, candidate.place)
        row = session.get_one(Destination, destination.id)
        row.name, row.settings, row.sealed, row.place = name, kept, sealed, candidate.place
        if others[1]:
            row.probe = None  # it is another place, or other credentials: nobody has tried those yet
        audit.record(session, installation, actor, "destination.changed", str(row.id), before=before, after=_shown(row))
        return row


def remove(installation: Installation, actor: Actor, destination: Destination) -> None:
    """Takes it off the list; its repository stays as it is. Raises Conflict, saying by what it is used."""
    named = destination_use.configurations_at(installation, [destination]).get(destination.id, ())
    if named:
        raise Conflict(
            f"{destination.name} is used by {_listed(named)}.", hint="Give those backups another destination first."
        )
    with installation.database.transaction() as session:
        only = _only_there(session, destination)
        if only:
            count = sum(each for _, each in only)
            raise Conflict(
                f"{destination.name} holds {count} restore points that are nowhere else, of "
                f"{_listed([name for name, _ in only])}.",
                hint="Copy them to another destination, or let retention remove them first.",
            )
        row = session.get_one(Destination, destination.id)
        row.deleted_at = row.deleted_at or installation.clock()
        audit.record(session, installation, actor, "destination.removed", str(row.id), before=_shown(row))


def put_back(installation: Installation, actor: Actor, destination: Destination) -> None:
    """On the list again."""
    with installation.database.transaction() as session:
        session.get_one(Destination, destination.id).deleted_at = None
        audit.record(session, installation, actor, "destination.put_back", str(destination.id))


def secrets_of(installation: Installation, destination: Destination) -> dict[str, str]:
    """Its sealed settings. Never show them. Raises KeyMissing, WrongKey."""
    if destination.sealed is None:
        return {}
    return secrets.unseal(installation.settings, destination.sealed, bound=destination.place, tell=repositories.silent)


def _shown(destination: Destination) -> dict[str, Any]:
    settings = settings_without_secrets(destination.kind, destination.settings)
    return {"name": destination.name, "type": destination.kind, "settings": settings}


def _parted(
    installation: Installation, destination: Destination, settings: Mapping[str, Any], place: str
) -> tuple[dict[str, Any], bytes | None]:
    """What is kept in the clear, and the rest sealed for the place."""
    hidden = destinations.secret_values(destination.kind, settings)
    kept = {key: value for key, value in settings.items() if key not in hidden}
    if not hidden:
        return kept, None
    fresh = not keyrings.local_slots(installation.settings) and not repositories.used_destinations(installation)
    sealed = secrets.seal(installation.settings, hidden, bound=place, may_generate=fresh, tell=repositories.silent)
    return kept, sealed


def _refuse_renaming(installation: Installation, destination: Destination, name: str) -> None:
    if name == destination.name:
        return
    named = destination_use.named_as(installation, destination.name)
    if named:
        raise Conflict(
            f"{_listed(named)} names this destination as {destination.name}.",
            hint="Change that configuration first, or keep the name.",
        )


def _refuse_another_place(installation: Installation, destination: Destination, candidate: Destination) -> None:
    if destination_use.is_inline(installation, destination):
        raise Conflict(
            f"The settings of {destination.name} stand in a configuration, whose next run would change them back.",
            hint="Change them in that configuration.",
        )
    if destination.repository_id is None:
        return
    with closing(repositories.open_storage(installation, candidate)) as storage:
        if engine.read_identity(storage)[0].hex() != destination.repository_id:
            raise Invalid(
                f"{storage.describe()} holds another repository than {destination.name}.",
                hint="A new place is a new destination: add it, and copy the restore points there.",
            )


def _refuse_taken(session: Session, destination: Destination, name: str, place: str) -> None:
    taken = (Destination.name == name) | (Destination.place == place)
    other = session.scalars(select(Destination).where(taken, Destination.id != destination.id)).first()
    if other is not None:
        what = "name" if other.name == name else "place"
        raise Conflict(f"This {what} is the destination {other.name} already.", hint=f"Choose another {what}.")


def _only_there(session: Session, destination: Destination) -> list[tuple[str, int]]:
    """Configurations with the number of restore points that no other destination on the list has."""
    other, place = aliased(BackupCopy), aliased(Destination)
    elsewhere = (
        select(other.id)
        .join(place, place.id == other.destination_id)
        .where(other.backup_id == Backup.id, other.destination_id != destination.id)
        .where(other.state == PRESENT, other.trashed_at.is_(None), place.deleted_at.is_(None))
    )
    query = (
        select(Backup.config_id, func.count(Backup.id))
        .join(BackupCopy, BackupCopy.backup_id == Backup.id)
        .where(BackupCopy.destination_id == destination.id, BackupCopy.state == PRESENT)
        .where(BackupCopy.trashed_at.is_(None), Backup.deleted_at.is_(None), ~elsewhere.exists())
        .group_by(Backup.config_id)
        .order_by(Backup.config_id)
    )
    return [(name, count) for name, count in session.execute(query)]


def _listed(names: Any) -> str:
    shown = ", ".join(names[:_SHOWN])
    more = len(names) - _SHOWN
    return f"{shown} and {more} more" if more > 0 else shown

"""What is on record of restore points that were removed: noted when this installation removes them, and put right by
what lies at a destination. Its tombstones are the truth: another installation may have been at work there."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime

from sqlalchemy import Select, select
from sqlalchemy.orm import Session, selectinload

from engine import ids
from engine.errors import NotFound, RepositoryError
from engine.repository.forget import LOST as LOST_REASON
from engine.repository.forget import Tombstone, read_tombstone
from engine.repository.repository import Repository
from webapp.installation import Installation
from webapp.models import Backup, BackupCopy, Destination
from webapp.models.backup import DAMAGED, LOST, MISSED, PRESENT, REMOVED
from webapp.services import audit, records

_RESTORABLE = (PRESENT, DAMAGED)


def sync(
    installation: Installation, destination: Destination, repository: Repository, found: Collection[bytes]
) -> list[str]:
    """Notes which copies on record lie in the trash there, are removed, or were brought back; `found` are the restore
    points whose manifest is there. The ids of those that turned out removed. Raises StorageError.

    Only tombstones that say something new are read: they are kept for ever, and reading each costs a request. One that
    cannot be read proves nothing."""
    names = repository.removed_ids()
    gone: list[str] = []
    for identity, state, trashed_at in _copies(installation, destination):
        is_there = identity in found
        if identity not in names:
            if trashed_at is not None and is_there:
                recalled(installation, destination, identity)
        elif is_there and (trashed_at is None or state == REMOVED):
            note = _tombstone(repository, identity)
            if note is not None:
                # Its delay begins when it is met: an old tombstone may have been put back to hurry a removal.
                trashed(installation, destination, note, at=installation.clock())
        elif not is_there and state not in (REMOVED, MISSED) and not (state == LOST and trashed_at is not None):
            note = _tombstone(repository, identity)
            if note is not None:
                removed(installation, destination, [note])
                gone.append(records.public_id(identity))
    return gone


def trashed(installation: Installation, destination: Destination, note: Tombstone, *, at: datetime) -> None:
    """The copy lies in the trash, for this installation since `at`."""
    with installation.database.transaction() as session:
        copy = _copy(session, destination, note.manifest)
        copy.trashed_at, copy.removal_reason = at, note.reason
        _is_there(copy)
        _bury(session, copy, at=at)


def recalled(installation: Installation, destination: Destination, identity: bytes) -> None:
    """The copy is out of the trash again."""
    with installation.database.transaction() as session:
        copy = _copy(session, destination, identity)
        copy.trashed_at = copy.removal_reason = None
        _is_there(copy)
        _bury(session, copy, at=installation.clock())


def removed(installation: Installation, destination: Destination, notes: Iterable[Tombstone]) -> None:
    """The copies are gone, lawfully. A restore point without any other copy is off the list from now on, unless it was
    given up as lost: that is told for ever."""
    with installation.database.transaction() as session:
        for note in notes:
            copy = _copy(session, destination, note.manifest)
            copy.state, copy.removal_reason = LOST if note.is_of_lost else REMOVED, note.reason
            copy.trashed_at = copy.trashed_at or note.removed_at
            _bury(session, copy, at=installation.clock())


def given_up(
    installation: Installation, destination: Destination, note: Tombstone, *, name: str, is_there: bool, by: str
) -> None:
    """The loss of the copy was accepted by somebody; `is_there` says whether its manifest is still there. One that was
    never taken on record is in the audit log alone, under the `name` by which it was given up."""
    with installation.database.transaction() as session:
        copy = session.scalars(_chosen(destination, note.manifest)).first()
        if copy is not None:
            copy.state = DAMAGED if is_there else LOST
            copy.trashed_at, copy.removal_reason = note.removed_at, note.reason
            _bury(session, copy, at=installation.clock())
        after = {"destination": destination.name, "reason": note.reason}
        audit.record(session, installation, by, "backup.given_up", name, after=after)


def is_given_up(reason: str | None) -> bool:
    """Whether this is the reason of a removal that accepted a loss."""
    return reason is not None and reason.startswith(LOST_REASON)


def notes(installation: Installation, destination: Destination) -> tuple[dict[bytes, Tombstone], set[bytes]]:
    """The tombstones that should be at a destination, as they are on record, and the restore points that should have
    none."""
    columns = (Backup.public_id, Backup.config_id, Backup.sequence, Backup.manifest_hash)
    query = (
        select(*columns, BackupCopy.removal_reason, BackupCopy.trashed_at)
        .join(BackupCopy, BackupCopy.backup_id == Backup.id)
        .where(BackupCopy.destination_id == destination.id, BackupCopy.state != MISSED)
    )
    buried, held = dict[bytes, Tombstone](), set[bytes]()
    with installation.database.reading() as session:
        for text, config_id, number, digest, reason, at in session.execute(query):
            identity = ids.parse(records.PREFIX, text)
            if at is None:
                held.add(identity)
            else:
                buried[identity] = Tombstone(identity, config_id, number, bytes.fromhex(digest), reason or "", at)
    return buried, held


def here(installation: Installation, destination: Destination, *, config_id: str | None = None) -> list[BackupCopy]:
    """The copies that lie in the trash of a destination, oldest removal first; their restore points are loaded."""
    query = (
        select(BackupCopy)
        .join(Backup, BackupCopy.backup_id == Backup.id)
        .where(
            BackupCopy.destination_id == destination.id,
            BackupCopy.trashed_at.is_not(None),
            BackupCopy.state.in_(_RESTORABLE),
        )
        .options(selectinload(BackupCopy.backup))
        .order_by(BackupCopy.trashed_at, Backup.id)
    )
    if config_id is not None:
        query = query.where(Backup.config_id == config_id)
    with installation.database.reading() as session:
        return list(session.scalars(query))


def _copies(installation: Installation, destination: Destination) -> list[tuple[bytes, str, datetime | None]]:
    query = (
        select(Backup.public_id, BackupCopy.state, BackupCopy.trashed_at)
        .join(BackupCopy, BackupCopy.backup_id == Backup.id)
        .where(BackupCopy.destination_id == destination.id)
    )
    with installation.database.reading() as session:
        return [(ids.parse(records.PREFIX, text), state, at) for text, state, at in session.execute(query)]


def _tombstone(repository: Repository, identity: bytes) -> Tombstone | None:
    try:
        return read_tombstone(repository, identity)
    except (NotFound, RepositoryError):
        return None


def _copy(session: Session, destination: Destination, identity: bytes) -> BackupCopy:
    return session.scalars(_chosen(destination, identity)).one()


def _chosen(destination: Destination, identity: bytes) -> Select[BackupCopy]:
    return (
        select(BackupCopy)
        .join(Backup, BackupCopy.backup_id == Backup.id)
        .where(BackupCopy.destination_id == destination.id, Backup.public_id == records.public_id(identity))
        .options(selectinload(BackupCopy.backup).selectinload(Backup.copies))
    )


def _is_there(copy: BackupCopy) -> None:
    if copy.state in (REMOVED, LOST):
        copy.state = PRESENT


def _bury(session: Session, copy: BackupCopy, *, at: datetime) -> None:
    """`deleted_at` is when a restore point was found to have no copy any more, but those that were never made and those
    that were removed; a lost one stays on the list, because it is an alarm."""
    backup = copy.backup
    if any(each.state in (*_RESTORABLE, LOST) for each in backup.copies):
        backup.deleted_at = None
    else:
        backup.deleted_at = backup.deleted_at or at

"""Holds: a restore point that is pinned stays whatever the retention says, until the pin is taken away or ends.

One that lies in the trash is brought back from there. Holds are known to this installation alone."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select

from engine import ids
from engine.errors import EngineError
from engine.repository.forget import recall
from webapp.errors import Invalid, NotFound, ServiceError, Unavailable
from webapp.installation import Installation
from webapp.models import Backup, Hold
from webapp.models.backup import DAMAGED, PRESENT
from webapp.services import records, repositories, trash
from webapp.services.keyrings import Tell

PINNED = "pinned"
_REASON = 1000


@dataclass(frozen=True)
class Pinned:
    """A restore point with its new hold, and the destinations where it was brought back from the trash."""

    backup: Backup
    hold: Hold
    recalled: tuple[str, ...]


def pin(
    installation: Installation,
    text: str,
    *,
    identity: str,
    reason: str = PINNED,
    until_at: datetime | None = None,
    tell: Tell,
) -> Pinned:
    """Holds the restore point that `text` names; a hold that it has already is replaced. `identity` is who asks.

    Raises NotFound, Invalid (ambiguous, an end that is past, an unusable reason), and Unavailable when it lies in the
    trash and no destination could be reached to bring it back: the hold is noted, and the next cleanup tries again.
    """
    if until_at is not None and until_at <= installation.clock():
        raise Invalid("A pin must end in the future.", hint="`--until` takes a date such as 2031-12-31.")
    if not reason.strip() or len(reason) > _REASON or not reason.isprintable():
        raise Invalid(f"The reason of a pin must be 1 to {_REASON} printable characters.")
    backup = repositories.find_backup(installation, text)
    hold = _store(installation, backup, identity, reason.strip(), until_at)
    return Pinned(backup, hold, bring_back(installation, backup, tell=tell))


def unpin(installation: Installation, text: str) -> tuple[Backup, Hold]:
    """Takes the hold of a restore point away. Raises NotFound, also when it has none, and Invalid."""
    backup = repositories.find_backup(installation, text)
    if backup.hold is None:
        raise NotFound(f"{backup.public_id} is not pinned.", hint="`backup-cli list` shows which are.")
    with installation.database.transaction() as session:
        session.execute(delete(Hold).where(Hold.id == backup.hold.id))
    return backup, backup.hold


def held(installation: Installation) -> set[bytes]:
    """The restore points whose hold has not ended."""
    now = installation.clock()
    query = select(Backup.public_id).join(Hold, Hold.backup_id == Backup.id)
    with installation.database.reading() as session:
        names = session.scalars(query.where(Hold.until_at.is_(None) | (Hold.until_at > now)))
        return {ids.parse(records.PREFIX, name) for name in names}


def bring_back(installation: Installation, backup: Backup, *, tell: Tell) -> tuple[str, ...]:
    """Takes a restore point out of the trash wherever it lies there; the names of these destinations.

    Raises Unavailable when nothing of it is safe from the next cleanup now."""
    kept = [copy for copy in backup.copies if copy.state in (PRESENT, DAMAGED)]
    in_trash = [copy.destination for copy in kept if copy.trashed_at is not None]
    if not in_trash:
        return ()
    keyring = repositories.open_keyring(installation, may_create=False, tell=tell)
    recalled = []
    for destination in in_trash:
        try:
            repository = repositories.open_repository(installation, destination, keyring)
            with closing(repository.storage):
                recall(repository, records.identity(backup))
        except (EngineError, ServiceError) as error:
            tell(f"Warning: {backup.public_id} could not be taken out of the trash at {destination.name}: {error}")
            continue
        trash.recalled(installation, destination, records.identity(backup))
        recalled.append(destination.name)
    if not recalled and len(in_trash) == len(kept):
        raise Unavailable(
            f"{backup.public_id} is pinned, but it still lies in the trash.",
            hint="Run `backup-cli cleanup` when the destination is there again, before seven days are over.",
        )
    return tuple(recalled)


def _store(installation: Installation, backup: Backup, identity: str, reason: str, until_at: datetime | None) -> Hold:
    with installation.database.transaction() as session:
        session.execute(delete(Hold).where(Hold.backup_id == backup.id))
        hold = Hold(
            backup_id=backup.id,
            reason=reason,
            identity=identity,
            created_at=installation.clock(),
            until_at=until_at,
        )
        session.add(hold)
    return hold

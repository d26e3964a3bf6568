"""Accepting a loss: a restore point that cannot be made whole at a destination is given up there, by name. It goes
into the trash with a note for ever, and is told by `list`, `show` and `doctor` but no more by `verify`."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace

from sqlalchemy import select

from engine import ids
from engine.errors import NotFound as StorageNotFound
from engine.errors import RepositoryError
from engine.ids import new_id
from engine.progress import Progress
from engine.repository import layout
from engine.repository.check import WRONG_KEY, Damage
from engine.repository.forget import LOST as LOST_REASON
from engine.repository.forget import Tombstone, give_up
from engine.repository.repository import Repository
from webapp.errors import NotFound
from webapp.installation import Installation
from webapp.models import Backup, Destination
from webapp.models.backup import MISSED, REMOVED
from webapp.services import destinations, records, repositories, trash

_NUMBER = re.compile(r"number (\d{1,9}) of (\S+)")


def named(installation: Installation, target: str, texts: Collection[str]) -> tuple[str, ...]:
    """The ids (`bk_…`) of the restore points that people name. One that is not on record, since its manifest was
    never read, is named by its whole id, and one of which only its number is known as `number 3 of shop`.

    Raises NotFound, also for one that the destination `target` is not known to have, and Invalid."""
    destination = destinations.find(installation, target)
    found = []
    for text in texts:
        if _NUMBER.fullmatch(text):
            found.append(text)
            continue
        try:
            backup = repositories.find_backup(installation, text)
        except NotFound:
            if not _is_whole_id(text) or _is_on_record(installation, text):
                raise
            found.append(text)
            continue
        states = [copy.state for copy in backup.copies if copy.destination_id == destination.id]
        if all(state in (MISSED, REMOVED) for state in states):
            raise NotFound(f"{backup.public_id} is not at {target}.", hint="`backup-cli show` tells where it is.")
        found.append(backup.public_id)
    return tuple(dict.fromkeys(found))


def accept(
    installation: Installation,
    destination: Destination,
    repository: Repository,
    accepted: Sequence[str],
    lost: Sequence[Damage],
    *,
    by: str,
    watch: Progress,
) -> list[str]:
    """Gives up those of the accepted restore points that `lost`, what a repair left, hits; their ids. One that is
    not damaged, or that other keys than ours may open, stays and is a problem of the run. Raises StorageError."""
    given_up = []
    for name in accepted:
        hits = [damage for damage in lost if name in damage.backups or name == damage.object]
        if not hits:
            watch.problem("restore point", name, f"is not damaged at {destination.name}: it was not given up")
        elif any(damage.kind == WRONG_KEY for damage in hits):
            watch.problem("restore point", name, "was sealed with other keys, and may be good: it was not given up")
        else:
            _give_up(installation, destination, repository, name, hits, by)
            given_up.append(name)
    return given_up


def _give_up(
    installation: Installation,
    destination: Destination,
    repository: Repository,
    name: str,
    hits: Sequence[Damage],
    by: str,
) -> None:
    more = f" and {len(hits) - 1} more" if len(hits) > 1 else ""
    reason = f"{LOST_REASON}{hits[0].object} is {hits[0].kind}{more}"
    known = replace(_known(installation, repository, name), reason=reason, removed_at=installation.clock())
    note = give_up(repository, known)
    is_there = _is_there(repository, note.manifest)
    trash.given_up(installation, destination, note, name=name, is_there=is_there, by=by)


def _known(installation: Installation, repository: Repository, name: str) -> Tombstone:
    """What is known of a restore point; neither reason nor time are said yet."""
    nothing = Tombstone(new_id(), "", 0, bytes(layout.HASH_BYTES), "", installation.clock())
    number = _NUMBER.fullmatch(name)
    if number is not None:
        chained = _hash_before(repository, number[2], int(number[1]) + 1)
        return replace(nothing, config_id=number[2], sequence=int(number[1]), hash=chained or nothing.hash)
    identity = ids.parse(records.PREFIX, name)
    with installation.database.reading() as session:
        row = session.scalars(select(Backup).where(Backup.public_id == name)).first()
    if row is None:
        return replace(nothing, manifest=identity)
    digest = bytes.fromhex(row.manifest_hash)
    return replace(nothing, manifest=identity, config_id=row.config_id, sequence=row.sequence, hash=digest)


def _hash_before(repository: Repository, config_id: str, number: int) -> bytes | None:
    """The hash that the restore point with this number was chained to."""
    for identity in repository.manifest_ids():
        with suppress(RepositoryError, StorageNotFound):
            manifest = repository.read_manifest(identity).manifest
            if (manifest.config_id, manifest.sequence) == (config_id, number):
                return manifest.previous
    return None


def _is_there(repository: Repository, identity: bytes) -> bool:
    try:
        repository.storage.stat(layout.manifest(identity))
    except StorageNotFound:
        return False
    return True


def _is_whole_id(text: str) -> bool:
    try:
        ids.parse(records.PREFIX, text)
    except ValueError:
        return False
    return True


def _is_on_record(installation: Installation, public_id: str) -> bool:
    return ids.parse(records.PREFIX, public_id) in records.known_ids(installation)

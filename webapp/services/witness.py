"""The witness: what each destination confirmed to have, remembered in our own database, and what contradicts it.

A destination that is rolled back as a whole fits together in itself; only who remembers more can tell."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, select, update

from engine import ids
from engine.errors import NotFound, RepositoryError
from engine.repository import layout
from engine.repository.evidence import Damaged, read_heads, set_aside
from engine.repository.forget import Tombstone, read_tombstone
from engine.repository.history import Evidence, Finding, Point, Witness, against
from engine.repository.repository import Repository
from engine.storage.base import Item
from webapp.installation import Installation
from webapp.models import Alarm, Backup, BackupCopy, Destination
from webapp.models.backup import LOST, MISSED, REMOVED
from webapp.services import records

CORRUPT = "corrupt"


@dataclass(frozen=True)
class Memory:
    """What is on record of a destination. `stamps` tell which manifests were found right, and when they were written
    as the storage says: those need not be read again."""

    witness: Witness
    stamps: Mapping[bytes, str | None]


def remember(installation: Installation, destination: Destination) -> Memory:
    """What is on record. To be called before the destination is listed: what others record meanwhile is there, too."""
    point = (Backup.public_id, Backup.config_id, Backup.sequence, Backup.manifest_hash, Backup.finished_at)
    query = (
        select(*point, BackupCopy.state, BackupCopy.stamp, BackupCopy.trashed_at)
        .join(BackupCopy, BackupCopy.backup_id == Backup.id)
        .where(BackupCopy.destination_id == destination.id, BackupCopy.state != MISSED)
    )
    held, removed, stamps = dict[bytes, Point](), dict[bytes, Point](), dict[bytes, str | None]()
    with installation.database.reading() as session:
        for text, config_id, number, digest, made_at, state, stamp, trashed_at in session.execute(query):
            identity = ids.parse(records.PREFIX, text)
            is_given_up = state == LOST and trashed_at is not None
            remembered = removed if state == REMOVED or is_given_up else held
            remembered[identity] = Point(identity, config_id, number, bytes.fromhex(digest), made_at)
            stamps[identity] = stamp
    return Memory(Witness(held, removed), stamps)


def listed(repository: Repository) -> dict[bytes, Item]:
    """The manifests that are there, by restore point. Raises StorageError."""
    found = layout.named(repository.storage.list(layout.MANIFESTS), layout.ID_BYTES)
    return {identity: item for item, identity in found}


def compare(
    installation: Installation,
    destination: Destination,
    repository: Repository,
    memory: Memory,
    items: Mapping[bytes, Item],
) -> None:
    """Holds the manifests that are at a destination, `items` by restore point, against the memory, and keeps an alarm
    for each contradiction. Manifests are read only if the storage shows another size or time of them than before.

    Raises StorageError."""
    witness = memory.witness
    points, stamps, findings = _read_changed(repository, memory, items)
    buried = repository.removed_ids()
    gone = witness.held.keys() - items.keys()
    tombstones = _opened(repository, gone & buried)
    damage: Damaged = {}
    is_told = bool(gone - tombstones.keys())
    heads = read_heads(repository, damage=damage) if is_told else {}
    aside = set_aside(repository) if is_told else ()
    evidence = Evidence(items.keys(), points, heads, buried, tombstones, set_aside=aside)
    findings += against(evidence, witness)
    _keep(installation, destination, findings, stamps)


def untold(installation: Installation, destination: Destination) -> list[Alarm]:
    """The alarms that no `create`, no `verify` and no repair has told of, by number of discovery."""
    query = select(Alarm).where(Alarm.destination_id == destination.id, Alarm.told_at.is_(None)).order_by(Alarm.id)
    with installation.database.reading() as session:
        return list(session.scalars(query))


def told(installation: Installation, alarms: Sequence[Alarm]) -> None:
    """Notes that somebody was told."""
    if alarms:
        chosen = update(Alarm).where(Alarm.id.in_([alarm.id for alarm in alarms]))
        with installation.database.transaction() as session:
            session.execute(chosen.values(told_at=installation.clock()))


def _read_changed(
    repository: Repository, memory: Memory, items: Mapping[bytes, Item]
) -> tuple[dict[bytes, Point], dict[bytes, str], list[Finding]]:
    """Manifests on record that look other than when they were last read: their points, the stamps of those that are the
    recorded ones, and findings for those that are no manifest of theirs any more."""
    points, stamps, findings = dict[bytes, Point](), dict[bytes, str](), list[Finding]()
    for identity, held in memory.witness.held.items():
        item = items.get(identity)
        if item is None or memory.stamps[identity] == _stamp(item):
            continue
        try:
            points[identity] = Point.of(repository.read_manifest(identity))
        except NotFound:
            continue  # removed since it was listed
        except RepositoryError as error:
            reason = f"Number {held.sequence} of {held.config_id} was damaged or replaced: {error.message}"
            findings.append(Finding(CORRUPT, item.name, reason, held.config_id, held.sequence, identity))
            continue
        if points[identity].hash == held.hash:
            stamps[identity] = _stamp(item)
    return points, stamps, findings


def _opened(repository: Repository, buried: Collection[bytes]) -> dict[bytes, Tombstone]:
    """Tombstones that open: only they show that a removal was lawful."""
    found = {}
    for identity in buried:
        try:
            found[identity] = read_tombstone(repository, identity)
        except (NotFound, RepositoryError):
            continue  # verify tells of it
    return found


def _keep(
    installation: Installation, destination: Destination, findings: Sequence[Finding], stamps: Mapping[bytes, str]
) -> None:
    """New findings become alarms; those that were told and are over go."""
    here = Alarm.destination_id == destination.id
    with installation.database.reading() as session:
        known = {(kind, name) for kind, name in session.execute(select(Alarm.kind, Alarm.object).where(here))}
    current = {(finding.kind, finding.object): finding for finding in findings}
    over = known - current.keys()
    if not stamps and not over and current.keys() <= known:
        return
    with installation.database.transaction() as session:
        for kind, name in over:
            session.execute(
                delete(Alarm).where(here, Alarm.kind == kind, Alarm.object == name, Alarm.told_at.is_not(None))
            )
        known = {(kind, name) for kind, name in session.execute(select(Alarm.kind, Alarm.object).where(here))}
        session.add_all(_alarm(installation, destination, each) for key, each in current.items() if key not in known)
        for identity, stamp in stamps.items():
            chosen = select(Backup.id).where(Backup.public_id == records.public_id(identity)).scalar_subquery()
            copy = update(BackupCopy).where(BackupCopy.destination_id == destination.id, BackupCopy.backup_id == chosen)
            session.execute(copy.values(stamp=stamp))


def _alarm(installation: Installation, destination: Destination, finding: Finding) -> Alarm:
    return Alarm(
        destination_id=destination.id,
        kind=finding.kind,
        object=finding.object,
        reason=finding.reason,
        backup=None if finding.point is None else ids.spell(records.PREFIX, finding.point),
        found_at=installation.clock(),
    )


def _stamp(item: Item) -> str:
    return f"{item.size} {item.modified_at.isoformat()}"

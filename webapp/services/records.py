"""Restore points on record: written from manifests, found by what people type. The truth is the manifest."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ScalarSelect, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, selectinload

from engine import ids
from engine.model.manifest import FilesRoot, Manifest, StreamRoot
from webapp.errors import Invalid, NotFound
from webapp.installation import Installation
from webapp.models import Backup, BackupCopy, Configuration, Destination
from webapp.models.backup import DAMAGED, MISSED, PRESENT
from webapp.services import figures, runs
from webapp.services.wholes import is_whole

PREFIX = "bk"
LATEST = "@latest"
_CANDIDATES = 5
_SHORTEST = 4
_WITH_COPIES = selectinload(Backup.copies).selectinload(BackupCopy.destination)


def public_id(identity: bytes) -> str:
    """`bk_…`"""
    return ids.spell(PREFIX, identity)


def identity(backup: Backup) -> bytes:
    """The 16 bytes behind `bk_…`."""
    return ids.parse(PREFIX, backup.public_id)


def record(
    installation: Installation,
    manifest: Manifest,
    manifest_hash: bytes,
    copies: Mapping[int, str],
    *,
    run_id: int | None = None,
) -> Backup:
    """The restore point's row, made from its manifest unless it is there, with the state of its copy at each
    destination (by row id). A configuration that is not there any more is put down as a deleted one."""
    try:
        return _record(installation, manifest, manifest_hash, copies, run_id)
    except IntegrityError:  # another process took it on record at the same moment
        return _record(installation, manifest, manifest_hash, copies, run_id)


def known_copies(installation: Installation, destination: Destination) -> dict[bytes, str]:
    """Identities of the restore points that are on record for a destination, with the state of their copy."""
    with installation.database.reading() as session:
        query = (
            select(Backup.public_id, BackupCopy.state)
            .join(BackupCopy, BackupCopy.backup_id == Backup.id)
            .where(BackupCopy.destination_id == destination.id)
        )
        return {ids.parse(PREFIX, text): state for text, state in session.execute(query)}


def known_ids(installation: Installation) -> set[bytes]:
    """Identities of all restore points on record."""
    with installation.database.reading() as session:
        return {ids.parse(PREFIX, text) for text in session.scalars(select(Backup.public_id))}


def set_states(installation: Installation, destination: Destination, states: Mapping[bytes, str]) -> None:
    """Notes in which state the copies of these restore points are at a destination."""
    with installation.database.transaction() as session:
        missed = _missed(session, destination)
        for restore_point, state in states.items():
            chosen = select(Backup.id).where(Backup.public_id == public_id(restore_point)).scalar_subquery()
            session.execute(
                update(BackupCopy)
                .where(BackupCopy.destination_id == destination.id, BackupCopy.backup_id == chosen)
                .values(state=state)
            )
        for config_id, finished_at in missed ^ _missed(session, destination):
            figures.recount(session, config_id, finished_at)


def newest(
    installation: Installation, config_id: str, *, types: Sequence[str] | None = None, usable: bool = False
) -> Backup | None:
    """The restore point of a configuration with the highest number, its copies loaded; with `types` only of these,
    with `usable` only one that is present somewhere, not in the trash there, and not deleted."""
    query = select(Backup).where(Backup.config_id == config_id).options(_WITH_COPIES).order_by(Backup.sequence.desc())
    if types is not None:
        query = query.where(Backup.type.in_(types))
    if usable:
        present = select(BackupCopy.backup_id).where(BackupCopy.state == PRESENT, BackupCopy.trashed_at.is_(None))
        query = query.where(Backup.deleted_at.is_(None), Backup.id.in_(present))
    with installation.database.reading() as session:
        return session.scalars(query.limit(1)).first()


def newest_usable() -> ScalarSelect[int]:
    """The row's id of the newest restore point that can be used and holds all of the sources, of each `Configuration`
    of the query around it: from the end of the index. To ask for 200 numbers at once reads every restore point."""
    there = select(BackupCopy.id).where(
        BackupCopy.backup_id == Backup.id, BackupCopy.state == PRESENT, BackupCopy.trashed_at.is_(None)
    )
    query = select(Backup.id).where(
        Backup.config_id == Configuration.id, Backup.deleted_at.is_(None), there.exists(), is_whole(Backup)
    )
    return query.order_by(Backup.sequence.desc()).limit(1).correlate(Configuration).scalar_subquery()


def find(installation: Installation, text: str) -> Backup:
    """As repositories.find_backup, without asking destinations. Raises NotFound, Invalid."""
    if text.endswith(LATEST):
        config_id = text.removesuffix(LATEST)
        found = newest(installation, config_id, usable=True)
        if found is None:
            damaged = newest(installation, config_id)
            if damaged is not None:
                raise NotFound(
                    f"Every restore point of {config_id} is damaged, in the trash or gone; the newest is "
                    f"{damaged.public_id}.",
                    hint="Give its id to restore what is left of it.",
                )
            raise NotFound(
                f"There is no restore point of a configuration {config_id}.",
                hint="`backup-cli list` shows the restore points.",
            )
        return found
    wanted = text if text.startswith(f"{PREFIX}_") else f"{PREFIX}_{text}"
    query = select(Backup).where(Backup.deleted_at.is_(None)).options(_WITH_COPIES).order_by(Backup.finished_at.desc())
    with installation.database.reading() as session:
        # First the whole id, by its index: no index helps with how an id begins, and 100,000 of them take 30 ms.
        for how in (Backup.public_id == wanted, Backup.public_id.startswith(wanted, autoescape=True)):
            candidates = session.scalars(query.where(how).limit(_CANDIDATES + 1)).all()
            if candidates:
                break
    if not candidates:
        raise NotFound(f"There is no restore point {text}.", hint="`backup-cli list` shows the restore points.")
    if len(candidates) > 1:
        named = ", ".join(each.public_id for each in candidates[:_CANDIDATES]) + (
            " …" if len(candidates) > _CANDIDATES else ""
        )
        raise Invalid(f"More than one restore point begins with {text}: {named}.", hint="Type more of the id.")
    if len(text.removeprefix(f"{PREFIX}_")) < _SHORTEST:
        raise Invalid(f"{text!r} is too short for a restore point's id.", hint=f"Type at least {_SHORTEST} letters.")
    return candidates[0]


def of_configuration(installation: Installation, config_id: str) -> list[Backup]:
    """The restore points of a configuration, also of a deleted one, newest first, with their copies."""
    with installation.database.reading() as session:
        query = (
            select(Backup)
            .where(Backup.config_id == config_id, Backup.deleted_at.is_(None))
            .options(_WITH_COPIES)
            .order_by(Backup.sequence.desc())
        )
        return list(session.scalars(query))


def numbers_held(installation: Installation, config_id: str) -> dict[str, set[int]]:
    """For each destination by name the numbers of a configuration that it ever confirmed to have, removed ones too."""
    query = (
        select(Destination.name, Backup.sequence)
        .join(BackupCopy, BackupCopy.destination_id == Destination.id)
        .join(Backup, BackupCopy.backup_id == Backup.id)
        .where(Backup.config_id == config_id, BackupCopy.state != MISSED)
    )
    found: dict[str, set[int]] = {}
    with installation.database.reading() as session:
        for name, number in session.execute(query):
            found.setdefault(name, set()).add(number)
    return found


def usable_copies(installation: Installation, backup: Backup) -> list[BackupCopy]:
    """The copies that may be read, best first: local before others, damaged ones last."""
    with installation.database.reading() as session:
        query = (
            select(BackupCopy)
            .where(BackupCopy.backup_id == backup.id, BackupCopy.state.in_((PRESENT, DAMAGED)))
            .options(selectinload(BackupCopy.destination))
            .order_by(BackupCopy.id)
        )
        found = list(session.scalars(query))
    return sorted(found, key=lambda copy: (copy.state == DAMAGED, copy.destination.kind != "local"))


def note_dead_runs(installation: Installation) -> bool:
    """Whether runs were found whose process is gone: what they committed may not be on record."""
    return bool(runs.interrupt_dead(installation))


def count_since_full(installation: Installation, config_id: str) -> int | None:
    """How many restore points with files came after the newest for which every file was read; None without one."""
    with_files = select(Backup.sequence).where(
        Backup.config_id == config_id, Backup.type != "database", Backup.deleted_at.is_(None)
    )
    with installation.database.reading() as session:
        full = session.scalar(with_files.where(Backup.parent_id.is_(None)).order_by(Backup.sequence.desc()).limit(1))
        if full is None:
            return None
        later = with_files.where(Backup.sequence > full).subquery()
        return session.scalar(select(func.count()).select_from(later)) or 0


def _record(
    installation: Installation, manifest: Manifest, manifest_hash: bytes, copies: Mapping[int, str], run_id: int | None
) -> Backup:
    with installation.database.transaction() as session:
        backup = session.scalars(select(Backup).where(Backup.public_id == public_id(manifest.id))).first()
        if backup is None:
            _configuration(session, installation, manifest)
            backup = _row(manifest, manifest_hash, run_id)
            session.add(backup)
            session.flush()
        for destination_id, state in copies.items():
            _copy(session, backup.id, destination_id, state)
        figures.recount(session, backup.config_id, backup.finished_at)
        return backup


def _row(manifest: Manifest, manifest_hash: bytes, run_id: int | None) -> Backup:
    folders = [root for root in manifest.roots if isinstance(root, FilesRoot)]
    streams = [root for root in manifest.roots if isinstance(root, StreamRoot)]
    return Backup(
        public_id=public_id(manifest.id),
        config_id=manifest.config_id,
        run_id=run_id,
        sequence=manifest.sequence,
        manifest_hash=manifest_hash.hex(),
        type=manifest.type,
        parent_id=public_id(manifest.parent) if manifest.parent else None,
        started_at=manifest.started_at,
        finished_at=manifest.finished_at,
        totals=dict(manifest.totals),
        databases=[database(root) for root in streams],
        paths=[os.fsdecode(root.path).encode("utf-8", "backslashreplace").decode() for root in folders],
        problem_count=manifest.totals.get("problems", len(manifest.problems)),
        tags=dict(manifest.tags),
        program=manifest.program[:64],
        host=manifest.host[:255],
    )


def database(root: StreamRoot) -> dict[str, Any]:
    """A dump in the words of the contract."""
    tables = len(root.facts.get("tables", ())) + len(root.facts.get("tablesWithoutData", ()))
    return {"name": root.name, "tables": tables, "bytes": root.size}


def _missed(session: Session, destination: Destination) -> set[tuple[str, datetime]]:
    """What never came to a destination, as configurations and times: its bytes do not count there."""
    here = (BackupCopy.destination_id == destination.id) & (BackupCopy.state == MISSED)
    query = select(Backup.config_id, Backup.finished_at).join(BackupCopy).where(here)
    return set(session.execute(query))


def _configuration(session: Session, installation: Installation, manifest: Manifest) -> None:
    if session.get(Configuration, manifest.config_id) is not None:
        return
    now = installation.clock()
    session.add(
        Configuration(
            id=manifest.config_id,
            name=str(manifest.config.get("name", manifest.config_id)),
            document=dict(manifest.config),
            enabled=False,
            created_at=manifest.started_at,
            updated_at=now,
            deleted_at=now,
        )
    )
    session.flush()


def _copy(session: Session, backup_id: int, destination_id: int, state: str) -> None:
    query = select(BackupCopy).where(BackupCopy.backup_id == backup_id, BackupCopy.destination_id == destination_id)
    copy = session.scalars(query).first()
    if copy is None:
        session.add(BackupCopy(backup_id=backup_id, destination_id=destination_id, state=state))
    else:
        copy.state = state

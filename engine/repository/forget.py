"""Removing restore points: a tombstone first, which puts the point into the trash, and its manifest after a delay.

In the trash a point is still restorable, and prune still counts what it needs."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import msgpack

from engine import crypto
from engine.errors import AlreadyExists, Corrupt, NotFound, RepositoryError, StorageError, WrongKey
from engine.model.manifest import from_micros, to_micros
from engine.repository import box, layout, reserve
from engine.repository.repository import Repository

LOST = "lost: "


@dataclass(frozen=True)
class Tombstone:
    """This restore point was removed lawfully. `hash` is the SHA-256 of its stored manifest. A `reason` that begins
    with LOST says that it was damaged beyond repair, and that somebody accepted its loss."""

    manifest: bytes
    config_id: str
    sequence: int
    hash: bytes
    reason: str
    removed_at: datetime

    @property
    def is_of_lost(self) -> bool:
        """Whether the restore point was given up."""
        return self.reason.startswith(LOST)


def forget(
    repository: Repository, restore_point: bytes, *, reason: str, now: datetime, config_id: str = "", sequence: int = 0
) -> Tombstone:
    """Put a restore point into the trash; one that is there stays as it is. `config_id` and `sequence` are what the
    caller knows of it, for a manifest that cannot be read. Raises NotFound when there is no manifest, StorageError."""
    data = repository.storage.get(layout.manifest(restore_point))
    try:
        found = repository.read_manifest(restore_point).manifest
        config_id, sequence = found.config_id, found.sequence
    except RepositoryError:
        pass  # damaged: that is one reason to remove it
    tombstone = Tombstone(restore_point, config_id, sequence, crypto.sha256(data), reason, now)
    try:
        write(repository, tombstone, create=True)
    except AlreadyExists:
        return read_tombstone(repository, restore_point)
    return tombstone


def give_up(repository: Repository, known: Tombstone) -> Tombstone:
    """Put a restore point that is damaged beyond repair into the trash, whatever is left of it: its manifest may be
    damaged or gone. `known` is what the caller remembers of it, with a reason that begins with LOST; what a readable
    manifest says comes first. One that is in the trash for another reason is given up as well. Raises StorageError."""
    with suppress(NotFound, RepositoryError):
        stored = repository.read_manifest(known.manifest)
        manifest = stored.manifest
        known = replace(known, config_id=manifest.config_id, sequence=manifest.sequence, hash=stored.hash)
    write(repository, known)
    return known


def given_up(repository: Repository, among: Collection[bytes]) -> set[bytes]:
    """Those of the restore points in `among` that have a tombstone which says that they were given up. Raises
    StorageError."""
    buried = repository.removed_ids() & set(among)
    return {identity for identity, note in _read_all(repository, buried, []).items() if note.is_of_lost}


def recall(repository: Repository, restore_point: bytes) -> None:
    """Take a restore point out of the trash; one that is not in it stays as it is. Raises NotFound when its manifest
    is gone: then it is too late, and the tombstone stays."""
    name = layout.manifest(restore_point)
    repository.storage.stat(name)
    try:
        tombstone = read_tombstone(repository, restore_point)
    except NotFound:
        return
    repository.storage.delete(layout.tombstone(restore_point))
    try:
        repository.storage.stat(name)
    except NotFound:  # somebody emptied the trash at this moment
        write(repository, tombstone)
        raise


def read_tombstone(repository: Repository, restore_point: bytes) -> Tombstone:
    """Raises NotFound, Corrupt, WrongKey."""
    name = layout.tombstone(restore_point)
    try:
        raw = msgpack.unpackb(box.open_box(repository.keyring, box.TOMBSTONE, repository.storage.get(name), name))
        found = Tombstone(
            raw["manifest"],
            raw["configId"],
            raw["sequence"],
            raw["hash"],
            raw["reason"],
            from_micros(raw["removedAt"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise Corrupt(f"{name} is not readable.", name=name) from error
    if found.manifest != restore_point:
        raise Corrupt(f"{name} belongs to another restore point.", name=name)
    return found


def tombstones(repository: Repository, *, damage: list[RepositoryError]) -> dict[bytes, Tombstone]:
    """All tombstones by restore point. Those that do not open are added to `damage`. Raises StorageError."""
    return _read_all(repository, repository.removed_ids(), damage)


def trash(repository: Repository, *, damage: list[RepositoryError]) -> list[Tombstone]:
    """The tombstones of those restore points whose manifest is still there, oldest first."""
    waiting = repository.removed_ids() & set(repository.manifest_ids())
    return sorted(_read_all(repository, waiting, damage).values(), key=lambda found: found.removed_at)


def empty_trash(repository: Repository, only: Collection[bytes], *, delay: timedelta, now: datetime) -> list[Tombstone]:
    """Delete the manifests of those restore points in `only` that have been in the trash for `delay`.

    A damaged tombstone, and one with a time to come, removes nothing. Raises StorageError."""
    gone = []
    for tombstone in trash(repository, damage=[]):
        if tombstone.manifest in only and tombstone.removed_at + delay <= now:
            try:
                read_tombstone(repository, tombstone.manifest)  # it may have been recalled meanwhile
                is_gone = _remove(repository, tombstone.manifest)
            except (NotFound, RepositoryError):
                continue
            if is_gone:
                gone.append(tombstone)
    return gone


def _remove(repository: Repository, restore_point: bytes) -> bool:
    """Delete a manifest; False when it was put back, since somebody recalled it at this moment."""
    name, storage = layout.manifest(restore_point), repository.storage
    try:
        data = storage.get(name)
    except NotFound:
        raise
    except StorageError as error:
        if error.transient:
            raise
        data = b""  # a rotten disk: there is nothing to put back
    storage.delete(name)
    try:
        storage.stat(layout.tombstone(restore_point))
    except NotFound:
        if data:
            with suppress(AlreadyExists):
                reserve.spend(storage, lambda: storage.put(name, data))
            return False
    return True


def _read_all(
    repository: Repository, restore_points: Collection[bytes], damage: list[RepositoryError]
) -> dict[bytes, Tombstone]:
    found = {}
    for identity in restore_points:
        try:
            found[identity] = read_tombstone(repository, identity)
        except NotFound:
            continue  # recalled meanwhile
        except (Corrupt, WrongKey) as error:
            damage.append(error)
    return found


def write(repository: Repository, tombstone: Tombstone, *, create: bool = False) -> None:
    """Store a tombstone as it is, over what is there. Raises StorageError, AlreadyExists with `create`."""
    plain = msgpack.packb(
        {
            "manifest": tombstone.manifest,
            "configId": tombstone.config_id,
            "sequence": tombstone.sequence,
            "hash": tombstone.hash,
            "reason": tombstone.reason,
            "removedAt": to_micros(tombstone.removed_at),
        }
    )
    sealed = box.seal_box(repository.keyring, box.TOMBSTONE, plain, repository.suite)
    name = layout.tombstone(tombstone.manifest)
    reserve.spend(repository.storage, lambda: repository.storage.put(name, sealed, create=create))

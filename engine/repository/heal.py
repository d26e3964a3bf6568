"""Gives a destination the restore points that it missed, from one that has them: the same packs, byte for byte."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from engine import crypto
from engine.errors import Corrupt, NotFound, RepositoryError
from engine.ids import new_id
from engine.model.manifest import Manifest
from engine.progress import Progress
from engine.repository import layout
from engine.repository.copy import Copy
from engine.repository.index import Pack
from engine.repository.pack import info_of
from engine.repository.reader import BlobReader, open_reader
from engine.repository.references import blobs_of
from engine.repository.repository import Head, Repository
from engine.repository.session import Session

Clock = Callable[[], datetime]


@dataclass
class CaughtUp:
    """What was copied: restore points, packs, and bytes of packs."""

    points: int = 0
    packs: int = 0
    bytes: int = 0


def missed_points(source: Repository, target: Repository, config_id: str | None) -> list[Manifest]:
    """Restore points of a configuration, or of all, that only `source` has and that were not removed at `target`,
    in the order of their numbers. Raises Corrupt, StorageError."""
    lacking = set(source.manifest_ids()) - set(target.manifest_ids())
    if not lacking:
        return []
    lacking -= target.removed_ids()
    found = []
    for identity in lacking:
        try:
            manifest = source.read_manifest(identity).manifest
        except (RepositoryError, NotFound):
            continue  # one damaged restore point must not keep the others from being copied; verify reports it
        if config_id in (None, manifest.config_id):
            found.append(manifest)
    return sorted(found, key=lambda manifest: (manifest.config_id, manifest.sequence))


def sync(source: Repository, name: str, target: Repository, *, clock: Clock, progress: Progress) -> CaughtUp:
    """Give the destination `name` all restore points that it missed and `source` has.

    Raises Corrupt when the source's copy is damaged, Fenced, StorageError; what was copied until then stays."""
    copy = Copy(name, target, Session(target, new_id(), "", clock))
    copy.prepare()
    try:
        if copy.error:
            raise copy.error
        result = catch_up(source, copy, None, progress=progress)
    finally:
        copy.finish()
        copy.session.end()
    if copy.error:
        raise copy.error
    return result


def catch_up(source: Repository, target: Copy, config_id: str | None, *, progress: Progress) -> CaughtUp:
    """Copy what `target` missed of one configuration, or of all. `target` was prepared: its session is on, its index
    loaded. Raises Corrupt when the source's copy is damaged, Fenced, StorageError."""
    result = CaughtUp()
    missed = missed_points(source, target.repository, config_id)
    if not missed:
        return result
    progress.phase(f"bring {target.name} up to date")
    reader, seen = open_reader(source), set[bytes]()
    for manifest in missed:
        for pack in _packs_lacking(reader, manifest, target, seen):
            data = source.storage.get(layout.pack(pack.name))
            if crypto.sha256(data) != pack.name:
                raise Corrupt(f"{layout.pack(pack.name)} is damaged.", name=layout.pack(pack.name))
            target.put_copy(info_of(source.keyring, pack.name, data), data)
            result.packs += 1
            result.bytes += len(data)
            progress.advance(stored=len(data))
            progress.checkpoint()
        target.write_index()
        _commit(source, target.repository, manifest)
        target.session.check_fence()
        result.points += 1
    for _, series in itertools.groupby(missed, key=lambda manifest: manifest.config_id):
        arrived = list(series)
        _update_head(target.repository, arrived[-1], {manifest.sequence for manifest in arrived}, source)
    return result


def _packs_lacking(reader: BlobReader, manifest: Manifest, target: Copy, seen: set[bytes]) -> list[Pack]:
    """Packs of the source that hold what the target lacks of a restore point, in the order in which they are needed."""
    packs: dict[bytes, Pack] = {}
    for id in blobs_of(reader, manifest, seen):
        if id not in target.table:
            location = reader.table.find(id)
            if location is None:
                raise Corrupt(f"A blob is missing from {reader.repository.describe()}.", name=f"blob {id.hex()}")
            packs[location.pack.name] = location.pack
    return list(packs.values())


def _commit(source: Repository, target: Repository, manifest: Manifest) -> None:
    sealed = source.storage.get(layout.manifest(manifest.id))
    target.commit(manifest, sealed)


def _update_head(target: Repository, newest: Manifest, arrived: set[int], source: Repository) -> None:
    head = target.read_head(newest.config_id)
    if head is None or head.sequence < newest.sequence:
        gaps = head.missing if head else ()
        start = head.sequence + 1 if head else 1
        missing = [n for n in (*gaps, *range(start, newest.sequence)) if n not in arrived]
        stored = source.read_manifest(newest.id)
        target.write_head(Head(newest.config_id, newest.sequence, newest.id, stored.hash, tuple(missing)))
    else:
        target.write_head(replace(head, missing=tuple(n for n in head.missing if n not in arrived)))

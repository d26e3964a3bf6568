"""Gives a destination the restore points that it missed, from others that have them: the same packs, byte for byte, and
single blobs sealed anew where a pack is damaged."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path

from engine.errors import Corrupt, NotFound, RepositoryError, WrongKey
from engine.ids import new_id
from engine.model.manifest import Manifest
from engine.progress import Progress
from engine.repository import layout
from engine.repository.copy import Copy
from engine.repository.failover import FailoverReader, Spare
from engine.repository.filling import Filler
from engine.repository.reader import open_reader
from engine.repository.references import blobs_of
from engine.repository.repository import Head, Repository
from engine.repository.session import Session

Clock = Callable[[], datetime]
Source = tuple[str, Repository]


@dataclass
class CaughtUp:
    """What was copied: restore points, whole packs, single blobs, and `stored` bytes of both. `failed` are restore
    points that could not be copied, since something that they need is damaged wherever it is."""

    points: list[bytes] = field(default_factory=list)
    packs: int = 0
    blobs: int = 0
    stored: int = 0
    failed: dict[bytes, Corrupt] = field(default_factory=dict)


@dataclass(frozen=True)
class Missed:
    """A restore point that a destination lacks, and a repository that has its manifest."""

    manifest: Manifest
    source: Repository


def missed_points(
    sources: Sequence[Source], target: Repository, config_ids: Collection[str] | None
) -> Iterator[Missed]:
    """Restore points of these configurations, or of all, that only `sources` have, in the order of their numbers. What
    was removed at the target, or is in the trash where it lies, is not among them. Raises StorageError."""
    known = set(target.manifest_ids()) | target.removed_ids()
    found: dict[bytes, Missed] = {}
    for _, source in sources:
        lacking = set(source.manifest_ids()) - known - found.keys()
        if not lacking:
            continue
        fenced = source.fenced_sessions()
        for identity in lacking - source.removed_ids():
            try:
                manifest = source.read_manifest(identity).manifest
            except (RepositoryError, NotFound):
                continue  # one damaged restore point must not keep the others from being copied; verify reports it
            if (config_ids is None or manifest.config_id in config_ids) and manifest.session not in fenced:
                found[identity] = Missed(manifest, source)
    yield from sorted(found.values(), key=lambda missed: (missed.manifest.config_id, missed.manifest.sequence))


def sync(
    sources: Sequence[Source],
    name: str,
    target: Repository,
    *,
    config_ids: Collection[str] | None = None,
    clock: Clock,
    progress: Progress,
    spool: Path,
) -> CaughtUp:
    """Give the destination `name` the restore points that it missed. `spool` is an existing private folder.

    Raises Fenced, StorageError; what was copied until then stays."""
    with at_work(name, target, clock=clock) as copy:
        return catch_up(sources, copy, config_ids, progress=progress, spool=spool)


@contextmanager
def at_work(name: str, target: Repository, *, clock: Clock, distrusted: Collection[bytes] = ()) -> Iterator[Copy]:
    """A writer at one destination, for the time of the block: its session is on and its index loaded, without the packs
    in `distrusted`. Raises what went wrong with it."""
    copy = Copy(name, target, Session(target, new_id(), "", clock), distrusted=distrusted)
    copy.prepare()
    try:
        if copy.error:
            raise copy.error
        yield copy
        copy.finish()
        if copy.error:
            raise copy.error
        copy.session.check_fence()
    finally:
        copy.finish()
        copy.session.end()


def catch_up(
    sources: Sequence[Source],
    target: Copy,
    config_ids: Collection[str] | None,
    *,
    progress: Progress,
    spool: Path,
) -> CaughtUp:
    """Copy what `target` missed of these configurations, or of all. `target` was prepared: its session is on, its index
    loaded. Raises Fenced, StorageError."""
    missed = list(missed_points(sources, target.repository, config_ids))
    if not missed:
        return CaughtUp()
    progress.phase(f"bring {target.name} up to date")
    reader = open_sources(sources)
    return bring(missed, target, reader, Filler(target, reader, spool=spool, progress=progress))


def open_sources(sources: Sequence[Source]) -> FailoverReader:
    """A reader of whatever one of the sources has. Raises the first one's error when none can be read."""
    places = [Spare(name, partial(open_reader, repository)) for name, repository in sources]
    for number, place in enumerate(places):
        try:
            return FailoverReader(place, [each for each in places if each is not place], lambda text: None)
        except (RepositoryError, NotFound) as error:
            place.failure = error
            if number == len(places) - 1:
                raise
    raise ValueError("there is no source")


def bring(missed: Sequence[Missed], target: Copy, reader: FailoverReader, filler: Filler) -> CaughtUp:
    """Copy these restore points, each committed as soon as everything that it needs is confirmed and indexed."""
    result = CaughtUp()
    seen: set[bytes] = set()
    try:
        for each in missed:
            try:
                filler.fill(blobs_of(reader, each.manifest, seen))
            except Corrupt as error:
                result.failed[each.manifest.id] = error
                seen = set()  # of directories that were met only in part nothing is known
                continue
            filler.flush()
            target.repository.commit(each.manifest, each.source.storage.get(layout.manifest(each.manifest.id)))
            target.session.check_fence()
            _update_head(target.repository, each)
            result.points.append(each.manifest.id)
    finally:
        filler.abandon()
    result.packs, result.blobs, result.stored = filler.packs, filler.blobs, filler.stored
    return result


def _update_head(target: Repository, arrived: Missed) -> None:
    manifest = arrived.manifest
    try:
        head = target.read_head(manifest.config_id)
    except Corrupt:
        rebuild_heads(target, {})
        return
    if head is not None and head.sequence >= manifest.sequence:
        target.write_head(replace(head, missing=tuple(n for n in head.missing if n != manifest.sequence)))
        return
    gaps = head.missing if head else ()
    start = head.sequence + 1 if head else 1
    missing = (*gaps, *range(start, manifest.sequence))
    stored = arrived.source.read_manifest(manifest.id)
    target.write_head(Head(manifest.config_id, manifest.sequence, manifest.id, stored.hash, missing))


def rebuild_heads(target: Repository, missing: Mapping[str, Collection[int]]) -> list[str]:
    """Write the heads anew that are lost or damaged here, from the restore points that are here; `missing` are numbers
    that this destination is known never to have got. Returns the configurations' ids. Raises StorageError."""
    newest: dict[str, Head] = {}
    fenced = target.fenced_sessions()
    for identity in target.manifest_ids():
        try:
            stored = target.read_manifest(identity)
        except (RepositoryError, NotFound):
            continue
        manifest = stored.manifest
        known = newest.get(manifest.config_id)
        if manifest.session not in fenced and (known is None or known.sequence < manifest.sequence):
            gaps = tuple(sorted(n for n in missing.get(manifest.config_id, ()) if n < manifest.sequence))
            newest[manifest.config_id] = Head(manifest.config_id, manifest.sequence, identity, stored.hash, gaps)
    rebuilt = []
    for config_id, head in newest.items():
        try:
            lost = target.read_head(config_id) is None
        except WrongKey:
            lost = False  # perhaps of keys that are newer than ours
        except Corrupt:
            lost = True
        if lost:
            target.write_head(head)
            rebuilt.append(config_id)
    return rebuilt

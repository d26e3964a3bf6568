"""Backing up: sources → one restore point at one or several destinations, complete or not at all."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from engine import crypto
from engine.brakes import refuse_overlaps, refuse_sudden_emptiness
from engine.entries import Counts
from engine.errors import (
    Cancelled,
    Corrupt,
    EngineError,
    NotFound,
    RepositoryError,
    SourceError,
    StorageError,
    Unavailable,
)
from engine.folder import FolderWriter
from engine.ids import new_id
from engine.model.manifest import FilesRoot, Manifest, StreamRoot
from engine.progress import Progress
from engine.repository.base_cache import ROOM_BYTES, BaseCache
from engine.repository.bases import Bases, EarlierVersion
from engine.repository.compaction import compact
from engine.repository.copy import Copy
from engine.repository.heal import catch_up
from engine.repository.reader import BlobReader
from engine.repository.repository import Head, Repository
from engine.repository.session import Session
from engine.repository.writer import Writer
from engine.sources.base import StreamEntry, StreamSource
from engine.sources.files import FilesSource
from engine.spool import scratch_folder
from engine.watch import Watch

# Each run leaves an index object or two, and every run reads them all.
_MANY_INDEX_OBJECTS = 100
Clock = Callable[[], datetime]


@dataclass(frozen=True)
class Request:
    """What to back up under which name. `parent` is the restore point whose unchanged files are taken over;
    `known` is the newest restore point of the configuration that the caller remembers, `known_ids` are all restore
    points that it has on record: only others are looked at to find what an interrupted run may have committed.
    `held` are, for each destination, the numbers of this configuration that it ever confirmed to have.
    `distrusted` names, for each destination, packs that a check found damaged: what they hold is stored again.
    `process` names the process that does it, so that others can tell when it is gone."""

    config_id: str
    config: dict[str, Any]
    type: str
    streams: Sequence[StreamSource]
    folders: Sequence[FilesSource]
    suite: int
    codec: int
    tags: dict[str, str]
    program: str
    host: str
    parent: bytes | None = None
    known: Head | None = None
    known_ids: Collection[bytes] = ()
    held: Mapping[str, Collection[int]] = field(default_factory=dict)
    distrusted: Mapping[str, Collection[bytes]] = field(default_factory=dict)
    min_copies: int = 1
    process: str = ""


@dataclass(frozen=True)
class Result:
    """A committed restore point. `copies` has the error of each destination that missed it, None for the others;
    `hash` is the SHA-256 of the stored manifest; `stored_bytes` counts new sealed blobs."""

    manifest: Manifest
    hash: bytes
    copies: dict[str, EngineError | None]
    stored_bytes: int

    @property
    def is_complete(self) -> bool:
        """No problem was met and no destination missed it."""
        return not self.manifest.problems and not any(self.copies.values())


def backup(
    destinations: Sequence[tuple[str, Repository]],
    request: Request,
    *,
    clock: Clock,
    progress: Progress,
    spool: Path,
    cache: Path | None = None,
    cache_bytes: int = ROOM_BYTES,
) -> Result:
    """Make one restore point. Returns only when at least `min_copies` destinations have committed it. `cache` is a
    folder for what differences lean on and no destination on this machine has, of at most `cache_bytes`.

    Raises SourceError, StorageError, RepositoryError, Cancelled; then no restore point counts."""
    started_at = clock()
    watch = Watch(progress)
    session = new_id()
    copies = [
        Copy(
            name,
            repository,
            Session(repository, session, request.config_id, clock, process=request.process),
            distrusted=request.distrusted.get(name, ()),
        )
        for name, repository in destinations
    ]
    with scratch_folder(spool) as scratch, ExitStack() as cleanup:
        for copy in copies:
            cleanup.callback(copy.session.end)
            cleanup.callback(copy.finish)
            copy.prepare()
        bases = Bases(copies, request.suite, BaseCache(cache, started_at, room=cache_bytes) if cache else None)
        writer = Writer(
            copies,
            copies[0].repository.keyring,
            suite=request.suite,
            codec=request.codec,
            bases=bases,
            spool=scratch,
            progress=watch,
        )
        try:
            writer.check()
            _catch_up(copies, request, watch, scratch)
            parent = _parent(copies, request)
            roots, counts = _store(writer, request, parent, _last(copies, request), watch)
            watch.phase("finish")
            writer.finish()
        except BaseException:
            writer.abort()
            raise
        watch.checkpoint()
        head = _newest(copies, request)
        totals = _totals(counts, writer, watch, roots) | {"bytesFetched": bases.fetched_bytes}
        manifest = _describe(request, watch, session, head, (started_at, clock()), roots, totals, parent)
        result = _commit(copies, manifest, request, writer.stored_bytes)
        _compact(copies)
        return result


def _describe(
    request: Request,
    watch: Watch,
    session: bytes,
    head: Head | None,
    times: tuple[datetime, datetime],
    roots: Sequence[FilesRoot | StreamRoot],
    totals: dict[str, int],
    parent: tuple[Manifest, BlobReader] | None,
) -> Manifest:
    """The manifest of the run, numbered behind `head`."""
    return Manifest(
        id=new_id(),
        session=session,
        config_id=request.config_id,
        config=request.config,
        sequence=head.sequence + 1 if head else 1,
        previous=head.hash if head else None,
        started_at=times[0],
        finished_at=times[1],
        type=request.type,
        suite=request.suite,
        parent=parent[0].id if parent else None,
        roots=tuple(roots),
        totals=totals,
        problems=tuple(watch.problems),
        tags=request.tags,
        program=request.program,
        host=request.host,
    )


def _catch_up(copies: Sequence[Copy], request: Request, watch: Watch, spool: Path) -> None:
    """Give each destination the restore points that it missed. What fails now is tried again by the next run."""
    for copy in copies:
        others = [(other.name, other.repository) for other in copies if other is not copy and other.is_alive]
        if not others or not copy.is_alive:
            continue
        try:
            failed = catch_up(others, copy, (request.config_id,), progress=watch, spool=spool).failed
        except Cancelled:
            raise
        except EngineError as error:
            watch.problem("destination", copy.name, f"still lacks earlier restore points: {error.message}")
        else:
            for damage in list(failed.values())[:1]:
                watch.problem("destination", copy.name, f"still lacks earlier restore points: {damage.message}")


def _last(copies: Sequence[Copy], request: Request) -> tuple[Manifest, BlobReader] | None:
    """The newest restore point of the configuration, whatever its type: what is gone since then may be unmounted, and
    what has changed since then is stored as differences to it. With a reader of what may be leant on."""
    newest = _newest(copies, request)
    for copy in sorted(copies, key=lambda copy: copy.repository.storage.requests_at_once):  # the nearest first
        if copy.is_alive and newest:
            with suppress(RepositoryError, StorageError):
                manifest = copy.repository.read_manifest(newest.manifest).manifest
                return manifest, BlobReader(copy.repository, copy.table)
    return None


def _store(
    writer: Writer,
    request: Request,
    parent: tuple[Manifest, BlobReader] | None,
    last: tuple[Manifest, BlobReader] | None,
    watch: Watch,
) -> tuple[list[FilesRoot | StreamRoot], Counts]:
    """All sources. Every snapshot is taken before anything is read; dumps come first, so that they are held briefly.

    `last` is the newest restore point of the configuration, against which sudden emptiness is judged, and to which
    differences are made."""
    refuse_overlaps(request.folders)
    newest = last[0] if last else None
    roots: list[FilesRoot | StreamRoot] = []
    folders = FolderWriter(
        writer,
        watch,
        reader=parent[1] if parent else None,
        newest=last[1] if last else None,
        sequence=newest.sequence + 1 if newest else 1,
    )
    with ExitStack() as snapshots:
        for source in request.streams:
            snapshots.enter_context(source)
        for folder in request.folders:
            folder.probe()
        for source in request.streams:
            for entry in source.entries(watch):
                if any(root.name == entry.name for root in roots if isinstance(root, StreamRoot)):
                    raise SourceError(
                        f"Two databases of this backup are called {entry.name}.",
                        hint="Name each database once, and back up databases of one name by two configurations.",
                    )
                root = _store_stream(writer, entry, _earlier(last, entry), watch)
                refuse_sudden_emptiness(root, newest)
                roots.append(root)
    before = _folders_of(parent[0] if parent else None)
    latest = before if parent and newest and parent[0].id == newest.id else _folders_of(newest)
    for folder in request.folders:
        earlier = before.get(folder.root)
        watch.phase(folder.describe(), expected=earlier.bytes if earlier else 0)
        roots.append(folders.store(folder, earlier, newest=latest.get(folder.root)))
    if request.folders and not request.streams and not folders.counts.total:
        raise SourceError(
            "There is nothing to back up: every folder of this backup is empty.", hint="Are their disks mounted?"
        )
    return roots, folders.counts


def _folders_of(manifest: Manifest | None) -> dict[bytes, FilesRoot]:
    return {root.path: root for root in manifest.roots if isinstance(root, FilesRoot)} if manifest else {}


def _earlier(last: tuple[Manifest, BlobReader] | None, entry: StreamEntry) -> EarlierVersion | None:
    """The same stream as it was in the newest restore point."""
    if last is not None:
        manifest, reader = last
        for root in manifest.roots:
            if isinstance(root, StreamRoot) and (root.kind, root.name) == (entry.kind, entry.name):
                number = root.facts.get("generation", 1) + 1
                return EarlierVersion(reader.chunks(root.content), number=number)
    return None


def _store_stream(writer: Writer, entry: StreamEntry, earlier: EarlierVersion | None, watch: Watch) -> StreamRoot:
    watch.phase(entry.name, expected=entry.expected)
    with entry.open() as reader:
        pending, size = writer.add_stream(reader, earlier=earlier)
    if not size:
        raise SourceError(f"The dump of {entry.name} is empty.")
    watch.advance(items=1)
    facts = entry.facts() | {"generation": earlier.number if earlier else 1}
    return StreamRoot(entry.kind, entry.name, size, writer.settle(pending), facts)


def _parent(copies: Sequence[Copy], request: Request) -> tuple[Manifest, BlobReader] | None:
    """The parent's manifest with a reader, from the first destination that can show it; none makes every file new.

    A parent of the other kind, encrypted or not, is none: what shall be encrypted must not lean on plain blobs."""
    if request.parent is None:
        return None
    for copy in copies:
        if copy.is_alive:
            try:
                stored = copy.repository.read_manifest(request.parent)
            except EngineError:
                continue
            if (stored.manifest.suite == crypto.NONE) != (request.suite == crypto.NONE):
                return None
            return stored.manifest, BlobReader(copy.repository, copy.table)
    return None


def _newest(copies: Sequence[Copy], request: Request) -> Head | None:
    """The restore point after which the new one comes: the highest number that anybody remembers."""
    heads = [request.known]
    for copy in copies:
        if copy.is_alive:
            try:
                heads.append(_head_of(copy, request.config_id))
                heads.extend(_unrecorded(copy.repository, request))
            except EngineError as error:
                copy.fail(error)
    return max((head for head in heads if head), key=lambda head: head.sequence, default=None)


def _head_of(copy: Copy, config_id: str) -> Head | None:
    """The head at a destination. A damaged one is as good as none: the manifests tell the same; verify reports it."""
    try:
        return copy.repository.read_head(config_id)
    except Corrupt:
        return None


def _unrecorded(repository: Repository, request: Request) -> Iterator[Head]:
    """Restore points of this configuration that were committed, but whose run died before it could record them."""
    for identity in repository.manifest_ids():
        if identity in request.known_ids:
            continue
        try:
            stored = repository.read_manifest(identity)
        except (RepositoryError, NotFound):
            continue  # a damaged or vanished manifest must not stop backups; verify reports it
        if stored.manifest.config_id == request.config_id:
            yield Head(request.config_id, stored.manifest.sequence, identity, stored.hash)


def _commit(copies: Sequence[Copy], manifest: Manifest, request: Request, stored_bytes: int) -> Result:
    sealed = copies[0].repository.seal_manifest(manifest)
    fingerprint = crypto.sha256(sealed)
    for copy in copies:
        if copy.is_alive:
            try:
                copy.repository.commit(manifest, sealed)
                copy.session.check_fence()
                missing = _missing(copy, manifest, request)
                head = Head(request.config_id, manifest.sequence, manifest.id, fingerprint, missing)
                copy.repository.write_head(head)
            except EngineError as error:
                copy.fail(error)
    committed = [copy for copy in copies if copy.is_alive]
    errors = [copy.error for copy in copies if copy.error]
    if not committed:
        raise errors[0]
    if len(committed) < request.min_copies:
        raise Unavailable(
            f"Only {len(committed)} of the {request.min_copies} copies that this backup needs were made: {errors[0]}",
            hint="Mend the destination and run the backup again.",
        )
    return Result(manifest, fingerprint, {copy.name: copy.error for copy in copies}, stored_bytes)


def _compact(copies: Sequence[Copy]) -> None:
    """Now and then, merge the small index objects that runs leave. What fails here is tried again by the next run."""
    for copy in copies:
        if copy.is_alive:
            with suppress(EngineError):
                compact(copy.repository, at_least=_MANY_INDEX_OBJECTS)


def _missing(copy: Copy, manifest: Manifest, request: Request) -> tuple[int, ...]:
    """The numbers that this destination never got. One that it confirmed once is not among them: should it be gone
    (an older state of the destination was put back), its new head must not explain that away."""
    head = _head_of(copy, manifest.config_id)
    newer = range(head.sequence + 1 if head else 1, manifest.sequence)
    held = request.held.get(copy.name, ())
    return tuple(number for number in (*(head.missing if head else ()), *newer) if number not in held)


def _totals(counts: Counts, writer: Writer, watch: Watch, roots: Sequence[FilesRoot | StreamRoot]) -> dict[str, int]:
    return {
        "files": counts.total,
        "filesNew": counts.new,
        "filesChanged": counts.changed,
        "filesUnchanged": counts.unchanged,
        "unreadable": counts.unreadable,
        "bytes": sum(root.bytes if isinstance(root, FilesRoot) else root.size for root in roots),
        "bytesRead": watch.read,
        "bytesNew": writer.new_bytes,
        "bytesStored": writer.stored_bytes,
        "bytesDifferences": writer.difference_bytes,
        "problems": watch.problem_count,
    }

"""Stores one folder: follows the walk, takes over what is unchanged, and builds a tree per directory from below."""

from __future__ import annotations

import grp
import os
import pwd
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from engine.errors import EngineError, SourceError
from engine.model import content as contents
from engine.model import tree
from engine.model.manifest import FilesRoot
from engine.model.tree import Node
from engine.progress import Progress
from engine.repository import pack
from engine.repository.reader import BlobReader
from engine.repository.writer import SMALL_FILE_BYTES, Pending, PendingChunks, Writer
from engine.sources import files
from engine.sources.files import Enter, FilesSource, Found

_PART_MASK, _PART_NODES = 1023, 8192
# Entries whose content is still on its way; beyond this the walk waits, so that a huge tree needs little memory.
_WAITING_NODES = 20_000


@dataclass
class Counts:
    """What a run did with the files it met."""

    total: int = 0
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    unreadable: int = 0
    bytes: int = 0


@dataclass
class _Directory:
    """A directory whose entries are being collected. `before` holds its nodes in the parent restore point."""

    node: Node
    before: dict[bytes, Node]
    before_ids: bytes
    entries: list[tuple[Node, Pending | _Directory | None]] = field(default_factory=list)
    ids: bytes = b""


class FolderWriter:
    """Stores folders with one writer. `parent` is the restore point whose unchanged files are taken over, if any."""

    def __init__(self, writer: Writer, progress: Progress, *, reader: BlobReader | None) -> None:
        self._writer = writer
        self._progress = progress
        self._reader = reader
        self._stack: list[_Directory] = []
        self._waiting: deque[_Directory] = deque()
        self._waiting_nodes = 0
        self._linked: dict[tuple[int, int], Pending] = {}
        self._present_bundle = b""
        self.counts = Counts()
        self._uids: set[int] = set()
        self._gids: set[int] = set()

    def store(self, source: FilesSource, parent: FilesRoot | None) -> FilesRoot:
        """Everything below the folder. Raises SourceError when it cannot be read at all, or is suddenly empty."""
        before, self.counts = self.counts, Counts()
        root: _Directory | None = None
        for event in source.walk(self._progress):
            self._progress.checkpoint()
            if isinstance(event, Enter):
                directory = self._enter(event.node, parent)
                root = root or directory
            elif isinstance(event, Found):
                self._add(event)
            else:
                self._leave()
        self._writer.close_bundle()
        self._flush(0)
        assert root is not None
        counts, self.counts = self.counts, before
        _refuse_sudden_emptiness(source, counts, parent, self._progress)
        self._add_counts(counts)
        users, groups = _names(self._uids, self._gids)
        node = root.node._replace(content=root.ids)
        return FilesRoot(source.root, node, counts.total, counts.bytes, users, groups)

    def _add_counts(self, counts: Counts) -> None:
        for name, value in vars(counts).items():
            setattr(self.counts, name, getattr(self.counts, name) + value)

    def _enter(self, node: Node, parent: FilesRoot | None) -> _Directory:
        ids = b""
        if self._stack:
            old = self._stack[-1].before.get(node.name)
            if old is not None and old.kind == tree.DIRECTORY:
                ids = old.content or b""
        elif parent is not None:
            ids = parent.node.content or b""
        self._own(node)
        directory = _Directory(node, self._nodes_before(ids), ids)
        if self._stack:
            self._stack[-1].entries.append((node, directory))
        self._stack.append(directory)
        return directory

    def _nodes_before(self, ids: bytes) -> dict[bytes, Node]:
        """The directory as it was; nothing when its record cannot be read, which makes its files new."""
        if not ids or self._reader is None:
            return {}
        try:
            return {node.name: node for node in self._reader.nodes(ids)}
        except EngineError:
            return {}

    def _add(self, found: Found) -> None:
        node, directory = found.node, self._stack[-1]
        self._own(node)
        if node.kind != tree.FILE:
            directory.entries.append((node, None))
        else:
            self._add_file(found, directory)
        self._waiting_nodes += 1

    def _add_file(self, found: Found, directory: _Directory) -> None:
        node, before = found.node, directory.before.get(found.node.name)
        if before is not None and _same_file(before, node) and self._is_stored(before):
            directory.entries.append((node._replace(content=before.content), None))
            self._count(node, "unchanged")
            return
        pending = self._linked.get(found.device_links) if found.device_links else None
        if pending is None:
            try:
                node, pending = self._read(found)
            except OSError as error:
                self.counts.unreadable += 1
                self._progress.problem("file", os.fsdecode(found.path), files.reason(error))
                return
            if found.device_links:
                self._linked[found.device_links] = pending
        directory.entries.append((node, pending))
        self._count(node, "new" if before is None else "changed")

    def _count(self, node: Node, what: str) -> None:
        self.counts.total += 1
        self.counts.bytes += node.size
        setattr(self.counts, what, getattr(self.counts, what) + 1)
        self._progress.advance(items=1)

    def _read(self, found: Found) -> tuple[Node, Pending]:
        """Hand the file's bytes to the writer. A file that changed meanwhile is stored as it was read, and reported."""
        with open(files.open_file(found), "rb", buffering=0) as file:
            before = os.fstat(file.fileno())
            if before.st_size <= SMALL_FILE_BYTES:
                data = os.read(file.fileno(), before.st_size + 1)
                length = len(data)
                pending: Pending = self._writer.add_small(data)
                self._progress.advance(read=length)
            else:
                pending, length = self._writer.add_stream(file)
            after = os.fstat(file.fileno())
        if length != before.st_size or _stamp(before) != _stamp(after) or before.st_ino != found.node.inode:
            self._progress.problem("file", os.fsdecode(found.path), "changed while it was read")
        return found.node._replace(size=length), pending

    def _is_stored(self, node: Node) -> bool:
        """Whether every blob of a file that could be taken over is still at every destination."""
        content = node.content
        if content is None:
            return node.size == 0
        if content[0] == contents.BUNDLE:
            if content[1] != self._present_bundle:
                if not self._writer.has(content[1]):
                    return False
                self._present_bundle = content[1]
            return True
        assert self._reader is not None
        if content[0] == contents.LISTS and not all(map(self._writer.has, contents.split_ids(content[1]))):
            return False
        return all(self._writer.has(chunk.id) for chunk in self._reader.chunks(content))

    def _leave(self) -> None:
        self._waiting.append(self._stack.pop())
        self._flush(_WAITING_NODES)

    def _flush(self, limit: int) -> None:
        """Write the trees of finished directories, oldest first, until at most `limit` entries wait."""
        if self._waiting_nodes > limit:
            self._writer.close_bundle()
        while self._waiting and (self._waiting_nodes > limit or not limit):
            directory = self._waiting.popleft()
            self._waiting_nodes -= sum(1 for _, what in directory.entries if not isinstance(what, _Directory))
            directory.ids = self._write_tree(directory)
            directory.entries, directory.before = [], {}

    def _write_tree(self, directory: _Directory) -> bytes:
        nodes = list(self._finished(directory))
        ids = contents.split_ids(directory.before_ids)
        same = len(nodes) == len(directory.before) and all(directory.before.get(n.name) == n for n in nodes)
        if ids and same and all(map(self._writer.has, ids)):
            return directory.before_ids
        return b"".join(self._writer.add_blob(pack.TREE, tree.encode(part)) for part in _parts(nodes))

    def _finished(self, directory: _Directory) -> Iterator[Node]:
        for node, what in directory.entries:
            if what is None:
                yield node
            elif isinstance(what, _Directory):
                yield node._replace(content=what.ids)
            elif isinstance(what, PendingChunks):
                if not what.is_ready or what.content is None:
                    what.settle(self._writer.settle(what))
                yield node._replace(content=what.content)
            else:
                self._writer.wait(what)
                yield node._replace(content=what.content)

    def _own(self, node: Node) -> None:
        self._uids.add(node.uid)
        self._gids.add(node.gid)


def _parts(nodes: list[Node]) -> Iterator[list[Node]]:
    part: list[Node] = []
    for node in nodes:
        part.append(node)
        if not zlib.crc32(node.name) & _PART_MASK or len(part) >= _PART_NODES:
            yield part
            part = []
    if part:
        yield part


def _same_file(before: Node, now: Node) -> bool:
    return (
        before.size == now.size
        and before.mtime == now.mtime
        and before.ctime == now.ctime
        and before.inode == now.inode
        and before.kind == now.kind
    )


def _stamp(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def _names(uids: set[int], gids: set[int]) -> tuple[dict[int, str], dict[int, str]]:
    users, groups = {}, {}
    for uid in uids:
        with suppress(KeyError):
            users[uid] = pwd.getpwuid(uid).pw_name
    for gid in gids:
        with suppress(KeyError):
            groups[gid] = grp.getgrgid(gid).gr_name
    return users, groups


def _refuse_sudden_emptiness(source: FilesSource, counts: Counts, parent: FilesRoot | None, progress: Progress) -> None:
    """A folder that held files before and holds none now is more likely unmounted than emptied on purpose."""
    if counts.total:
        return
    if parent is not None and parent.files:
        raise SourceError(
            f"The folder {source.describe()} is suddenly empty; it held {parent.files} files before.",
            hint="Is its disk mounted? If it is meant to be empty, remove it from the configuration.",
        )
    progress.problem("folder", source.describe(), "is empty")

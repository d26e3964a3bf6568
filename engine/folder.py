"""Stores one folder: follows the walk, takes over what is unchanged, and builds a tree per directory from below."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from functools import partial
from typing import Any

from engine import metadata
from engine.entries import (
    Bundles,
    Counts,
    Directory,
    Earlier,
    Entry,
    Inodes,
    Links,
    Unread,
    is_as_before,
    names,
    parts,
    same_file,
    stamp,
    taken_over,
    what_happened,
)
from engine.errors import SourceError
from engine.model import content as contents
from engine.model import tree
from engine.model.manifest import FilesRoot
from engine.model.tree import Node
from engine.progress import Progress
from engine.repository import pack
from engine.repository.bases import EarlierVersion
from engine.repository.reader import BlobReader
from engine.repository.writer import SMALL_FILE_BYTES, Pending, PendingChunks, Writer
from engine.sources import files
from engine.sources.files import Enter, FilesSource, Found

# Entries whose content is still on its way; beyond this the walk waits, so that a huge tree needs little memory.
_WAITING_NODES = 20_000
# Files of one directory that are opened before the first is read, so that a cold disk can fetch them in its own order:
# 6,000 cold files took 0.12 s instead of 0.95.
_AHEAD_FILES = 256
_REPORT_FILES = 200
# Entries of one directory that are kept before the first part of its tree is written.
_LARGE_DIRECTORY = 16_384
_CONTENT_FIELD = Node._fields.index("content")


class FolderWriter:
    """Stores folders with one writer. `reader` reads the restore point whose unchanged files are taken over, if any;
    `newest` the one to which changed files are stored as differences. `sequence` is the number of the new one."""

    def __init__(
        self,
        writer: Writer,
        progress: Progress,
        *,
        reader: BlobReader | None,
        newest: BlobReader | None,
        sequence: int,
    ) -> None:
        self._writer = writer
        self._progress = progress
        self._reader = reader
        self._newest = newest
        self._sequence = sequence
        self._stack: list[Directory] = []
        self._waiting: deque[Directory] = deque()
        self._waiting_nodes = 0
        self._unread: list[Unread] = []
        self._unreported = self._unreported_bytes = 0
        self._links = Links()
        self._inodes = Inodes(SMALL_FILE_BYTES)
        self._present_bundle = b""
        self._bundles = Bundles(b"")
        self.counts = Counts()
        self._uids: set[int] = set()
        self._gids: set[int] = set()

    def store(self, source: FilesSource, parent: FilesRoot | None, *, newest: FilesRoot | None = None) -> FilesRoot:
        """Everything below the folder, which was `newest` the last time, whatever the type of that restore point.

        Raises SourceError when it cannot be read at all, or is suddenly empty."""
        before, self.counts = self.counts, Counts()
        self._bundles, self._present_bundle = Bundles(parent.sparse if parent else b""), b""
        root: Directory | None = None
        try:
            for event in source.walk(self._progress, known=self._take_over if self._reader else None):
                self._progress.checkpoint()
                if isinstance(event, Found):
                    self._add(event)
                    continue
                self._read_ahead()
                if isinstance(event, Enter):
                    directory = self._enter(event.node, parent, newest)
                    root = root or directory
                else:
                    self._leave()
        finally:
            for unread in self._unread:
                os.close(unread.descriptor)
        self._report()
        self._writer.close_bundle()
        self._flush(0)
        assert root is not None
        counts, self.counts = self.counts, before
        _refuse_sudden_emptiness(source, counts, newest.files if newest else 0, self._progress)
        self._add_counts(counts)
        users, groups = names(self._uids, self._gids)
        node = root.node._replace(content=b"".join(root.ids))
        sparse = self._bundles.sparse(self._reader.table) if self._reader else b""
        return FilesRoot(source.root, node, counts.total, counts.bytes, users, groups, sparse)

    def _add_counts(self, counts: Counts) -> None:
        for name, value in vars(counts).items():
            setattr(self.counts, name, getattr(self.counts, name) + value)

    def _enter(self, node: Node, parent: FilesRoot | None, newest: FilesRoot | None) -> Directory:
        above = self._stack[-1] if self._stack else None
        before = above.earlier.match(node.name) if above else (parent.node if parent else None)
        if before is not None and before.kind != tree.DIRECTORY:
            before = None
        self._own(node)
        directory = Directory(node, before, Earlier(self._nodes(self._reader, before)), last=before)
        if parent is not newest:
            last = above.newest.match(node.name) if above and above.newest else (newest.node if newest else None)
            directory.newest, directory.last = Earlier(self._nodes(self._newest, last)), last
        if above:
            above.entries.append(Entry(node, directory, before))
        self._stack.append(directory)
        return directory

    def _nodes(self, reader: BlobReader | None, node: Node | None) -> Iterator[Node]:
        """What a directory held."""
        if reader is None or node is None or node.kind != tree.DIRECTORY or not node.content:
            return iter(())
        return reader.nodes(node.content)

    def _add(self, found: Found) -> None:
        node, directory = found.node, self._stack[-1]
        self._own(node)
        before = directory.earlier.match(node.name)
        if node.kind != tree.FILE:
            directory.entries.append(Entry(node, None, before))
        else:
            self._add_file(found, directory, before)
        self._added(directory)

    def _take_over(self, name: bytes, status: os.stat_result) -> bool:
        """Whether an entry is a file that is as it was, and that every destination has: it is taken over at once. For a
        million files of which few changed this is nearly all that there is to do."""
        directory = self._stack[-1]
        before = directory.earlier.peek(name)
        if before is None or not is_as_before(before, status) or not self._is_stored(before):
            return False
        self._progress.checkpoint()
        directory.earlier.advance()
        directory.entries.append(Entry(before, None, before))
        self._own(before)
        self._bundles.take(before)
        self._count(before, "unchanged")
        self._added(directory)
        return True

    def _added(self, directory: Directory) -> None:
        """There is one entry more; those of a very large directory do not wait for its end."""
        self._waiting_nodes += 1
        if len(directory.entries) >= _LARGE_DIRECTORY:
            self._read_ahead()
            self._writer.close_bundle()
            self._flush(0)
            self._write_parts(directory, is_end=False)

    def _add_file(self, found: Found, directory: Directory, before: Node | None) -> None:
        node = found.node
        newest = directory.newest.match(node.name) if directory.newest else before
        if before is not None and same_file(before, node) and self._is_stored(before):
            directory.entries.append(Entry(taken_over(node, before), None, before))
            self._bundles.take(before)
            self._count(node, "unchanged")
            return
        newest = self._as_it_was_called(directory, node, newest)
        try:
            unread = Unread(found, files.open_file(found), directory, len(directory.entries), before, newest)
        except OSError as error:
            self._lose(found, error)
            return
        directory.entries.append(None)
        self._unread.append(unread)
        if len(self._unread) >= _AHEAD_FILES:
            self._read_ahead()

    def _as_it_was_called(self, directory: Directory, node: Node, newest: Node | None) -> Node | None:
        """What a large file held the last time: a log that was rotated had another name in its directory then."""
        if node.size <= SMALL_FILE_BYTES or directory.last is None or (newest and newest.inode == node.inode):
            return newest
        return self._inodes.find(directory.last, partial(self._nodes, self._newest), node.inode) or newest

    def _read_ahead(self) -> None:
        """Read the files that are open: ask for all in the order of the disk, then take them in the order of names."""
        unread, self._unread = self._unread, []
        for item in sorted(unread, key=lambda item: item.found.node.inode):
            files.will_need(item.descriptor)
        for number, item in enumerate(unread):
            try:
                self._add_content(item, item.descriptor)
            except BaseException:
                self._unread = unread[number + 1 :]
                raise
            finally:
                os.close(item.descriptor)

    def _add_content(self, item: Unread, file: int) -> None:
        found, node = item.found, item.found.node
        group = node.group
        linked = None if group is None else self._links.find(group)
        if linked is not None:
            size, extras, pending = linked
            node = node._replace(size=size, extras=extras)
        else:
            try:
                node, pending = self._read(found, file, self._earlier(item.newest))
            except OSError as error:
                self._lose(found, error)
                return
            if group is not None:
                self._links.add(group, node, pending)
        item.directory.entries[item.place] = Entry(node, pending, item.before)
        self._count(node, what_happened(item.before, found.node))

    def _lose(self, found: Found, error: OSError) -> None:
        self.counts.unreadable += 1
        self._progress.problem("file", os.fsdecode(found.path), files.reason(error))

    def _count(self, node: Node, what: str) -> None:
        self.counts.total += 1
        self.counts.bytes += node.size
        setattr(self.counts, what, getattr(self.counts, what) + 1)
        self._unreported += 1
        if self._unreported >= _REPORT_FILES:
            self._report()

    def _report(self) -> None:
        self._progress.advance(items=self._unreported, read=self._unreported_bytes)
        self._unreported = self._unreported_bytes = 0

    def _earlier(self, node: Node | None) -> EarlierVersion | None:
        """What a file in chunks held in the newest restore point."""
        if self._newest is None or node is None or node.kind != tree.FILE:
            return None
        return EarlierVersion(self._newest.chunks(node.content), number=self._sequence)

    def _read(self, found: Found, file: int, earlier: EarlierVersion | None) -> tuple[Node, Pending]:
        """Hand the file's bytes to the writer. The usual small file, which is as the walk saw it, takes two calls."""
        node = found.node
        extras = self._extras(found, file)
        if node.size <= SMALL_FILE_BYTES:
            data = os.read(file, node.size + 1)
            after = os.fstat(file)
            if len(data) == node.size and stamp(after) == (node.size, node.mtime) and after.st_ino == node.inode:
                self._unreported_bytes += node.size
                return node if extras == node.extras else node._replace(extras=extras), self._writer.add_small(data)
            os.lseek(file, 0, os.SEEK_SET)
        return self._read_watched(found, file, extras or {}, earlier)

    def _extras(self, found: Found, file: int) -> dict[str, Any] | None:
        try:
            attributes = metadata.read_attributes(file)
        except OSError as error:
            reason = f"its attributes were not stored: {files.reason(error)}"
            self._progress.problem("attribute", os.fsdecode(found.path), reason)
            attributes = {}
        return {**(found.node.extras or {}), "x": attributes} if attributes else found.node.extras

    def _read_watched(
        self, found: Found, file: int, extras: dict[str, Any], earlier: EarlierVersion | None
    ) -> tuple[Node, Pending]:
        """A file that is large or in motion. One that changes meanwhile is stored as it was read, and reported."""
        before = os.fstat(file)
        pending: Pending
        if before.st_size <= SMALL_FILE_BYTES:
            data = os.read(file, before.st_size)
            length, pending = len(data), self._writer.add_small(data)
            self._progress.advance(read=length)
        elif holes := files.holes(file, before):
            extras = {**extras, "h": holes}
            pending, length = self._read_extents(file, before.st_size, holes, earlier)
        else:
            pending, length = self._writer.add_stream(files.Extent(file, 0, before.st_size), earlier=earlier)
        after = os.fstat(file)
        if length != before.st_size or stamp(before) != stamp(after) or before.st_ino != found.node.inode:
            self._progress.problem("file", os.fsdecode(found.path), "changed while it was read")
        return found.node._replace(size=length, extras=dict(sorted(extras.items())) or None), pending

    def _read_extents(
        self, file: int, size: int, holes: files.Holes, earlier: EarlierVersion | None
    ) -> tuple[PendingChunks, int]:
        """The data between the holes of a sparse file; chunks never reach across a hole. Returns the file's length."""
        pending, position = PendingChunks(), 0
        for start, length in (*holes, (size, 0)):
            if start > position:
                extent = files.Extent(file, position, start)
                read = self._writer.add_stream(extent, into=pending, earlier=earlier)[1]
                if read < start - position:
                    return pending, position + read
            position = start + length
        if not pending.sent:
            pending.settle(None)
        return pending, size

    def _is_stored(self, node: Node) -> bool:
        """Whether every blob of a file that could be taken over is still at every destination, and shall stay there."""
        content = node.content
        if content is None:
            return True
        if content[0] == contents.BUNDLE:
            if content[1] != self._present_bundle:
                if self._bundles.is_sparse(content[1]) or not self._writer.has(content[1]):
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
            if not directory.earlier.is_used_up():
                directory.is_changed = True
            self._write_parts(directory, is_end=True)

    def _write_parts(self, directory: Directory, *, is_end: bool) -> None:
        """The tree of a directory, or of a very large one what can be written so far."""
        nodes = [
            entry.node if entry.node is entry.before and entry.content is None else self._finished(directory, *entry)
            for entry in directory.entries
            if entry is not None
        ]
        directory.entries = []
        self._waiting_nodes -= sum(1 for node in nodes if node.kind != tree.DIRECTORY)
        if is_end and not directory.is_changed and not directory.ids and directory.before is not None:
            ids = contents.split_ids(directory.before.content or b"")
            if all(map(self._writer.has, ids)):
                directory.ids = ids
                return
        for part, is_complete in parts(nodes):
            if is_complete or is_end:
                directory.ids.append(self._writer.add_blob(pack.TREE, tree.encode(part)))
            else:
                directory.entries = [Entry(node, None, node) for node in part]
                self._waiting_nodes += sum(1 for node in part if node.kind != tree.DIRECTORY)

    def _finished(
        self, directory: Directory, node: Node, what: Pending | Directory | None, before: Node | None
    ) -> Node:
        """A node with its content, which is there or waited for; notes whether it differs from before."""
        if isinstance(what, Directory):
            node = node._replace(content=b"".join(what.ids))
        elif isinstance(what, PendingChunks):
            if not what.is_ready or what.content is None:
                what.settle(self._writer.settle(what))
            node = node._replace(content=what.content)
        elif what is not None:
            self._writer.wait(what)
            node = Node._make((*node[:_CONTENT_FIELD], what.content, node.extras))  # twice as fast as _replace
        if node.extras is not None:
            self._links.settle(node)
        if node != before:
            directory.is_changed = True
        return node

    def _own(self, node: Node) -> None:
        self._uids.add(node.uid)
        self._gids.add(node.gid)


def _refuse_sudden_emptiness(source: FilesSource, counts: Counts, held: int, progress: Progress) -> None:
    """A folder that held files before and holds none now is more likely unmounted than emptied on purpose."""
    if counts.total:
        return
    if held:
        raise SourceError(
            f"The folder {source.describe()} is suddenly empty; it held {held} files before.",
            hint="Is its disk mounted? If it is meant to be empty, remove it from the configuration.",
        )
    progress.problem("folder", source.describe(), "is empty")

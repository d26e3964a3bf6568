"""What is known of a directory while it is being stored: its entries so far, and how it was before."""

from __future__ import annotations

import grp
import os
import pwd
import stat
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgpack

from engine.errors import EngineError
from engine.model import content as contents
from engine.model import tree
from engine.model.tree import Node
from engine.repository.table import IndexTable
from engine.repository.writer import Pending
from engine.sources.files import Found

_PART_MASK, _PART_NODES = 1023, 8192
_INODES_BYTES, _NODE_BYTES = 4 << 20, 600
_CONTENT_FIELD = Node._fields.index("content")


@dataclass
class Counts:
    """What a run did with the files it met."""

    total: int = 0
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    unreadable: int = 0
    bytes: int = 0


class Earlier:
    """The nodes of a directory in the parent restore point, met in the order of names, one at a time."""

    def __init__(self, nodes: Iterator[Node]) -> None:
        self._nodes = nodes
        self._next: Node | None = None
        self.has_skipped = False
        self.advance()

    def peek(self, name: bytes) -> Node | None:
        """The node of this name, if there was one. Names must be asked for in ascending order."""
        while (found := self._next) is not None and found.name < name:
            self.has_skipped = True
            self.advance()
        return found if found is not None and found.name == name else None

    def match(self, name: bytes) -> Node | None:
        """As `peek`, and the node is done with."""
        found = self.peek(name)
        if found is not None:
            self.advance()
        return found

    def is_used_up(self) -> bool:
        """Whether every node was matched."""
        return self._next is None and not self.has_skipped

    def advance(self) -> None:
        """Done with the node that `peek` gave. A record that cannot be read ends the series, which makes the files that
        follow new."""
        try:
            self._next = next(self._nodes, None)
        except EngineError:
            self._next, self.has_skipped = None, True


class Inodes:
    """The large files of a directory in the newest restore point, by inode: what a log that was rotated was called
    before. Knows one directory at a time, the one that was asked for last, and at most 4 MiB of what is known of it."""

    def __init__(self, small_bytes: int) -> None:
        self._small_bytes = small_bytes
        self._directory: Node | None = None
        self._known: dict[int, Node] = {}

    def find(self, directory: Node, nodes: Callable[[Node], Iterator[Node]], inode: int) -> Node | None:
        """The file with this inode; `nodes` gives what the directory held, and is asked for it once."""
        if self._directory is not directory:
            self._directory, self._known, room = directory, {}, _INODES_BYTES
            with suppress(EngineError):  # a record that cannot be read ends it
                for node in nodes(directory):
                    if node.kind == tree.FILE and node.size > self._small_bytes and node.content is not None:
                        room -= _NODE_BYTES + len(node.content[1])
                        if room < 0:
                            break
                        self._known[node.inode] = node
        return self._known.get(inode)


class Bundles:
    """How much the unchanged files of a folder still need of the bundles that they lie in.

    A run that finds less than half of a bundle needed says so in the restore point. The next one reads those files
    again and bundles them anew, so that the old bundle can go once no restore point needs it."""

    def __init__(self, sparse: bytes) -> None:
        self._sparse = frozenset(contents.split_ids(sparse))
        self._live: dict[bytes, int] = {}

    def is_sparse(self, id: bytes) -> bool:
        """Whether the parent restore point found so."""
        return id in self._sparse

    def take(self, node: Node) -> None:
        """An unchanged file that stays where it is."""
        if node.content is not None and node.content[0] == contents.BUNDLE:
            id = node.content[1]
            self._live[id] = self._live.get(id, 0) + node.size

    def sparse(self, table: IndexTable) -> bytes:
        """The ids of the bundles of which less than half is needed."""
        found = []
        for id, live_bytes in self._live.items():
            location = table.find(id)
            if location is not None and live_bytes * 2 < location.entry.plain:
                found.append(id)
        return b"".join(found)


class Links:
    """The files with several names that were met, for their other names. Snapshots made of hard links are trees of a
    million such files, so what is settled is kept packed: some 200 bytes each instead of 900."""

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[Node, Pending]] = {}
        self._settled: dict[int, bytes] = {}

    def add(self, group: int, node: Node, pending: Pending) -> None:
        """The first name; its content is on its way."""
        self._waiting[group] = node, pending

    def settle(self, node: Node) -> None:
        """A name has its content."""
        group = node.group
        if group is not None and group in self._waiting:
            del self._waiting[group]
            self._settled[group] = msgpack.packb((node.size, node.extras, node.content))

    def find(self, group: int) -> tuple[int, dict[str, Any] | None, Pending] | None:
        """Size, extras and content of the first name; None when this is the first."""
        if group in self._waiting:
            node, pending = self._waiting[group]
            return node.size, node.extras, pending
        packed = self._settled.get(group)
        if packed is None:
            return None
        size, extras, content = msgpack.unpackb(packed, use_list=False, strict_map_key=False)
        pending = Pending()
        pending.settle(content)
        return size, extras, pending


class Entry(NamedTuple):
    """A node with what its content will be, and the node in the parent restore point."""

    node: Node
    content: Pending | Directory | None
    before: Node | None


class Unread(NamedTuple):
    """A file that is open and will be read; `place` is kept for it among its directory's entries. `newest` is its node
    in the newest restore point."""

    found: Found
    descriptor: int
    directory: Directory
    place: int
    before: Node | None
    newest: Node | None


@dataclass
class Directory:
    """A directory whose entries are being collected, each with its node in the parent restore point. `newest` are its
    nodes in the newest restore point, where that is another one; `last` is its own node there."""

    node: Node
    before: Node | None
    earlier: Earlier
    newest: Earlier | None = None
    last: Node | None = None
    entries: list[Entry | None] = field(default_factory=list)
    ids: list[bytes] = field(default_factory=list)
    is_changed: bool = False


def taken_over(node: Node, before: Node) -> Node:
    """An unchanged file: content and attributes as before, which its change time vouches for; links as they are now."""
    if node.extras == before.extras and node[:_CONTENT_FIELD] == before[:_CONTENT_FIELD]:
        return before
    extras = {key: value for key, value in (before.extras or {}).items() if key != "l"} | (node.extras or {})
    return node._replace(content=before.content, extras=dict(sorted(extras.items())) or None)


def parts(nodes: list[Node]) -> Iterator[tuple[list[Node], bool]]:
    """The nodes cut at places that their names decide, and whether a part is complete or just the rest."""
    part: list[Node] = []
    for node in nodes:
        part.append(node)
        if not zlib.crc32(node.name) & _PART_MASK or len(part) >= _PART_NODES:
            yield part, True
            part = []
    if part:
        yield part, False


def is_as_before(before: Node, status: os.stat_result) -> bool:
    """Whether a file is in every respect what its node says, and has one name only."""
    return (
        status.st_mtime_ns == before.mtime
        and status.st_ctime_ns == before.ctime
        and status.st_ino == before.inode
        and status.st_size == before.size
        and status.st_mode == stat.S_IFREG | before.mode
        and status.st_uid == before.uid
        and status.st_gid == before.gid
        and status.st_nlink == 1
        and before.kind == tree.FILE
        and (before.extras is None or "l" not in before.extras)
    )


def same_file(before: Node, now: Node) -> bool:
    return (
        before.size == now.size
        and before.mtime == now.mtime
        and before.ctime == now.ctime
        and before.inode == now.inode
        and before.kind == now.kind
    )


def what_happened(before: Node | None, node: Node) -> str:
    """In the words of Counts. An unchanged file is read, too, when its blobs were lost or its bundle is sparse."""
    if before is None:
        return "new"
    return "unchanged" if same_file(before, node) else "changed"


def stamp(status: os.stat_result) -> tuple[int, int]:
    """What tells that a file was written to meanwhile."""
    return status.st_size, status.st_mtime_ns


def names(uids: set[int], gids: set[int]) -> tuple[dict[int, str], dict[int, str]]:
    """The names of users and groups that have one here."""
    users, groups = {}, {}
    for uid in uids:
        with suppress(KeyError):
            users[uid] = pwd.getpwuid(uid).pw_name
    for gid in gids:
        with suppress(KeyError):
            groups[gid] = grp.getgrgid(gid).gr_name
    return users, groups

"""Directories: nodes and their encoding (docs/format.md, 8.1)."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgpack

from engine.errors import Corrupt

FILE, DIRECTORY, SYMLINK, FIFO, SOCKET, CHARACTER, BLOCK = range(1, 8)
_KINDS = {
    stat.S_IFREG: FILE,
    stat.S_IFDIR: DIRECTORY,
    stat.S_IFLNK: SYMLINK,
    stat.S_IFIFO: FIFO,
    stat.S_IFSOCK: SOCKET,
    stat.S_IFCHR: CHARACTER,
    stat.S_IFBLK: BLOCK,
}


class Node(NamedTuple):
    """One entry of a directory. `size` in bytes, `mtime` and `ctime` in nanoseconds; `content` depends on `kind`:
    Content for a file, concatenated tree ids for a directory, the target for a symbolic link, (major, minor)."""

    kind: int
    name: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    ctime: int
    inode: int
    content: Any = None
    extras: dict[str, Any] | None = None

    @property
    def holes(self) -> tuple[tuple[int, int], ...]:
        """The holes of a sparse file as (offset, length) in bytes; its content leaves them out."""
        found: tuple[tuple[int, int], ...] = (self.extras or {}).get("h", ())
        return found

    @property
    def group(self) -> int | None:
        """The same number for all names of a file that has several, made of its device and inode; else None."""
        if self.extras is None or "l" not in self.extras:
            return None
        device, inode = self.extras["l"]
        return int(device << 64 | inode)


def kind_of(mode: int) -> int:
    """The node kind for an `st_mode`."""
    return _KINDS[stat.S_IFMT(mode)]


def encode(nodes: Sequence[Node]) -> bytes:
    """The plaintext of a tree blob."""
    return bytes(msgpack.packb(nodes))


def decode(plain: bytes) -> list[Node]:
    """The nodes of a tree blob. Raises Corrupt when they are not what the format promises, unsafe names included."""
    try:
        nodes = [Node._make(fields) for fields in msgpack.unpackb(plain, use_list=False, strict_map_key=False)]
    except (ValueError, TypeError) as error:
        raise Corrupt("A directory's record is not readable.") from error
    for node in nodes:
        check_name(node.name)
    return nodes


def contents_of(plain: bytes) -> Iterator[tuple[int, Any]]:
    """Kind and content of each node of a tree blob, for those who want nothing else: three times as fast as `decode`.

    Raises Corrupt."""
    try:
        for kind, _, _, _, _, _, _, _, _, content, _ in msgpack.unpackb(plain, use_list=False, strict_map_key=False):
            yield kind, content
    except (ValueError, TypeError) as error:
        raise Corrupt("A directory's record is not readable.") from error


def check_name(name: object) -> None:
    """Raises Corrupt unless `name` is a single, harmless path component."""
    if not isinstance(name, bytes) or not name or name in (b".", b"..") or b"/" in name or b"\0" in name:
        raise Corrupt(f"A directory's record holds the impossible name {name!r}.")

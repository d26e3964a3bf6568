"""A folder of a restore point as a tar or zip stream, made as it is read.

Python's tarfile keeps a record of every member and zipfile a larger one, so tar is written header by header here, and
a zip, whose list of members comes last, takes a limited number of them."""

from __future__ import annotations

import os
import posixpath
import stat
import tarfile
import zipfile
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from engine.model import tree
from engine.model.manifest import FilesRoot
from engine.model.tree import Node
from engine.repository.reader import BlobReader
from engine.restore import walk
from webapp.errors import Invalid

MOST_ZIPPED = 100_000
_TYPES = {tree.FILE: tarfile.REGTYPE, tree.DIRECTORY: tarfile.DIRTYPE, tree.SYMLINK: tarfile.SYMTYPE}
_MODES = {tree.FILE: stat.S_IFREG, tree.DIRECTORY: stat.S_IFDIR, tree.SYMLINK: stat.S_IFLNK}
# What a zip can say: 1980 to 2107, in steps of two seconds.
_ZIP_YEARS = (1980, 2107)


@dataclass(frozen=True)
class Member:
    """One entry of an archive: `name` is relative, without dots and slashes that lead anywhere."""

    name: bytes
    node: Node
    owner: str
    group: str


def members(reader: BlobReader, root: FilesRoot) -> Iterator[Member]:
    """The folder itself and its files, folders and links, a folder before what is in it; a single file or link is a
    root too. Fifos, sockets and devices are left out."""
    if root.node.kind not in _TYPES:
        return
    top = root.path.rstrip(b"/")
    begin = len(posixpath.dirname(top).rstrip(b"/") + b"/") if top else len(b"/")
    if top:
        yield _member(root, top[begin:], root.node)
    if root.node.kind != tree.DIRECTORY:
        return
    for path, node in walk(reader, replace(root, path=top)):
        if node.kind in _TYPES:
            yield _member(root, path[begin:], node)


def tarred(reader: BlobReader, found: Iterable[Member]) -> Generator[bytes, None, None]:
    """A tar in the POSIX (pax) form: names of any bytes and any length, owners, modes, times, links."""
    for member in found:
        node = member.node
        info = tarfile.TarInfo(os.fsdecode(member.name))
        info.type = _TYPES[node.kind]
        info.mode, info.uid, info.gid = node.mode & 0o7777, node.uid, node.gid
        info.uname, info.gname = member.owner, member.group
        info.mtime = node.mtime / 1_000_000_000
        info.size = node.size if node.kind == tree.FILE else 0
        info.linkname = os.fsdecode(node.content) if node.kind == tree.SYMLINK else ""
        yield info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
        if node.kind == tree.FILE:
            yield from reader.file(node)
            yield bytes(-node.size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def zipped(reader: BlobReader, found: Iterable[Member]) -> Generator[bytes, None, None]:
    """A zip. Names that are not UTF-8, and signs that some systems take for a separator, are written as %XX.

    Raises Invalid in mid-way when there are more than 100,000 entries."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:  # type: ignore[call-overload]
        for number, member in enumerate(found):
            if number == MOST_ZIPPED:
                raise Invalid(f"A zip holds {MOST_ZIPPED} entries here, and the folder has more.", hint="Ask for tar.")
            if member.node.kind == tree.DIRECTORY:
                archive.mkdir(_zip_info(member))
                continue
            with archive.open(_zip_info(member), "w", force_zip64=member.node.size >= 1 << 31) as file:
                for piece in _bytes_of(reader, member.node):
                    file.write(piece)
                    yield sink.taken()
            yield sink.taken()
    yield sink.taken()


def _member(root: FilesRoot, name: bytes, node: Node) -> Member:
    owner = root.users.get(node.uid, "")
    return Member(name, node, owner, root.groups.get(node.gid, ""))


def _bytes_of(reader: BlobReader, node: Node) -> Iterator[bytes]:
    if node.kind == tree.FILE:
        return reader.file(node)
    return iter([node.content] if node.kind == tree.SYMLINK else [])


def _zip_info(member: Member) -> zipfile.ZipInfo:
    node = member.node
    name = "".join(_zip_sign(sign) for sign in os.fsdecode(member.name))
    info = zipfile.ZipInfo(name + ("/" if node.kind == tree.DIRECTORY else ""), _zip_time(node.mtime))
    info.external_attr = (_MODES[node.kind] | node.mode & 0o7777) << 16
    info.create_system = 3  # Unix, so that modes and links count
    info.compress_type = zipfile.ZIP_DEFLATED
    info.CRC = 0  # of a folder; mkdir does not set it
    return info


def _zip_sign(sign: str) -> str:
    if "\udc80" <= sign <= "\udcff":
        return f"%{ord(sign) - 0xDC00:02X}"
    return "%5C" if sign == "\\" else sign


def _zip_time(nanoseconds: int) -> tuple[int, int, int, int, int, int]:
    first, last = _ZIP_YEARS
    try:
        moment = datetime.fromtimestamp(nanoseconds // 1_000_000_000, UTC)
    except (OverflowError, OSError, ValueError):
        return first, 1, 1, 0, 0, 0
    if not first <= moment.year <= last:
        return first, 1, 1, 0, 0, 0
    return moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second


class _Sink:
    """What zipfile writes to: keeps the bytes until they are taken, and cannot seek."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing waits here."""

    def taken(self) -> bytes:
        """What was written since the last time."""
        found = b"".join(self._pieces)
        self._pieces.clear()
        return found

"""What is inside a restore point: folders, tables, and the bytes of one file or dump. Only reads."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from engine.errors import EngineError, NotARepository, StorageError
from engine.errors import NotFound as Absent
from engine.model import tree
from engine.model.manifest import FilesRoot, Manifest, StreamRoot
from engine.model.tree import Node
from engine.repository.reader import BlobReader
from engine.restore import find
from webapp.errors import Invalid, NotFound, Unavailable
from webapp.installation import Installation
from webapp.models import Backup
from webapp.services import records, repositories
from webapp.services.keyrings import Tell

DATABASE_WORD = "database"
SUFFIXES = {"sqlite": ".sqlite"}
DUMP_SUFFIX = ".dump"
KINDS = {
    tree.FILE: ("file", stat.S_IFREG),
    tree.DIRECTORY: ("folder", stat.S_IFDIR),
    tree.SYMLINK: ("link", stat.S_IFLNK),
    tree.FIFO: ("fifo", stat.S_IFIFO),
    tree.SOCKET: ("socket", stat.S_IFSOCK),
    tree.CHARACTER: ("character device", stat.S_IFCHR),
    tree.BLOCK: ("block device", stat.S_IFBLK),
}
_SLASH = b"/"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Point:
    """A restore point that is open for reading, until it is closed."""

    backup: Backup
    manifest: Manifest
    reader: BlobReader

    def close(self) -> None:
        """Gives up the connections to the destinations."""
        self.reader.close()

    @property
    def folders(self) -> tuple[FilesRoot, ...]:
        """The folders that were backed up."""
        return tuple(root for root in self.manifest.roots if isinstance(root, FilesRoot))

    @property
    def databases(self) -> tuple[StreamRoot, ...]:
        """The databases that were backed up."""
        return tuple(root for root in self.manifest.roots if isinstance(root, StreamRoot))


@dataclass(frozen=True)
class Entry:
    """One entry of a folder. `mode` is the whole `st_mode`, `size` bytes (None for what has none), `modified` in
    nanoseconds since 1970, `target` where a link points; `owner` and `group` are names, or numbers where no name was
    known. A folder above those that were backed up has a name only."""

    name: bytes
    kind: str
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    owner: str = ""
    group: str = ""
    size: int | None = None
    modified: int | None = None
    target: bytes | None = None

    @property
    def modified_at(self) -> datetime | None:
        """`modified` to the microsecond; None also for times that no calendar of ours reaches, which file systems
        allow."""
        if self.modified is None:
            return None
        try:
            return _EPOCH + timedelta(microseconds=self.modified // 1000)
        except OverflowError:
            return None


@dataclass(frozen=True)
class Table:
    """One table of a dump. `rows` and `bytes` of its part of the dump are None when it has no data of its own there."""

    schema: str
    name: str
    rows: int | None
    bytes: int | None


@dataclass(frozen=True)
class Content:
    """The bytes of one file or dump: `name` is what a file with them may be called, `size` is in bytes."""

    name: str
    size: int
    pieces: Generator[bytes, None, None]


def open_point(installation: Installation, text: str, *, tell: Tell) -> Point:
    """The restore point that `text` names: an id, the beginning of one, or CONFIG@latest.

    Raises NotFound, Invalid (ambiguous), and the errors of a destination that cannot be read.
    """
    backup = repositories.find_backup(installation, text)
    reader, manifest = repositories.reader_for(installation, backup, tell=tell)
    return Point(backup, manifest, reader)


def recorded(installation: Installation, text: str, *, tell: Tell) -> tuple[Backup, Manifest | None]:
    """The restore point that `text` names and its manifest; None for the manifest when no destination can be read
    now, which is told. Raises NotFound, Invalid, WrongKey, KeyMissing, and Corrupt."""
    backup = repositories.find_backup(installation, text)
    try:
        reader, manifest = repositories.reader_for(installation, backup, tell=tell)
    except (StorageError, NotARepository, NotFound, Unavailable) as error:
        tell(f"Warning: {error.message} What is on record is shown. {error.hint}".rstrip())
        return backup, None
    reader.close()
    return backup, manifest


def open_beside(installation: Installation, text: str, other: Point, *, tell: Tell) -> Point:
    """As `open_point`, from the same destination as `other` where it lies there too, whose index is loaded already."""
    return beside(installation, repositories.find_backup(installation, text), other, tell=tell)


def beside(installation: Installation, backup: Backup, other: Point, *, tell: Tell) -> Point:
    """As `open_beside`, of a restore point whose row is known."""
    with suppress(EngineError):
        stored = other.reader.repository.read_manifest(records.identity(backup))
        if stored.hash.hex() == backup.manifest_hash:
            return Point(backup, stored.manifest, other.reader)
    reader, manifest = repositories.reader_for(installation, backup, tell=tell)
    return Point(backup, manifest, reader)


def database(point: Point, text: str) -> StreamRoot:
    """The database that `text` names: `NAME`, `postgres:NAME` as listed, `database:NAME`, `NAME:` or `NAME.dump`;
    a bare `database:` is the only one there is. A SQLite database's name is its path.

    Raises NotFound and Invalid (ambiguous)."""
    found = [root for root in point.databases if root.name == text] or [
        root for root in point.databases if text in _spellings(root)
    ]
    if text == f"{DATABASE_WORD}:" and not found:
        found = list(point.databases)
    if not found:
        raise _absent(point, text)
    if len(found) > 1:
        names = ", ".join(f"{root.kind}:{root.name}" for root in found)
        raise Invalid(f"{text} means more than one database of this restore point: {names}.")
    return found[0]


def tables(root: StreamRoot) -> list[Table]:
    """The tables of a dump by schema and name, with exact rows."""
    facts = root.facts.get("tables", ())
    listed = [Table(fact["schema"], fact["name"], fact["rows"], fact.get("length")) for fact in facts]
    bare = [Table(schema, name, None, None) for schema, name in root.facts.get("tablesWithoutData", ())]
    return sorted(listed + bare, key=lambda table: (table.schema, table.name))


def entries(point: Point, text: str) -> Iterator[Entry]:
    """What a folder holds, in the order of names; of anything else the entry itself. Raises NotFound, Corrupt."""
    path = _normal(text)
    names = _leading_to_roots(point, path)
    if names:
        return (Entry(name, "folder") for name in names)
    root, node = _find(point, path)
    if node.kind != tree.DIRECTORY:
        return iter([entry_of(root, node)])
    return (entry_of(root, child) for child in point.reader.nodes(node.content or b""))


def place(point: Point, text: str) -> tuple[FilesRoot, Node] | None:
    """The entry at a path, with the folder it was backed up with; None for a folder above those. Raises NotFound."""
    path = _normal(text)
    return None if _leading_to_roots(point, path) else _find(point, path)


def content(point: Point, text: str) -> Content:
    """The bytes of a file, by its absolute path, or of a dump, by the name of its database.

    Raises NotFound, and Invalid for what has no bytes of its own. Reading `pieces` raises Corrupt and StorageError.
    """
    if not is_path(point, text):
        root = database(point, text)
        return Content(_file_name(root), root.size, _stream(point.reader, root))
    path = _normal(text)
    if _leading_to_roots(point, path):
        raise _is_folder(point, path)
    _, node = _find(point, path)
    if node.kind == tree.DIRECTORY:
        raise _is_folder(point, path)
    if node.kind == tree.SYMLINK:
        raise Invalid(f"{text} is a link to {os.fsdecode(node.content)}.", hint="Ask for what it points to.")
    if node.kind != tree.FILE:
        raise Invalid(f"{text} is a {KINDS[node.kind][0]} and has no content.")
    return Content(os.fsdecode(posixpath.basename(path)), node.size, _file(point.reader, node))


def is_path(point: Point, text: str) -> bool:
    """Whether `text` is meant as a path as it was at the source; else it is meant as a database, whose name is a path
    too when it is a SQLite database."""
    return text.startswith("/") and all(root.name != text for root in point.databases)


def file_mode(entry: Entry) -> str:
    """`-rw-r--r--`, as `ls -l` shows it."""
    return stat.filemode(entry.mode) if entry.mode is not None else "d?????????"


def _spellings(root: StreamRoot) -> tuple[str, ...]:
    name = root.name
    return (f"{root.kind}:{name}", f"{DATABASE_WORD}:{name}", f"{name}:", f"{name}{_suffix(root)}")


def _suffix(root: StreamRoot) -> str:
    return SUFFIXES.get(root.kind, DUMP_SUFFIX)


def _normal(text: str) -> bytes:
    """The path as bytes, absolute, without doubled or trailing slashes."""
    return _SLASH + posixpath.normpath(os.fsencode(text)).strip(_SLASH)


def _leading_to_roots(point: Point, path: bytes) -> list[bytes]:
    """The next names on the way from a folder to the backed-up folders below it; none when it lies in one of them."""
    above = path.rstrip(_SLASH) + _SLASH
    if any(above.startswith(root.path.rstrip(_SLASH) + _SLASH) for root in point.folders):
        return []
    return sorted(
        {root.path[len(above) :].partition(_SLASH)[0] for root in point.folders if root.path.startswith(above)}
    )


def _find(point: Point, path: bytes) -> tuple[FilesRoot, Node]:
    """The entry at a path with its root; the innermost of nested folders is asked first."""
    for root in sorted(point.folders, key=lambda root: -len(root.path)):
        with suppress(Absent):
            return root, find(point.reader, replace(point.manifest, roots=(root,)), path)
    raise _absent(point, os.fsdecode(path))


def entry_of(root: FilesRoot, node: Node) -> Entry:
    """A node of a folder that was backed up, for people."""
    kind, bits = KINDS[node.kind]
    return Entry(
        name=node.name or posixpath.basename(root.path),
        kind=kind,
        mode=bits | node.mode,
        uid=node.uid,
        gid=node.gid,
        owner=root.users.get(node.uid, str(node.uid)),
        group=root.groups.get(node.gid, str(node.gid)),
        size=node.size if node.kind == tree.FILE else None,
        modified=node.mtime,
        target=node.content if node.kind == tree.SYMLINK else None,
    )


def _file(reader: BlobReader, node: Node) -> Generator[bytes, None, None]:
    yield from reader.file(node)


def _stream(reader: BlobReader, root: StreamRoot) -> Generator[bytes, None, None]:
    yield from reader.stream(root.content, root.size)


def _file_name(root: StreamRoot) -> str:
    """A harmless name for a file with the database in it."""
    name, suffix = root.name, _suffix(root)
    if root.kind in SUFFIXES:  # its name is a path
        name = posixpath.basename(name).removesuffix(suffix)
    return (name.replace("/", "_").replace("\0", "_").lstrip(".") or "database") + suffix


def _absent(point: Point, text: str) -> NotFound:
    what = "" if text.startswith("/") else " Paths begin with / as they were at the source."
    return NotFound(
        f"{text} is not in the restore point {point.backup.public_id}.",
        hint=f"`backup-cli ls {point.backup.public_id}` shows what it holds.{what}",
    )


def _is_folder(point: Point, path: bytes) -> Invalid:
    return Invalid(
        f"{os.fsdecode(path)} is a folder; `get` writes one file or one dump.",
        hint=f"`backup-cli restore --backup {point.backup.public_id} --only PATH --to FOLDER` restores a folder.",
    )

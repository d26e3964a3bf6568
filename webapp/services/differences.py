"""What changed from one restore point to another, by the bytes and not by where they are stored: paths and tables."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from engine.model import content as contents
from engine.model import tree
from engine.model.content import Content
from engine.model.manifest import FilesRoot, StreamRoot
from engine.model.tree import Node
from engine.postgres.archive import BLOCK_HEAD_BYTES
from engine.repository.reader import BlobReader
from webapp.services.browsing import Point

ADDED, REMOVED, CHANGED, METADATA = WHATS = ("added", "removed", "changed", "metadata")
PATH, DATABASE, TABLE, LARGE_OBJECTS = "path", "database", "table", "large-objects"
_ATTRIBUTES = "x"
Fact = dict[str, Any]


@dataclass(frozen=True)
class Difference:
    """One difference. `what` is added, removed, changed or metadata (owner, mode, attributes, and of what is no folder
    the time); `path` is set for a path, else `database`, and for a table `schema` and `table`. Rows before and after
    are None where there are none; of large objects they are the number."""

    what: str
    kind: str
    path: str = ""
    database: str = ""
    schema: str = ""
    table: str = ""
    rows_before: int | None = None
    rows_after: int | None = None


class _Part(NamedTuple):
    """`length` bytes from `offset` of a stored content of `size` bytes."""

    reader: BlobReader
    content: Content
    size: int
    offset: int
    length: int


Pair = tuple[Node | None, Node | None]
_Side = tuple[BlobReader, StreamRoot]


def differences(before: Point, after: Point) -> Iterator[Difference]:
    """All differences, paths first. A folder or database that is new or gone is one difference with all in it.

    Not compared are definitions without rows (views, functions, indexes) and the bytes of large objects.
    Raises Corrupt and StorageError.
    """
    yield from _paths(before, after)
    old = {(root.kind, root.name): root for root in before.databases}
    new = {(root.kind, root.name): root for root in after.databases}
    for key in sorted(old.keys() | new.keys()):
        if key in old and key in new:
            yield from _databases((before.reader, old[key]), (after.reader, new[key]))
        else:
            yield Difference(REMOVED if key in old else ADDED, DATABASE, database=key[1])


def at_a_glance(was: Node | None, now: Node | None) -> str:
    """One of WHATS, or "" for an entry that stayed the same, without reading a file: of a file that was cut anew or
    written again alike it may say that it changed. A folder has changed when anything below it has."""
    if was is None or now is None:
        return ADDED if was is None else REMOVED
    if (was.kind, was.content, was.size, was.holes) != (now.kind, now.content, now.size, now.holes):
        return CHANGED
    return METADATA if _facts(was) != _facts(now) else ""


def _paths(before: Point, after: Point) -> Iterator[Difference]:
    old = {root.path: root for root in before.folders}
    new = {root.path: root for root in after.folders}
    for path in sorted(old.keys() | new.keys()):
        if path in old and path in new:
            yield from _trees(before.reader, old[path], after.reader, new[path])
        else:
            yield Difference(REMOVED if path in old else ADDED, PATH, os.fsdecode(path))


def _trees(old_reader: BlobReader, old: FilesRoot, new_reader: BlobReader, new: FilesRoot) -> Iterator[Difference]:
    """Two folders, without recursion: trees may be a thousand levels deep. Equal directories are not even read."""
    pairs: Iterator[Pair] = iter([(old.node, new.node)])
    waiting = [(b"", pairs)]
    while waiting:
        above, pairs = waiting[-1]
        was, now = next(pairs, (None, None))
        if was is None and now is None:
            waiting.pop()
            continue
        name = _name(was, now)
        path = above.rstrip(b"/") + b"/" + name if name else old.path
        what = ADDED if was is None else REMOVED if now is None else _what(old_reader, was, new_reader, now)
        if what:
            yield Difference(what, PATH, os.fsdecode(path))
        if was and now and was.kind == now.kind == tree.DIRECTORY and was.content != now.content:
            waiting.append((path, joined(old_reader.nodes(was.content or b""), new_reader.nodes(now.content or b""))))


def _name(was: Node | None, now: Node | None) -> bytes:
    """Empty for the folder that was backed up itself."""
    node = was or now
    return node.name if node else b""


def joined(old: Iterator[Node], new: Iterator[Node]) -> Iterator[Pair]:
    """The nodes of two directories, both in the order of names, joined by name."""
    was, now = next(old, None), next(new, None)
    while was is not None or now is not None:
        if now is None or (was is not None and was.name < now.name):
            yield was, None
            was = next(old, None)
        elif was is None or now.name < was.name:
            yield None, now
            now = next(new, None)
        else:
            yield was, now
            was, now = next(old, None), next(new, None)


def _what(old_reader: BlobReader, was: Node, new_reader: BlobReader, now: Node) -> str:
    if was.kind != now.kind:
        return CHANGED
    if was.kind == tree.FILE:
        if not _same_file(old_reader, was, new_reader, now):
            return CHANGED
    elif was.kind != tree.DIRECTORY and was.content != now.content:
        return CHANGED
    return METADATA if _facts(was) != _facts(now) else ""


def _facts(node: Node) -> tuple[Any, ...]:
    # A folder's own time changes with everything in it, which is told anyway.
    moment = None if node.kind == tree.DIRECTORY else node.mtime
    return node.mode, node.uid, node.gid, moment, (node.extras or {}).get(_ATTRIBUTES)


def _same_file(old_reader: BlobReader, was: Node, new_reader: BlobReader, now: Node) -> bool:
    if was.size != now.size:
        return False
    if was.holes != now.holes:
        return _digest(old_reader.file(was)) == _digest(new_reader.file(now))
    size = was.size - sum(length for _, length in was.holes)
    return _same_bytes(_Part(old_reader, was.content, size, 0, size), _Part(new_reader, now.content, size, 0, size))


def _databases(before: _Side, after: _Side) -> Iterator[Difference]:
    if before[1].content == after[1].content:
        return
    found = False
    for difference in _tables(before, after):
        found = True
        yield difference
    if not found and after[1].facts.get("toc") is None:  # where its tables lie is not known, so only that it differs
        yield Difference(CHANGED, DATABASE, database=after[1].name)


def _tables(before: _Side, after: _Side) -> Iterator[Difference]:
    old, new = _by_name(before[1]), _by_name(after[1])
    for schema, table in sorted(old.keys() | new.keys()):
        was, now = old.get((schema, table)), new.get((schema, table))
        if was and now and _same_table(before, was, after, now):
            continue
        yield Difference(
            CHANGED if was and now else REMOVED if was else ADDED,
            TABLE,
            database=after[1].name,
            schema=schema,
            table=table,
            rows_before=was["rows"] if was else None,
            rows_after=now["rows"] if now else None,
        )
    objects = before[1].facts.get("largeObjects"), after[1].facts.get("largeObjects")
    if objects[0] != objects[1]:
        yield Difference(CHANGED, LARGE_OBJECTS, "", after[1].name, rows_before=objects[0], rows_after=objects[1])


def _by_name(root: StreamRoot) -> dict[tuple[str, str], Fact]:
    """Every table of a dump; those without data of their own there have no rows."""
    nothing: Fact = {"rows": None}
    names = ((schema, name) for schema, name in root.facts.get("tablesWithoutData", ()))
    bare = dict.fromkeys(names, nothing)
    return bare | {(fact["schema"], fact["name"]): fact for fact in root.facts.get("tables", ())}


def _same_table(before: _Side, was: Fact, after: _Side, now: Fact) -> bool:
    if (was["rows"], was.get("length")) != (now["rows"], now.get("length")):
        return False
    if was.get("offset") is None or now.get("offset") is None:
        return True
    return _same_bytes(_table_part(*before, was), _table_part(*after, now))


def _table_part(reader: BlobReader, root: StreamRoot, fact: Fact) -> _Part:
    """A table's rows in a dump; the head before them holds the number of its entry, which any new object shifts."""
    head = min(BLOCK_HEAD_BYTES, fact["length"])
    return _Part(reader, root.content, root.size, fact["offset"] + head, fact["length"] - head)


def _same_bytes(before: _Part, after: _Part) -> bool:
    """Whether two parts of the same length are equal. Read is only what is not stored as the same chunks."""
    if before.content == after.content and before.offset == after.offset:
        return True
    if _is_bundled(before) or _is_bundled(after):  # whole files, and small
        old, new = (part.reader.stream(part.content, part.size) for part in (before, after))
        return _digest(old) == _digest(new)
    gaps = _gaps(_pieces(before), _pieces(after), before.length)
    return all(_digest(_slice(before, *gap)) == _digest(_slice(after, *gap)) for gap in gaps)


def _is_bundled(part: _Part) -> bool:
    return part.content is not None and part.content[0] == contents.BUNDLE


def _pieces(part: _Part) -> dict[int, tuple[bytes, int]]:
    """The chunks that hold a part: their ids and lengths in bytes, by their place relative to its beginning."""
    found, position = {}, -part.offset
    for chunk in part.reader.chunks(part.content):
        if position < part.length and position + chunk.length > 0:
            found[position] = (chunk.id, chunk.length)
        position += chunk.length
    return found


def _gaps(
    before: dict[int, tuple[bytes, int]], after: dict[int, tuple[bytes, int]], length: int
) -> list[tuple[int, int]]:
    """The ranges (start, end) of `length` bytes that no chunk covers which both sides have at the same place."""
    gaps, position = [], 0
    for start in sorted(before.keys() & after.keys()):
        if before[start] != after[start]:
            continue
        if start > position:
            gaps.append((position, start))
        position = max(position, start + before[start][1])
    if position < length:
        gaps.append((position, length))
    return gaps


def _slice(part: _Part, start: int, end: int) -> Iterator[bytes]:
    return part.reader.slice(part.content, part.size, part.offset + start, end - start)


def _digest(pieces: Iterator[bytes]) -> bytes:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.digest()

"""What changed from one restore point to another: paths by their records, tables by their rows and, at last, bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from engine.compare import ADDED, CHANGED, METADATA, REMOVED, compare_points
from engine.model.manifest import Manifest, StreamRoot
from engine.postgres.archive import BLOCK_HEAD_BYTES
from engine.repository.reader import BlobReader
from webapp.services.browsing import Point

WHATS = (ADDED, REMOVED, CHANGED, METADATA)
PATH, DATABASE, TABLE, LARGE_OBJECTS = "path", "database", "table", "large-objects"
Fact = dict[str, Any]


@dataclass(frozen=True)
class Difference:
    """One difference. `what` is added, removed, changed or metadata (owner, mode); `path` is set for a path, else
    `database`, and for a table `schema` and `table`. Rows before and after are None where there are none; of large
    objects they are the number."""

    what: str
    kind: str
    path: str = ""
    database: str = ""
    schema: str = ""
    table: str = ""
    rows_before: int | None = None
    rows_after: int | None = None


def differences(before: Point, after: Point) -> Iterator[Difference]:
    """All differences, paths first. A folder or database that is new or gone is one difference with all in it.

    Not compared are definitions without rows (views, functions, indexes) and the bytes of large objects.
    Raises Corrupt and StorageError.
    """
    sides = (before.reader, _folders_of(before)), (after.reader, _folders_of(after))
    for change in compare_points(*sides):
        yield Difference(change.what, PATH, path=change.path)
    old = {(root.kind, root.name): root for root in before.databases}
    new = {(root.kind, root.name): root for root in after.databases}
    for key in sorted(old.keys() | new.keys()):
        if key in old and key in new:
            yield from _tables((before.reader, old[key]), (after.reader, new[key]))
        else:
            yield Difference(REMOVED if key in old else ADDED, DATABASE, database=key[1])


def _folders_of(point: Point) -> Manifest:
    return replace(point.manifest, roots=point.folders)


_Side = tuple[BlobReader, StreamRoot]


def _tables(before: _Side, after: _Side) -> Iterator[Difference]:
    if before[1].content == after[1].content:
        return
    old, new = _by_name(before[1]), _by_name(after[1])
    for schema, table in sorted(old.keys() | new.keys()):
        was, now = old.get((schema, table)), new.get((schema, table))
        if was and now and _is_same((*before, was), (*after, now)):
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
    """Every table of a dump; those without data of their own there are empty facts."""
    bare = {(schema, name): _bare() for schema, name in root.facts.get("tablesWithoutData", ())}
    return bare | {(fact["schema"], fact["name"]): fact for fact in root.facts["tables"]}


def _bare() -> Fact:
    return {"rows": None, "offset": None, "length": None}


def _is_same(before: tuple[BlobReader, StreamRoot, Fact], after: tuple[BlobReader, StreamRoot, Fact]) -> bool:
    """Whether a table's part of the dump is the same. Bytes are read only where the stored pieces are others."""
    was, now = before[2], after[2]
    if (was["rows"], was["length"]) != (now["rows"], now["length"]):
        return False
    if was["offset"] is None or now["offset"] is None:
        return True
    gaps = _gaps(_pieces(*before), _pieces(*after), was["length"])
    return all(_digest(*before, *gap) == _digest(*after, *gap) for gap in gaps)


def _pieces(reader: BlobReader, root: StreamRoot, fact: Fact) -> dict[int, tuple[bytes, int]]:
    """The chunks that hold a table: their ids and lengths in bytes, by their place relative to its beginning."""
    found, position = {}, -fact["offset"]
    for chunk in reader.chunks(root.content):
        if position < fact["length"] and position + chunk.length > 0:
            found[position] = (chunk.id, chunk.length)
        position += chunk.length
    return found


def _gaps(
    before: dict[int, tuple[bytes, int]], after: dict[int, tuple[bytes, int]], length: int
) -> list[tuple[int, int]]:
    """The parts (start, end) of `length` bytes that no chunk covers which both sides have at the same place."""
    gaps, position = [], BLOCK_HEAD_BYTES  # it holds the number of the table's entry, which any new object shifts
    for start in sorted(before.keys() & after.keys()):
        if before[start] != after[start]:
            continue
        if start > position:
            gaps.append((position, start))
        position = max(position, start + before[start][1])
    if position < length:
        gaps.append((position, length))
    return gaps


def _digest(reader: BlobReader, root: StreamRoot, fact: Fact, start: int, end: int) -> bytes:
    digest = hashlib.sha256()
    for piece in reader.slice(root.content, root.size, fact["offset"] + start, end - start):
        digest.update(piece)
    return digest.digest()

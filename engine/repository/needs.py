"""What a restore point needs, blob by blob, and which part of which file at the source each blob was made from.

Unlike references.py it goes on behind a directory or list that cannot be read: repair wants all that is left."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from engine.errors import Corrupt
from engine.model import content as contents
from engine.model import tree
from engine.model.content import Content
from engine.model.manifest import FilesRoot, Manifest
from engine.model.tree import Node
from engine.repository.reader import BlobReader


class Part(NamedTuple):
    """`length` bytes at `offset` of a file of the source are those at `start` of a data blob of `suite`."""

    path: bytes
    node: Node
    offset: int
    start: int
    length: int
    suite: int


class Need(NamedTuple):
    """A blob that a restore point needs; `part` only for data of a file."""

    id: bytes
    part: Part | None = None


def needs(reader: BlobReader, manifest: Manifest, seen_trees: set[bytes]) -> Iterator[Need]:
    """Every blob of a restore point, some more than once; directories in `seen_trees` are left out, those met are
    added. A blob is told before what is in it is read, so that it can be made good first. Raises StorageError."""
    for root in manifest.roots:
        if not isinstance(root, FilesRoot):
            for id in _ids(reader, root.content):
                yield Need(id)
            continue
        waiting = [(root.path, root.node.content or b"")]
        while waiting:
            path, ids = waiting.pop()
            for id in contents.split_ids(ids):
                if id in seen_trees:
                    continue
                seen_trees.add(id)
                yield Need(id)
                for node in _nodes(reader, id):
                    below = path + b"/" + node.name
                    if node.kind == tree.DIRECTORY and node.content:
                        waiting.append((below, node.content))
                    elif node.kind == tree.FILE:
                        yield from _of_file(reader, below, node, manifest.suite)


def _nodes(reader: BlobReader, id: bytes) -> list[Node]:
    try:
        return tree.decode(reader.read(id))
    except Corrupt:
        return []


def _of_file(reader: BlobReader, path: bytes, node: Node, suite: int) -> Iterator[Need]:
    content: Content = node.content
    if content is not None and content[0] == contents.BUNDLE:
        _, id, start = content  # type: ignore[misc]
        yield Need(id, Part(path, node, 0, start, node.size, suite))
        return
    if content is not None and content[0] == contents.LISTS:
        yield from map(Need, contents.split_ids(content[1]))
    offset, holes = 0, dict(node.holes)
    try:
        for chunk in reader.chunks(content):
            while offset in holes:
                offset += holes.pop(offset)
            yield Need(chunk.id, Part(path, node, offset, 0, chunk.length, suite))
            offset += chunk.length
    except Corrupt:
        return  # a list is lost: its id was told


def _ids(reader: BlobReader, content: Content) -> Iterator[bytes]:
    if content is None:
        return
    if content[0] == contents.BUNDLE:
        yield content[1]
        return
    if content[0] == contents.LISTS:
        yield from contents.split_ids(content[1])
    try:
        yield from (chunk.id for chunk in reader.chunks(content))
    except Corrupt:
        return

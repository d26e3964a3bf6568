"""Which blobs a restore point needs."""

from __future__ import annotations

from collections.abc import Iterator

from engine.model import content as contents
from engine.model import tree
from engine.model.content import Content
from engine.model.manifest import FilesRoot, Manifest
from engine.repository.reader import BlobReader


def blobs_of(reader: BlobReader, manifest: Manifest, seen_trees: set[bytes]) -> Iterator[bytes]:
    """Ids of all blobs that a restore point needs, some more than once. Directories in `seen_trees` are left out,
    and those met are added. Raises Corrupt when a tree or list cannot be read."""
    for root in manifest.roots:
        if isinstance(root, FilesRoot):
            yield from _blobs_below(reader, root.node.content or b"", seen_trees)
        else:
            yield from _blobs_in(reader, root.content)


def _blobs_below(reader: BlobReader, ids: bytes, seen_trees: set[bytes]) -> Iterator[bytes]:
    waiting = [ids]
    while waiting:
        for id in contents.split_ids(waiting.pop()):
            if id in seen_trees:
                continue
            seen_trees.add(id)
            yield id
            for node in tree.decode(reader.read(id)):
                if node.kind == tree.DIRECTORY and node.content:
                    waiting.append(node.content)
                elif node.kind == tree.FILE:
                    yield from _blobs_in(reader, node.content)


def _blobs_in(reader: BlobReader, content: Content) -> Iterator[bytes]:
    if content is None:
        return
    if content[0] == contents.BUNDLE:
        yield content[1]
        return
    if content[0] == contents.LISTS:
        yield from contents.split_ids(content[1])
    for chunk in reader.chunks(content):
        yield chunk.id

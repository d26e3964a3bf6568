"""Which blobs a restore point needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from engine.model import content as contents
from engine.model import tree
from engine.model.content import Content
from engine.model.manifest import FilesRoot, Manifest
from engine.repository.reader import BlobReader


def blobs_of(reader: BlobReader, manifest: Manifest, seen_trees: set[bytes]) -> Iterator[bytes]:
    """Ids of all blobs that a restore point needs, some more than once. Trees and lists in `seen_trees` are left out
    with all that is below them, and those met are added. Raises Corrupt when a tree or list cannot be read."""

    def is_new(id: bytes) -> bool:
        count = len(seen_trees)
        seen_trees.add(id)
        return len(seen_trees) > count

    return new_blobs_of(reader, manifest, is_new)


def new_blobs_of(reader: BlobReader, manifest: Manifest, is_new: Callable[[bytes], bool]) -> Iterator[bytes]:
    """As `blobs_of`; `is_new` is asked about each tree and list. Those that it answers False to are left out."""
    for root in manifest.roots:
        if isinstance(root, FilesRoot):
            yield from _blobs_below(reader, root.node.content or b"", is_new)
        else:
            yield from _blobs_in(reader, root.content, is_new)


def _blobs_below(reader: BlobReader, ids: bytes, is_new: Callable[[bytes], bool]) -> Iterator[bytes]:
    waiting = [ids]
    while waiting:
        for id in contents.split_ids(waiting.pop()):
            if not is_new(id):
                continue
            yield id
            for kind, content in tree.contents_of(reader.read(id)):
                if kind == tree.DIRECTORY and content:
                    waiting.append(content)
                elif kind == tree.FILE:
                    yield from _blobs_in(reader, content, is_new)


def _blobs_in(reader: BlobReader, content: Content, is_new: Callable[[bytes], bool]) -> Iterable[bytes]:
    if content is None:
        return ()
    if content[0] == contents.BUNDLE:
        return (content[1],)
    if content[0] == contents.CHUNKS:
        return contents.chunk_ids(content[1])
    return _blobs_listed(reader, content[1], is_new)


def _blobs_listed(reader: BlobReader, ids: bytes, is_new: Callable[[bytes], bool]) -> Iterator[bytes]:
    for id in contents.split_ids(ids):
        if is_new(id):
            yield id
            yield from contents.chunk_ids(reader.read(id))

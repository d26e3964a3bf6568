"""Which blobs a restore point needs."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

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
    waiting = [iter(contents.split_ids(ids))]

    def newest_first() -> Iterator[bytes]:
        while waiting:
            id = next(waiting[-1], None)
            if id is None:
                waiting.pop()
            elif is_new(id):
                yield id

    for id, plain in _read_ahead(reader, newest_first):
        yield id
        for kind, content in tree.contents_of(plain):
            if kind == tree.DIRECTORY and content:
                waiting.append(iter(contents.split_ids(content)))
            elif kind == tree.FILE:
                yield from _blobs_in(reader, content, is_new)


def _read_ahead(reader: BlobReader, wanted: Callable[[], Iterator[bytes]]) -> Iterator[tuple[bytes, bytes]]:
    """The blobs that are wanted, with their ids. `wanted` is asked anew when it had no more: what was read since may
    name others. From a distant store as many are read at once as it serves; a disk gives them faster one by one."""
    at_once = reader.repository.storage.requests_at_once
    if at_once == 1:
        for id in wanted():
            yield id, reader.read(id)
        return
    ahead: deque[tuple[bytes, Future[bytes]]] = deque()
    with ThreadPoolExecutor(at_once, thread_name_prefix="trees") as pool:
        try:
            while True:
                for id in itertools.islice(wanted(), 2 * at_once - len(ahead)):
                    ahead.append((id, pool.submit(reader.read, id)))
                if not ahead:
                    return
                id, future = ahead.popleft()
                yield id, future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _blobs_in(reader: BlobReader, content: Content, is_new: Callable[[bytes], bool]) -> Iterable[bytes]:
    if content is None:
        return ()
    if content[0] == contents.BUNDLE:
        return (content[1],)
    if content[0] == contents.CHUNKS:
        return contents.chunk_ids(content[1])
    return _blobs_listed(reader, content[1], is_new)


def _blobs_listed(reader: BlobReader, ids: bytes, is_new: Callable[[bytes], bool]) -> Iterator[bytes]:
    new = filter(is_new, contents.split_ids(ids))
    for id, plain in _read_ahead(reader, lambda: new):
        yield id
        yield from contents.chunk_ids(plain)

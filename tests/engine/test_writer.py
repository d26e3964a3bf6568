"""What a backup keeps in memory does not grow with a stream's length, and little with the number of linked files."""

from __future__ import annotations

import hashlib
import os
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engine import folder
from engine.entries import Links
from engine.model import content as contents
from engine.model import tree
from engine.model.content import Content
from engine.model.manifest import FilesRoot, StreamRoot
from engine.model.tree import Node
from engine.progress import Progress
from engine.repository import writer
from engine.repository.reader import open_reader
from engine.repository.writer import Pending, PendingChunks, Writer
from tests.support.repositories import Bench
from tests.support.trees import snapshot


@dataclass
class Zeros:
    """A stream of `size` zero bytes, in the largest chunks that there are; its own only entry."""

    size: int
    kind: str = "sqlite"
    name: str = "zeros"
    expected: int = 0
    sent: int = 0

    def describe(self) -> str:
        return self.name

    def __enter__(self) -> Zeros:
        return self

    def __exit__(self, *exc: object) -> None: ...

    def entries(self, progress: Progress) -> Iterator[Zeros]:
        yield self

    @contextmanager
    def open(self) -> Iterator[Zeros]:
        yield self

    def facts(self) -> dict[str, Any]:
        return {}

    def readinto(self, buffer: memoryview, /) -> int:
        count = min(len(buffer), self.size - self.sent)
        buffer[:count] = bytes(count)
        self.sent += count
        return count


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path)
    made.create()
    return made


@pytest.fixture(autouse=True)
def short_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if four entries were many, so that a few megabytes do."""
    monkeypatch.setattr(writer, "_INLINE_ENTRIES", 4)
    monkeypatch.setattr(writer, "_LIST_ENTRIES", 3)


def test_a_file_of_many_chunks_comes_back(bench: Bench, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "large").write_bytes(os.urandom(24 << 20))
    (source / "medium").write_bytes(os.urandom(2 << 20))
    manifest = bench.backup(source).manifest
    root = manifest.roots[0]
    assert isinstance(root, FilesRoot)
    found = {node.name: node.content for node in open_reader(bench.open()).nodes(root.node.content)}
    assert (found[b"large"][0], found[b"medium"][0]) == (contents.LISTS, contents.CHUNKS)
    assert len(contents.split_ids(found[b"large"][1])) > 1
    bench.restore(manifest, "restored")
    assert snapshot(tmp_path / "restored" / str(source).lstrip("/")) == snapshot(source)
    assert not bench.check().errors


def test_only_chunks_on_their_way_are_kept(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[tuple[int, int]] = []
    settle = Writer.settle

    def watched(self: Writer, pending: PendingChunks) -> Content:
        kept.append((pending.sent, len(pending.entries)))
        return settle(self, pending)

    monkeypatch.setattr(Writer, "settle", watched)
    size = 200 << 20
    manifest = bench.backup(streams=[Zeros(size)], type="database").manifest
    ((sent, waiting),) = kept
    assert sent == size >> 22
    assert waiting < 20
    root = manifest.roots[0]
    assert isinstance(root, StreamRoot)
    digest = hashlib.sha256()
    for piece in open_reader(bench.open()).stream(root.content, root.size):
        digest.update(piece)
    assert digest.digest() == hashlib.sha256(bytes(size)).digest()


def group_of(inode: int) -> int:
    """As Node.group for device 2049."""
    return 2049 << 64 | inode


def test_a_file_with_several_names_needs_little_memory() -> None:
    count, links = 20_000, Links()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for inode in range(count):
            pending = Pending()
            pending.settle((contents.BUNDLE, b"i" * 32, inode * 4096))
            node = Node(tree.FILE, b"name", 0o644, 0, 0, 4096, inode, inode, inode, None, {"l": (2049, inode)})
            links.add(group_of(inode), node, pending)
            links.settle(node._replace(content=pending.content))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (after - before) / count < 300
    found = links.find(group_of(7))
    assert found is not None
    size, extras, again = found
    assert (size, extras, again.content) == (4096, {"l": (2049, 7)}, (contents.BUNDLE, b"i" * 32, 7 * 4096))
    assert links.find(group_of(count)) is None


def test_other_names_met_long_after_the_first(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "_WAITING_NODES", 1)
    source = tmp_path / "source"
    for name in ("a", "b", "z"):
        (source / name).mkdir(parents=True)
    for number, size in enumerate((0, 10, 300_000, 6 << 20)):
        (source / "a" / str(number)).write_bytes(os.urandom(size))
        os.setxattr(source / "a" / str(number), "user.number", b"%d" % number)
        (source / "b" / str(number)).write_bytes(b"between")
        os.link(source / "a" / str(number), source / "z" / str(number))
    bench.restore(bench.backup(source).manifest, "restored")
    restored = tmp_path / "restored" / str(source).lstrip("/")
    assert snapshot(restored) == snapshot(source)
    assert all((restored / "a" / name).samefile(restored / "z" / name) for name in "0123")

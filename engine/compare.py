"""Compares a restored folder with its restore point."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from engine import metadata
from engine.errors import TargetError
from engine.model import tree
from engine.model.manifest import FilesRoot, Manifest
from engine.model.tree import Node
from engine.progress import Progress
from engine.repository.reader import BlobReader
from engine.restore import selected

NOT_IN_BACKUP = "was not in the backup"
_READ_BYTES = 1 << 20
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


def compare_folder(
    reader: BlobReader, manifest: Manifest, target: Path, *, only: Sequence[bytes] = (), progress: Progress
) -> list[tuple[str, str]]:
    """How a restored folder differs from its restore point: (path, reason) for each difference. Reads every byte.

    Which names share one file is not compared. Raises TargetError when the folder cannot be read, Corrupt."""
    found: list[tuple[str, str]] = []
    roots = [root for root in manifest.roots if isinstance(root, FilesRoot) and selected(root.path, only)]
    progress.phase("compare", expected=sum(root.bytes for root in roots))
    for root in roots:
        above = _open_path(target, root.path)
        try:
            _Comparison(reader, only, found, progress).run(above, root)
        finally:
            os.close(above)
    return found


class _Comparison:
    """Walks a restored folder by descriptors, as deep as it is, beside the trees of its restore point."""

    def __init__(
        self, reader: BlobReader, only: Sequence[bytes], found: list[tuple[str, str]], progress: Progress
    ) -> None:
        self._reader = reader
        self._only = only
        self._found = found
        self._progress = progress

    def run(self, above: int, root: FilesRoot) -> None:
        name = root.path.rsplit(b"/", 1)[1]
        self._entry(above, root.node._replace(name=name), root.path)
        stack = [self._enter(above, name, root.node, root.path)]
        try:
            while stack:
                here, path, nodes = stack[-1]
                node = next(nodes, None)
                if node is None:
                    os.close(here)
                    stack.pop()
                    continue
                below = path + b"/" + node.name
                self._progress.checkpoint()
                if self._entry(here, node, below) and node.kind == tree.DIRECTORY:
                    stack.append(self._enter(here, node.name, node, below))
        finally:
            for here, _, _ in stack:
                os.close(here)

    def _enter(self, above: int, name: bytes, node: Node, path: bytes) -> tuple[int, bytes, Iterator[Node]]:
        here = os.open(name, _FOLDER_FLAGS, dir_fd=above)
        children = list(self._reader.nodes(node.content or b""))
        extra = {os.fsencode(found) for found in os.listdir(here)} - {child.name for child in children}
        self._found.extend((os.fsdecode(path + b"/" + found), NOT_IN_BACKUP) for found in sorted(extra))
        self._found.extend((os.fsdecode(path), reason) for reason in metadata.attribute_differences(node, here))
        return here, path, iter([child for child in children if selected(path + b"/" + child.name, self._only)])

    def _entry(self, above: int, node: Node, path: bytes) -> bool:
        """Note how one entry differs; whether it is there and of its kind."""
        try:
            status = os.stat(node.name, dir_fd=above, follow_symlinks=False)
        except FileNotFoundError:
            self._found.append((os.fsdecode(path), "is missing"))
            return False
        reasons = metadata.differences(node, status)
        same_kind = tree.kind_of(status.st_mode) == node.kind
        if same_kind and node.kind == tree.SYMLINK and os.readlink(node.name, dir_fd=above) != node.content:
            reasons.append("points elsewhere")
        if same_kind and node.kind == tree.FILE:
            reasons += self._content(above, node)
        self._found.extend((os.fsdecode(path), reason) for reason in reasons)
        self._progress.advance(items=1, read=node.size)
        return same_kind

    def _content(self, above: int, node: Node) -> list[str]:
        with open(os.open(node.name, _FILE_FLAGS, dir_fd=above), "rb", buffering=0) as file:
            reasons = metadata.attribute_differences(node, file.fileno())
            digest = hashlib.sha256()
            while piece := file.read(_READ_BYTES):
                digest.update(piece)
        stored = hashlib.sha256()
        for plain in self._reader.file(node):
            stored.update(plain)
        return reasons if digest.digest() == stored.digest() else [*reasons, "has other content"]


def _open_path(target: Path, path: bytes) -> int:
    """The folder that holds a restored root, reached step by step. Raises TargetError."""
    try:
        here = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for name in path.split(b"/")[1:-1]:
            below = os.open(name, _FOLDER_FLAGS, dir_fd=here)
            os.close(here)
            here = below
    except OSError as error:
        raise TargetError(f"{target} cannot be compared: {os.strerror(error.errno or 0).lower()}.") from error
    return here

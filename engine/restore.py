"""Restoring: a restore point, or a part of it, → a new folder or a new database. Nothing that exists is touched."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from engine.errors import NotFound, UnsafePath
from engine.model import tree
from engine.model.manifest import FilesRoot, Manifest
from engine.model.tree import Node
from engine.pieces import PiecePlan
from engine.progress import Progress
from engine.repository.reader import BlobReader
from engine.targets.base import Restored
from engine.targets.directory import DirectoryTarget, Folder, OpenFile

# Directories that are finished but still open, and files that wait, before a batch is written.
_BATCH_FOLDERS, _BATCH_FILES = 200, 8_000
_OPEN_ANCESTORS = 128
_PLAIN_FOLDER_MODE = 0o755


@dataclass
class _Batch:
    """What waits for the plan to be carried out."""

    left: list[Folder] = field(default_factory=list)
    links: list[tuple[bytes, Node, Folder]] = field(default_factory=list)
    files: int = 0


class _FolderRestorer:
    """Walks trees of a restore point and gives what is selected to the target."""

    def __init__(self, reader: BlobReader, target: DirectoryTarget, only: Sequence[bytes], progress: Progress) -> None:
        self._reader = reader
        self._target = target
        self._only = only
        self._progress = progress
        self._plan = PiecePlan(reader, target, progress)
        self._batch = _Batch()
        self._first_names: dict[int, bytes] = {}

    def restore(self, root: FilesRoot) -> None:
        above: list[Folder] = []
        path = b""
        *parents, last = _safe_parts(root.path)
        for name in parents:
            path += b"/" + name
            if not self._push(above, _plain_folder(name, root.node), path):
                break
        else:
            self._descend(above, root.node._replace(name=last), root.path)
        while above:
            self._leave(above.pop())
        self.flush()

    def flush(self) -> None:
        """Everything that was walked so far is written."""
        self._plan.run()
        batch, self._batch = self._batch, _Batch()
        for first, node, folder in batch.links:
            self._target.link(first, node, folder)
        for folder in batch.left:
            self._target.leave(folder)

    def _descend(self, above: list[Folder], node: Node, path: bytes) -> None:
        """A directory and all selected below it, without recursion: trees may be a thousand levels deep."""
        base = len(above)
        if not self._push(above, node, path):
            return
        nodes = [self._reader.nodes(node.content or b"")]
        while nodes:
            folder = above[-1]
            child = next(nodes[-1], None)
            if child is None:
                nodes.pop()
                self._leave(above.pop())
                continue
            child_path = folder.path + b"/" + child.name
            if not selected(child_path, self._only):
                continue
            self._progress.checkpoint()
            if child.kind != tree.DIRECTORY:
                self._add(child, folder)
            elif self._push(above, child, child_path):
                nodes.append(self._reader.nodes(child.content or b""))
        assert len(above) == base

    def _push(self, above: list[Folder], node: Node, path: bytes) -> bool:
        folder = self._target.enter(node, above[-1] if above else None, path)
        if folder is not None:
            above.append(folder)
        return folder is not None

    def _add(self, node: Node, folder: Folder) -> None:
        if node.kind != tree.FILE:
            self._target.make(node, folder)
            return
        group = node.group
        if group in self._first_names:
            self._batch.links.append((self._first_names[group], node, folder))
            return
        file = OpenFile(node, folder, node.size - sum(length for _, length in node.holes))
        if group is not None:
            self._first_names[group] = file.path
        self._plan.add(file)
        self._batch.files += 1
        if self._plan.is_full or self._batch.files >= _BATCH_FILES:
            self.flush()

    def _leave(self, folder: Folder) -> None:
        self._batch.left.append(folder)
        if len(self._batch.left) >= _BATCH_FOLDERS:
            self.flush()


def restore_folders(
    reader: BlobReader,
    manifest: Manifest,
    target: DirectoryTarget,
    *,
    only: Sequence[bytes] = (),
    progress: Progress,
) -> Restored:
    """Restore the folders of a restore point below the target, each at its own path; with `only` just these paths.

    Raises NotFound for a path that is not there, TargetError, UnsafePath, Corrupt, Cancelled."""
    roots = [root for root in manifest.roots if isinstance(root, FilesRoot)]
    for path in only:
        find(reader, manifest, path)
    wanted = [root for root in roots if selected(root.path, only)]
    for root in wanted:
        _safe_parts(root.path)
    progress.phase("restore", expected=sum(root.bytes for root in wanted))
    target.open()
    try:
        restorer = _FolderRestorer(reader, target, only, progress)
        for root in wanted:
            restorer.restore(root)
    finally:
        target.close()
    return target.restored


def find(reader: BlobReader, manifest: Manifest, path: bytes) -> Node:
    """The node at an absolute path as it was at the source. Raises NotFound."""
    for root in manifest.roots:
        if isinstance(root, FilesRoot) and (path + b"/").startswith(root.path.rstrip(b"/") + b"/"):
            node = _descend(reader, root.node, path[len(root.path) :])
            if node is not None:
                return node
    raise NotFound(f"{os.fsdecode(path)} is not in this restore point.")


def _descend(reader: BlobReader, node: Node, path: bytes) -> Node | None:
    for name in filter(None, path.split(b"/")):
        children = reader.nodes(node.content or b"") if node.kind == tree.DIRECTORY else iter(())
        below = next((child for child in children if child.name == name), None)
        if below is None:
            return None
        node = below
    return node


def walk(reader: BlobReader, root: FilesRoot) -> Iterator[tuple[bytes, Node]]:
    """Every entry below a folder with its absolute path, a directory before what is in it."""
    stack = [(root.path, reader.nodes(root.node.content or b""))]
    while stack:
        path, nodes = stack[-1]
        node = next(nodes, None)
        if node is None:
            stack.pop()
            continue
        below = path + b"/" + node.name
        yield below, node
        if node.kind == tree.DIRECTORY:
            stack.append((below, reader.nodes(node.content or b"")))


def selected(path: bytes, only: Sequence[bytes]) -> bool:
    """Whether a path is wanted: it is one of `only`, lies below one, or leads to one."""
    if not only:
        return True
    return any(
        path == wanted or path.startswith(wanted.rstrip(b"/") + b"/") or wanted.startswith(path.rstrip(b"/") + b"/")
        for wanted in only
    )


def _safe_parts(path: bytes) -> list[bytes]:
    """The components of a folder's path at the source. Raises UnsafePath for one that could lead elsewhere."""
    parts = [part for part in path.split(b"/") if part]
    if not parts or any(part in (b".", b"..") or b"\0" in part for part in parts):
        raise UnsafePath(f"The stored path {os.fsdecode(path)!r} is not safe to restore.")
    return parts


def _plain_folder(name: bytes, like: Node) -> Node:
    """A directory above a restored folder, of which nothing is known but its name."""
    return like._replace(name=name, mode=_PLAIN_FOLDER_MODE, content=b"", extras=None)

"""Compares a restored folder with its restore point."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from engine import metadata
from engine.model import tree
from engine.model.manifest import FilesRoot, Manifest
from engine.model.tree import Node
from engine.progress import Progress
from engine.repository.reader import BlobReader
from engine.restore import selected

_READ_BYTES = 1 << 20


def compare_folder(
    reader: BlobReader, manifest: Manifest, target: Path, *, only: Sequence[bytes] = (), progress: Progress
) -> list[tuple[str, str]]:
    """How a restored folder differs from its restore point: (path, reason) for each entry. Reads every byte of both."""
    found: list[tuple[str, str]] = []
    roots = [root for root in manifest.roots if isinstance(root, FilesRoot) and selected(root.path, only)]
    progress.phase("compare", expected=sum(root.bytes for root in roots))
    for root in roots:
        stack = [(root.path, root.node)]
        while stack:
            path, node = stack.pop()
            progress.checkpoint()
            here = os.fsencode(target) + path
            reason = _compare_entry(reader, node, here)
            if reason:
                found.append((os.fsdecode(path), reason))
            elif node.kind == tree.DIRECTORY:
                children = list(reader.nodes(node.content or b""))
                wanted = [c for c in children if selected(path + b"/" + c.name, only)]
                stack.extend((path + b"/" + child.name, child) for child in wanted)
                extra = set(os.listdir(here)) - {child.name for child in children}
                found.extend((os.fsdecode(path + b"/" + name), "was not in the backup") for name in sorted(extra))
            progress.advance(items=1, read=node.size)
    return found


def _compare_entry(reader: BlobReader, node: Node, path: bytes) -> str:
    try:
        status = os.lstat(path)
        if differing := metadata.differences(node, status):
            return ", ".join(differing)
        if node.kind == tree.SYMLINK and os.readlink(path) != node.content:
            return "points elsewhere"
        if node.kind == tree.FILE and _hash_file(path) != _hash_stored(reader, node):
            return "has other content"
    except FileNotFoundError:
        return "is missing"
    return ""


def _hash_file(path: bytes) -> bytes:
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while piece := file.read(_READ_BYTES):
            digest.update(piece)
    return digest.digest()


def _hash_stored(reader: BlobReader, node: Node) -> bytes:
    digest = hashlib.sha256()
    for piece in reader.file(node):
        digest.update(piece)
    return digest.digest()

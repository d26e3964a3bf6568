"""Compares restore points with each other, and a restored folder with its restore point."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from engine import metadata
from engine.model import tree
from engine.model.manifest import FilesRoot, Manifest, StreamRoot
from engine.model.tree import Node
from engine.progress import Progress
from engine.repository.reader import BlobReader
from engine.restore import selected

ADDED, REMOVED, CHANGED, METADATA = "added", "removed", "changed", "metadata"
_READ_BYTES = 1 << 20


class Change(NamedTuple):
    """One difference: `what` is added, removed, changed or metadata."""

    what: str
    path: str


class _Side(NamedTuple):
    reader: BlobReader
    ids: bytes


def compare_points(before: tuple[BlobReader, Manifest], after: tuple[BlobReader, Manifest]) -> Iterator[Change]:
    """What changed from one restore point to the other; equal directories are not even read."""
    olds = {_name(root): root for root in before[1].roots}
    news = {_name(root): root for root in after[1].roots}
    for name in sorted(olds.keys() | news.keys()):
        old, new = olds.get(name), news.get(name)
        if old is None or new is None:
            yield Change(ADDED if old is None else REMOVED, name)
        elif isinstance(old, FilesRoot) and isinstance(new, FilesRoot):
            sides = _Side(before[0], old.node.content or b""), _Side(after[0], new.node.content or b"")
            yield from _compare_trees(*sides, name)
        elif isinstance(old, StreamRoot) and isinstance(new, StreamRoot):
            yield from _compare_tables(old, new)


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


def _compare_trees(old: _Side, new: _Side, path: str) -> Iterator[Change]:
    if old.ids == new.ids:
        return
    before = {node.name: node for node in old.reader.nodes(old.ids)}
    after = {node.name: node for node in new.reader.nodes(new.ids)}
    for name in sorted(before.keys() | after.keys()):
        here = f"{path}/{os.fsdecode(name)}"
        was, now = before.get(name), after.get(name)
        if was is None or now is None:
            yield Change(ADDED if was is None else REMOVED, here)
            continue
        if was.kind == now.kind == tree.DIRECTORY:
            if _without_content(was) != _without_content(now):
                yield Change(METADATA, here)
            yield from _compare_trees(_Side(old.reader, was.content), _Side(new.reader, now.content), here)
        elif (was.kind, was.size, was.content, was.mtime) != (now.kind, now.size, now.content, now.mtime):
            yield Change(CHANGED, here)
        elif was.mode != now.mode or was.uid != now.uid or was.gid != now.gid:
            yield Change(METADATA, here)


def _without_content(node: Node) -> Node:
    return node._replace(content=None, mtime=0, ctime=0, inode=0)


def _compare_tables(old: StreamRoot, new: StreamRoot) -> Iterator[Change]:
    if old.content == new.content:
        return
    before = {(table["schema"], table["name"]): table for table in old.facts.get("tables", ())}
    after = {(table["schema"], table["name"]): table for table in new.facts.get("tables", ())}
    for key in sorted(before.keys() | after.keys()):
        here = f"{new.name}:{key[0]}.{key[1]}"
        if key not in before or key not in after:
            yield Change(ADDED if key not in before else REMOVED, here)
        elif before[key]["rows"] != after[key]["rows"] or before[key]["length"] != after[key]["length"]:
            yield Change(CHANGED, f"{here} ({before[key]['rows']} → {after[key]['rows']} rows)")


def _name(root: FilesRoot | StreamRoot) -> str:
    return os.fsdecode(root.path) if isinstance(root, FilesRoot) else f"{root.kind}:{root.name}"

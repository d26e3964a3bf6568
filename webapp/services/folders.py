"""Folders of a restore point as people look at them: each entry beside what it was at the point before, the versions
of one file over many points, and names that fit a pattern. Only reads."""

from __future__ import annotations

import fnmatch
import itertools
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import raiseload

from engine.errors import EngineError
from engine.model import tree
from engine.model.manifest import FilesRoot
from engine.model.tree import Node
from engine.restore import walk
from webapp.errors import NotFound, ServiceError
from webapp.installation import Installation
from webapp.models import Backup, BackupCopy
from webapp.models.backup import DAMAGED, PRESENT
from webapp.services import browsing, differences
from webapp.services.browsing import Entry, Point
from webapp.services.keyrings import Tell

NEW, REMOVED, CHANGED, METADATA = differences.WHATS
_SCANNED = 200_000


@dataclass(frozen=True)
class Line:
    """An entry; `change` against the point before: one of the words above, "" when it stayed, None when there is none
    to compare with. Of a removed one the entry is what it was."""

    entry: Entry
    change: str | None


@dataclass(frozen=True)
class Version:
    """A file as it was in `points` restore points one after another, the newest of which is `backup`; no entry: it was
    not there."""

    backup: Backup
    entry: Entry | None
    points: int


def previous(installation: Installation, backup: Backup) -> Backup | None:
    """The restore point before this one that can be read."""
    return next(iter(_before(installation, backup, including=False, limit=1)), None)


def lines(point: Point, before: Point | None, path: str, *, only_changed: bool = False) -> Iterator[Line]:
    """What a folder holds, by name, with what is gone since the point before. Raises NotFound, Corrupt."""
    here = browsing.place(point, path)
    if here is None or here[1].kind != tree.DIRECTORY:
        yield from (Line(entry, None) for entry in browsing.entries(point, path))
        return
    root, node = here
    now = point.reader.nodes(node.content or b"")
    if before is None:
        yield from (Line(browsing.entry_of(root, each), None) for each in now)
        return
    for was, is_now in differences.joined(_nodes(before, path), now):
        change = differences.at_a_glance(was, is_now)
        shown = is_now or was
        if shown is not None and (change or not only_changed):
            yield Line(browsing.entry_of(root, shown), change)


def versions(
    installation: Installation, point: Point, path: str, *, limit: int, tell: Tell
) -> tuple[tuple[Version, ...], int]:
    """What a path was in this restore point and the `limit` before it, newest first, equal neighbours as one; and how
    many of these restore points could not be read."""
    found: list[tuple[Backup, FilesRoot | None, Node | None]] = []
    unread = 0
    for backup in _before(installation, point.backup, including=True, limit=limit):
        try:
            beside = browsing.beside(installation, backup, point, tell=tell)
            try:
                here = _place(beside, path)
            finally:
                if beside.reader is not point.reader:
                    beside.close()
        except (EngineError, ServiceError):
            unread += 1
            continue
        found.append((backup, here[0] if here else None, here[1] if here else None))
    grouped = itertools.groupby(found, key=lambda each: _identity(each[2]))
    return tuple(_version(list(group)) for _, group in grouped), unread


def search(point: Point, pattern: str) -> Iterator[tuple[str, Entry]]:
    """Entries whose name fits `pattern`: with * or ? as a pattern, else as a part of the name, without regard to case.
    Ends after 200,000 entries, with the path "" and the last entry, to say so."""
    wanted = pattern.casefold()
    if not set(wanted) & set("*?["):
        wanted = f"*{wanted}*"
    seen = 0
    for root in point.folders:
        if root.node.kind != tree.DIRECTORY:
            continue
        for path, node in walk(point.reader, root):
            seen += 1
            if seen > _SCANNED:
                yield "", browsing.entry_of(root, node)
                return
            if fnmatch.fnmatchcase(os.fsdecode(node.name).casefold(), wanted):
                yield os.fsdecode(path), browsing.entry_of(root, node)


def _before(installation: Installation, backup: Backup, *, including: bool, limit: int) -> list[Backup]:
    last = backup.sequence if including else backup.sequence - 1
    readable = select(BackupCopy.id).where(
        BackupCopy.backup_id == Backup.id, BackupCopy.state.in_((PRESENT, DAMAGED)), BackupCopy.trashed_at.is_(None)
    )
    query = (
        select(Backup)
        .where(Backup.config_id == backup.config_id, Backup.sequence <= last, Backup.deleted_at.is_(None))
        .where(readable.exists() | (Backup.id == backup.id))
        .order_by(Backup.sequence.desc())
        .limit(limit)
        .options(raiseload(Backup.hold))
    )
    with installation.database.reading() as session:
        return list(session.scalars(query))


def _place(point: Point, path: str) -> tuple[FilesRoot, Node] | None:
    with suppress(NotFound):
        return browsing.place(point, path)
    return None


def _nodes(point: Point, path: str) -> Iterator[Node]:
    """What the folder held; nothing when it was not there."""
    here = _place(point, path)
    if here is None or here[1].kind != tree.DIRECTORY:
        return iter(())
    return point.reader.nodes(here[1].content or b"")


def _identity(node: Node | None) -> Any:
    return None if node is None else (node.kind, node.content, node.size, node.mtime, node.mode)


def _version(group: list[tuple[Backup, FilesRoot | None, Node | None]]) -> Version:
    backup, root, node = group[0]
    entry = browsing.entry_of(root, node) if root is not None and node is not None else None
    return Version(backup, entry, len(group))

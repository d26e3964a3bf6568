"""Refuses backups that are most likely mistakes, before they can push out good ones."""

from __future__ import annotations

import os
from collections.abc import Sequence

from engine.errors import SourceError
from engine.model.manifest import Manifest, StreamRoot
from engine.sources.files import FilesSource


def refuse_overlaps(folders: Sequence[FilesSource]) -> None:
    """A folder that is stored twice could not be restored into one place. Raises SourceError."""
    seen: list[bytes] = []
    for folder in folders:
        real = os.path.realpath(folder.root).rstrip(b"/") + b"/"
        if real == b"/":
            raise SourceError("The whole file system is no folder to back up.", hint="Name the folders that matter.")
        for other in seen:
            if real.startswith(other) or other.startswith(real):
                raise SourceError(
                    f"The folders {os.fsdecode(other.rstrip(b'/'))} and {folder.describe()} overlap.",
                    hint="Name only the outer one.",
                )
        seen.append(real)


def refuse_sudden_emptiness(root: StreamRoot, last: Manifest | None) -> None:
    """A database that had tables and has none now is more likely the wrong one than emptied on purpose.

    Raises SourceError."""
    before = next(
        (one for one in (last.roots if last else ()) if isinstance(one, StreamRoot) and one.name == root.name), None
    )
    if before is not None and before.facts.get("tables") and not root.facts.get("tables"):
        raise SourceError(
            f"The database {root.name} suddenly has no tables; it had {len(before.facts['tables'])} before.",
            hint="Is it the right server? If it is meant to be empty, remove it from the configuration.",
        )

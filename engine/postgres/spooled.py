"""A dump as a file for `pg_restore --jobs`, which must be able to seek.

pg_dump does not know where data lies when it writes into a pipe; the backup recorded it, so it is filled in here and
every job of pg_restore finds its table at once instead of reading the whole file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from engine.errors import TargetError
from engine.postgres.toc import Toc, TocParser

# How pg_dump marks the place of an entry's data (pg_backup_archiver.h, K_OFFSET_POS_SET).
_PLACE_IS_SET = 2


def spool(
    chunks: Iterable[bytes],
    path: Path,
    *,
    facts: dict[str, Any],
    ranges: tuple[tuple[int, int], ...],
    look: Callable[[], None],
) -> None:
    """Write the stream, of which `ranges` (offset, length) are given, to the new file `path`. Raises TargetError."""
    parser = TocParser()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            for chunk in chunks:
                look()
                if parser.toc is None:
                    parser.feed(chunk)
                file.write(chunk)
            if parser.toc is not None:
                for position, place in _places(parser.toc, facts, ranges):
                    file.seek(position)
                    file.write(bytes([_PLACE_IS_SET]) + place.to_bytes(parser.toc.header.offset_bytes, "little"))
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise TargetError(
            f"The scratch folder {path.parent} cannot hold the dump for a restore by several jobs: {reason}.",
            hint="Free some space there, or restore with one job, which needs none.",
        ) from error


def require_room(folder: Path, needed: int) -> None:
    """Raises TargetError unless `needed` bytes fit into the file system of `folder`."""
    status = os.statvfs(folder)
    free = status.f_bavail * status.f_frsize
    if free < needed:
        raise TargetError(
            f"A restore by several jobs needs {needed} bytes in the scratch folder {folder}; {free} are free.",
            hint="Free some space there, or restore with one job, which needs none.",
        )


def _places(toc: Toc, facts: dict[str, Any], ranges: tuple[tuple[int, int], ...]) -> list[tuple[int, int]]:
    """(position of the field in the contents, place of the data in the file) of every table that the file holds."""
    starts, position = [], 0
    for offset, length in ranges:
        starts.append((offset, offset + length, position))
        position += length
    fields = {entry.id: entry.place_field for entry in toc.entries}
    found = []
    for table in facts["tables"]:
        for start, end, position in starts:
            if start <= table["offset"] < end and table["id"] in fields:
                found.append((fields[table["id"]], position + table["offset"] - start))
    return found

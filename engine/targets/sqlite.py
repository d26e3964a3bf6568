"""Restores a SQLite database into a new file, checks it, and counts its rows."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from engine.errors import Different, TargetError, UnsafePath
from engine.ids import random_bytes


def restore_sqlite(chunks: Iterator[bytes], target: Path, facts: Mapping[str, Any]) -> int:
    """Write the database to `target`, which must not exist, compare it with what was recorded, and give it the mode
    (and, for root, the owner) that it had.

    Returns the number of rows compared. The file appears only when it was found right. Raises TargetError."""
    if target.exists():
        raise TargetError(f"{target} exists already.", hint="Restore into a new file.")
    partial = target.with_name(f".{target.name}.{random_bytes(4).hex()}")
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        rows = _compare(partial, facts)
        _give_attributes(partial, facts)
        os.link(partial, target)
    except OSError as error:
        raise TargetError(f"{target} cannot be written: {os.strerror(error.errno or 0).lower()}.") from error
    finally:
        partial.unlink(missing_ok=True)
    return rows


def place_below(folder: Path, name: str) -> Path:
    """Where the database that was at the absolute path `name` lands below a folder. Raises UnsafePath."""
    parts = [part for part in name.split("/") if part]
    if not name.startswith("/") or not parts or any(part in (".", "..") or "\0" in part for part in parts):
        raise UnsafePath(f"The stored path {name!r} is not safe to restore.")
    return folder.joinpath(*parts)


def _give_attributes(path: Path, facts: Mapping[str, Any]) -> None:
    """Points of older versions have no mode and owner: then it is private to whoever restores."""
    if "mode" not in facts:
        return
    if os.geteuid() == 0:  # only root can give files away
        os.chown(path, facts["uid"], facts["gid"])
    path.chmod(facts["mode"] & 0o777)


def _compare(path: Path, facts: Mapping[str, Any]) -> int:
    expected = {table["name"]: table["rows"] for table in facts["tables"]}
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as database:
            result = database.execute("PRAGMA quick_check(1)").fetchone()[0]
            if result != "ok":
                raise TargetError(f"The restored SQLite database is damaged: {result}.")
            for name, rows in expected.items():
                quoted = '"' + name.replace('"', '""') + '"'
                found = database.execute(f"SELECT count(*) FROM {quoted}").fetchone()[0]
                if found != rows:
                    raise Different(f"The restored table {name} has {found} rows; the backup recorded {rows}.")
    except sqlite3.Error as error:
        raise TargetError(f"The restored SQLite database cannot be read: {error}.") from error
    return sum(expected.values())

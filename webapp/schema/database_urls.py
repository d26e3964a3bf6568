"""URLs of databases to back up: which kinds there are, what a SQLite URL names, and what only PostgreSQL has."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

POSTGRES = ("postgresql://", "postgres://")
SQLITE = "sqlite://"
NEEDED = "postgresql:// or sqlite:///"
ONLY_POSTGRES = ("excludeTables", "excludeTableData", "sslmode", "sslrootcert")
# What SQLite itself keeps beside a database while it is in use.
_BESIDE = ("-wal", "-shm", "-journal")


def is_sqlite(url: str) -> bool:
    """Whether the URL is meant to name a SQLite database."""
    return url.startswith(SQLITE)


def is_known(url: str) -> bool:
    """Whether the URL is of a kind that can be backed up."""
    return url.startswith((*POSTGRES, SQLITE))


def sqlite_path(url: str) -> Path:
    """The file that `sqlite:///relative` or `sqlite:////absolute` names. Raises ValueError with a sentence."""
    parts = urlsplit(url)
    path = unquote(parts.path)[1:]
    if parts.netloc or parts.query or parts.fragment or not path or "\0" in path:
        raise ValueError(
            "does not name a SQLite database: write sqlite:////absolute/path or sqlite:///path; "
            "in the path ? is written %3F and # is written %23."
        )
    return Path(path)


def sqlite_url(path: Path) -> str:
    """The URL of an absolute path."""
    return f"{SQLITE}/{quote(os.fsencode(path))}"


def sqlite_files(path: Path) -> tuple[Path, ...]:
    """The database's file and those that SQLite keeps beside it."""
    return (path, *(path.with_name(path.name + ending) for ending in _BESIDE))


def misplaced(item: Mapping[str, Any]) -> list[str]:
    """The keys of a SQLite source that mean something for PostgreSQL only."""
    return [key for key in ONLY_POSTGRES if item.get(key)]

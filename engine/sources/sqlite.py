"""SQLite databases as streams: a consistent copy by SQLite's own backup interface, checked, then streamed.

A live file that is merely copied is not consistent (sqlite.org/backup.html); this is, while others write to it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from engine.errors import SourceError
from engine.ids import random_bytes
from engine.model.stream import Reader
from engine.progress import Progress

KIND = "sqlite"
SCHEME = "sqlite"
# Pages copied between two looks at whether to stop; at 4 KiB a page about 8 MiB.
_PAGES = 2048
_BUSY_SECONDS = 30


@dataclass(frozen=True)
class Config:
    """Settings of a SQLite database to back up."""

    url: str = field(metadata={"help": "sqlite:////absolute/path/of/the/file"})


def path_of(url: str) -> Path:
    """The file that a `sqlite:///path` URL names. Raises SourceError."""
    parts = urlsplit(url)
    path = unquote(parts.path)[1:]
    if parts.scheme != SCHEME or parts.netloc or not path or parts.query:
        raise SourceError("A SQLite database is named by sqlite:////absolute/path.", hint="Four slashes in all.")
    return Path(path)


class SqliteSource:
    """One database file. `scratch` is an existing private folder with room for a copy of it."""

    def __init__(self, config: Config, *, scratch: Path) -> None:
        """Raises SourceError for a URL that names no file."""
        self.path = path_of(config.url).absolute()
        self._scratch = scratch
        self._copy: Path | None = None

    def describe(self) -> str:
        """The file's path."""
        return str(self.path)

    def probe(self) -> None:
        """Raises SourceError when it is not a readable SQLite database."""
        with _errors_in_words(self.path), closing(self._connect()) as live:
            live.execute("PRAGMA schema_version").fetchone()

    def __enter__(self) -> SqliteSource:
        """Takes the consistent copy. Raises SourceError."""
        copy = self._scratch / f"{random_bytes(8).hex()}.sqlite"
        try:
            with _errors_in_words(self.path):
                with closing(self._connect()) as live, closing(sqlite3.connect(copy)) as other:
                    live.backup(other, pages=_PAGES)
                with closing(sqlite3.connect(copy)) as other:
                    result = other.execute("PRAGMA quick_check(1)").fetchone()[0]
                if result != "ok":
                    raise SourceError(f"The SQLite database {self.path} is damaged: {result}.")
        except BaseException:
            copy.unlink(missing_ok=True)
            raise
        self._copy = copy
        return self

    def __exit__(self, *exc: object) -> None:
        if self._copy is not None:
            self._copy.unlink(missing_ok=True)
            self._copy = None

    def entries(self, progress: Progress) -> Iterator[SqliteEntry]:
        """The one stream."""
        assert self._copy is not None, "entries are there only inside of the source's with block"
        yield SqliteEntry(self.path, self._copy)

    def _connect(self) -> sqlite3.Connection:
        if not self.path.is_file():
            raise SourceError(f"The SQLite database {self.path} does not exist.", hint="Is its disk mounted?")
        return sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True, timeout=_BUSY_SECONDS)


class SqliteEntry:
    """The checked copy as a stream."""

    kind = KIND

    def __init__(self, path: Path, copy: Path) -> None:
        self.name = str(path)
        self.expected = copy.stat().st_size
        self._copy = copy

    @contextmanager
    def open(self) -> Iterator[Reader]:
        """The copy's bytes."""
        with open(self._copy, "rb", buffering=0) as file:
            yield _File(file.fileno())

    def facts(self) -> dict[str, Any]:
        """Tables with exact rows, counted in the copy."""
        with closing(sqlite3.connect(self._copy)) as copy:
            return {"format": "sqlite-file", "sqliteVersion": sqlite3.sqlite_version, "tables": count_rows(copy)}


class _File:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def readinto(self, buffer: memoryview, /) -> int:
        return os.readv(self._descriptor, [buffer])


def count_rows(database: sqlite3.Connection) -> list[dict[str, Any]]:
    """Each ordinary table with its number of rows."""
    names = database.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").fetchall()
    found = []
    for (name,) in names:
        quoted = '"' + name.replace('"', '""') + '"'
        try:
            rows = database.execute(f"SELECT count(*) FROM {quoted}").fetchone()[0]
        except sqlite3.OperationalError:
            continue  # a virtual table whose module is not here; its data lies in tables that are counted
        found.append({"schema": "main", "name": name, "rows": rows})
    return found


@contextmanager
def _errors_in_words(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise SourceError(f"The SQLite database {path} cannot be read: {error}.") from error

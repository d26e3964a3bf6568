"""SQLite databases as streams: a consistent copy by SQLite's own backup interface, checked, then streamed.

A live file that is merely copied is not consistent (sqlite.org/backup.html); this is, while others write to it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
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
# How long another program may keep the database locked.
_BUSY_SECONDS = 30
# One wait of SQLite for that, between two looks at whether to stop.
_WAIT_SECONDS = 0.5
# What SQLite says, and what to do about it.
_HINTS = (
    ("not a database", "Is it the right file? An encrypted database cannot be backed up as a database."),
    ("readonly", "Whoever backs a database in WAL mode up must be able to write in its folder."),
    ("unable to open", "Whoever backs a database in WAL mode up must be able to write in its folder."),
    ("is full", "Free some space for the copy in HOLDFAST_HOME/spool."),
    ("locked", "Another program keeps it locked: back it up when its transaction has ended."),
)


@dataclass(frozen=True)
class Config:
    """Settings of a SQLite database to back up."""

    url: str = field(metadata={"help": "sqlite:////absolute/path/of/the/file"})


@dataclass(frozen=True)
class Probe:
    """What a test of the source found out; `size` is in bytes."""

    version: str
    tables: int
    size: int


def path_of(url: str) -> Path:
    """The file that a `sqlite:///path` URL names. Raises SourceError."""
    parts = urlsplit(url)
    path = unquote(parts.path)[1:]
    if parts.scheme != SCHEME or parts.netloc or not path or parts.query or parts.fragment:
        raise SourceError("A SQLite database is named by sqlite:////absolute/path.", hint="Four slashes in all.")
    return Path(path)


class SqliteSource:
    """One database file. `scratch` is an existing private folder with room for a copy of it; `look` is called while
    it is copied and raises what shall stop that."""

    def __init__(self, config: Config, *, scratch: Path, look: Callable[[], None] = lambda: None) -> None:
        """Raises SourceError for a URL that names no file."""
        # The real path: a restore puts the file below a folder and must meet no link on its way there.
        self.path = Path(os.path.realpath(path_of(config.url)))
        self._scratch = scratch
        self._look = look
        self._copy: Path | None = None
        self._facts: dict[str, Any] = {}

    def describe(self) -> str:
        """The file's path."""
        return str(self.path)

    def probe(self) -> Probe:
        """Raises SourceError when it is not a readable SQLite database, or another program keeps it locked."""
        with _errors_in_words(self.path), closing(self._connect()) as live:
            self._hold(live)
            pages, size = (live.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
            return Probe(sqlite3.sqlite_version, len(table_names(live)), pages * size)

    def __enter__(self) -> SqliteSource:
        """Takes the consistent copy. Raises SourceError."""
        copy = self._scratch / f"{random_bytes(8).hex()}.sqlite"
        try:
            with _errors_in_words(self.path):
                self._take(copy)
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
        yield SqliteEntry(self.path, self._copy, self._facts)

    def _take(self, copy: Path) -> None:
        with closing(self._connect()) as live, closing(sqlite3.connect(copy)) as other:
            self._refuse_little_room()
            status = self.path.stat()
            self._facts = {"mode": stat.S_IMODE(status.st_mode), "uid": status.st_uid, "gid": status.st_gid}
            self._hold(live)
            live.backup(other, pages=_PAGES, progress=lambda *progress: self._look())

    def _hold(self, live: sqlite3.Connection) -> None:
        """Begins to read, which pins what is seen: else the copy begins anew whenever another program has written, and
        beside a busy one it never ends."""
        until = time.monotonic() + _BUSY_SECONDS
        live.execute("BEGIN")
        while True:
            try:
                live.execute("SELECT count(*) FROM sqlite_schema").fetchone()
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
            self._look()

    def _refuse_little_room(self) -> None:
        needed, free = self.path.stat().st_size, shutil.disk_usage(self._scratch).free
        if free < needed:
            raise SourceError(
                f"A copy of the SQLite database {self.path} needs {needed} bytes in {self._scratch.parent}; "
                f"{free} are free.",
                hint="Free some space there.",
            )

    def _connect(self) -> sqlite3.Connection:
        try:
            status = self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            raise SourceError(f"The SQLite database {self.path} does not exist.", hint="Is its disk mounted?") from None
        except OSError as error:
            raise SourceError(f"The SQLite database {self.path} cannot be read: {error.strerror}.") from error
        if not stat.S_ISREG(status.st_mode):
            raise SourceError(f"{self.path} is not a file.", hint="Name the file of a SQLite database.")
        return sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True, timeout=_WAIT_SECONDS)


class SqliteEntry:
    """The checked copy as a stream."""

    kind = KIND

    def __init__(self, path: Path, copy: Path, facts: dict[str, Any]) -> None:
        self.name = str(path)
        self.expected = copy.stat().st_size
        self._copy = copy
        self._facts = facts

    @contextmanager
    def open(self) -> Iterator[Reader]:
        """The copy's bytes."""
        with open(self._copy, "rb", buffering=0) as file:
            yield _File(file.fileno())

    def facts(self) -> dict[str, Any]:
        """Tables with exact rows, counted in the copy; mode and owner of the file."""
        with closing(sqlite3.connect(self._copy)) as copy:
            tables = count_rows(copy)
        return {"format": "sqlite-file", "sqliteVersion": sqlite3.sqlite_version, "tables": tables, **self._facts}


class _File:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def readinto(self, buffer: memoryview, /) -> int:
        return os.readv(self._descriptor, [buffer])


def table_names(database: sqlite3.Connection) -> list[str]:
    """The names of all tables."""
    return [name for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]


def count_rows(database: sqlite3.Connection) -> list[dict[str, Any]]:
    """Each ordinary table with its number of rows."""
    found = []
    for name in table_names(database):
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
        words = str(error)
        hint = next((hint for part, hint in _HINTS if part in words), "")
        raise SourceError(f"The SQLite database {path} cannot be read: {words}.", hint=hint) from error

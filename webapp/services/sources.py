"""A resolved configuration's sources as the engine reads them."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

from engine.sources import files
from engine.sources.files import FilesSource
from webapp.schema import database_urls
from webapp.schema.resolve import DatabaseSource, FolderSource
from webapp.settings import Settings

if TYPE_CHECKING:
    from engine.sources.postgres import PostgresSource
    from engine.sources.sqlite import SqliteSource


def folder(source: FolderSource, *, skip: Collection[Path]) -> FilesSource:
    """One folder, without the folders in `skip`, and without the live files of SQLite databases of the same run."""
    real = (Path(os.path.realpath(path)) for path in source.sqlite)
    return FilesSource(
        files.Config(
            path=str(source.path),
            exclude=source.exclude,
            exclude_file=None if source.exclude_file is None else str(source.exclude_file),
            one_file_system=source.one_file_system,
        ),
        skip=skip,
        elsewhere=[file for path in real for file in database_urls.sqlite_files(path)],
    )


def database(
    source: DatabaseSource, settings: Settings, *, scratch: Path, look: Callable[[], None] = lambda: None
) -> PostgresSource | SqliteSource:
    """One database or server; `scratch` is an existing private folder, `look` raises what shall stop the copy of a
    SQLite database. Raises SourceError for an impossible URL."""
    if source.sqlite_path is not None:
        return _sqlite(source, scratch, look)
    return _postgres(source, settings, scratch)


def _sqlite(source: DatabaseSource, scratch: Path, look: Callable[[], None]) -> SqliteSource:
    from engine.sources import sqlite as engine

    return engine.SqliteSource(engine.Config(source.url), scratch=scratch, look=look)


def _postgres(source: DatabaseSource, settings: Settings, scratch: Path) -> PostgresSource:
    from engine.sources import postgres as engine

    return engine.PostgresSource(
        engine.Config(
            url=source.url,
            sslmode=source.sslmode or "",
            sslrootcert="" if source.sslrootcert is None else str(source.sslrootcert),
            exclude_tables=source.exclude_tables,
            exclude_table_data=source.exclude_table_data,
        ),
        scratch=scratch,
        path=settings.environment.get("PATH", ""),
        pg_bin=settings.pg_bin,
    )

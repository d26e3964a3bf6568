"""A resolved configuration's sources as the engine reads them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from engine.sources import files
from engine.sources.files import FilesSource
from webapp.schema.resolve import DatabaseSource, FolderSource
from webapp.settings import Settings

if TYPE_CHECKING:
    from engine.sources.postgres import PostgresSource


def folder(source: FolderSource, *, skip: Collection[Path]) -> FilesSource:
    """One folder, without the folders in `skip`."""
    return FilesSource(
        files.Config(
            path=str(source.path),
            exclude=source.exclude,
            exclude_file=None if source.exclude_file is None else str(source.exclude_file),
            one_file_system=source.one_file_system,
        ),
        skip=skip,
    )


def database(source: DatabaseSource, settings: Settings, *, scratch: Path) -> PostgresSource:
    """One database or server; `scratch` is an existing private folder. Raises SourceError for an impossible URL."""
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

"""A stored configuration and an environment become what a run works with. Resolved values are never stored or shown."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from webapp.errors import ConfigurationInvalid, Fault
from webapp.schema import database_urls, placeholders
from webapp.schema.defaults import (
    DATABASE_VARIABLE,
    FOLDER_VARIABLES,
    Document,
    complete,
    default_sources,
)
from webapp.schema.redact import without_secrets

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class DatabaseSource:
    """One database, or a whole server. `pointer` is where the configuration says so; the `url` of a SQLite database
    names an absolute path."""

    pointer: str
    url: str = field(repr=False)
    exclude_tables: tuple[str, ...]
    exclude_table_data: tuple[str, ...]
    sslmode: str | None
    sslrootcert: Path | None
    environment: str

    @property
    def sqlite_path(self) -> Path | None:
        """The file of a SQLite database; None for PostgreSQL."""
        return database_urls.sqlite_path(self.url) if database_urls.is_sqlite(self.url) else None


@dataclass(frozen=True)
class FolderSource:
    """One folder with what is below it; `path` is absolute. `sqlite` are the SQLite databases of the same run: a
    consistent copy of these is stored, so their live files are left out."""

    pointer: str
    path: Path
    exclude: tuple[str, ...]
    exclude_file: Path | None
    one_file_system: bool
    environment: str
    sqlite: tuple[Path, ...] = ()


@dataclass(frozen=True)
class DestinationPlan:
    """A destination: either `ref`, the name of a stored one, or `kind` with its settings.

    `typed` are the settings as typed (to be stored), `settings` the resolved ones (camelCase keys, never stored).
    """

    pointer: str
    ref: str | None
    kind: str | None
    typed: Mapping[str, Any]
    settings: Mapping[str, Any] = field(repr=False)
    retention: Mapping[str, int] | None


@dataclass(frozen=True)
class Resolved:
    """A configuration ready to run. `document` is without secrets, with placeholders, for the manifest.

    `source_fingerprint` (64 hex digits) changes when the sources are others; passwords are no part of it.
    """

    config_id: str
    name: str
    type: str
    databases: tuple[DatabaseSource, ...]
    folders: tuple[FolderSource, ...]
    destinations: tuple[DestinationPlan, ...]
    compression: str
    encryption: bool
    cipher: str
    retention: Mapping[str, int] | None
    min_copies: int
    full_every: int | None
    timezone: str | None
    document: Document
    source_fingerprint: str


class _Replacer:
    """Replaces placeholders and collects those whose variable is not set."""

    def __init__(self, environment: Mapping[str, str], cwd: Path, home: Path) -> None:
        self.environment = environment
        self.cwd = cwd
        self.home = home
        self.faults: list[Fault] = []

    def text(self, pointer: str, typed: str, *, in_url: bool = False) -> str:
        try:
            return placeholders.substitute(typed, self.environment, in_url=in_url)
        except KeyError as error:
            self.faults.append(Fault(pointer, f"names ${{{error.args[0]}}}, but that variable is not set."))
            return typed

    def optional(self, pointer: str, typed: str | None) -> str | None:
        return None if typed is None else self.text(pointer, typed)

    def path(self, pointer: str, typed: str) -> Path:
        """An absolute path; a variable may hold a relative one, which is meant where the command runs."""
        return Path(os.path.normpath(self.cwd / self.text(pointer, typed)))

    def database_url(self, pointer: str, typed: str) -> str:
        """The URL; a relative SQLite path is below the home where it is typed, so that it means the same wherever the
        command runs, and meant where the command runs where a variable holds it, as for folders."""
        url = self.text(pointer, typed, in_url=True)
        if "${" in url:  # a variable that is not set, which is told already
            return ""
        if not database_urls.is_known(url):
            self.faults.append(Fault(pointer, f"is not a {database_urls.NEEDED} URL once its variable is filled in."))
        if not database_urls.is_sqlite(url):
            return url
        try:
            path = database_urls.sqlite_path(url)
        except ValueError as error:
            self.faults.append(Fault(pointer, str(error)))
            return ""
        above = self.cwd if placeholders.is_whole(typed) else self.home
        return database_urls.sqlite_url(Path(os.path.normpath(above / path)))


def resolve(
    document: Mapping[str, Any], environment: Mapping[str, str], *, cwd: Path, home: Path, as_type: str | None = None
) -> Resolved:
    """`document` (checked before it was stored) with every `${NAME}` replaced; `as_type` is the type of this one run.
    `cwd` is where the command was typed, `home` is HOLDFAST_HOME.

    Raises ConfigurationInvalid naming pointer and variable for each one that is not set, and when the type needs a
    source that neither the document nor the environment's defaults give.
    """
    full = complete(document)
    replacer = _Replacer(environment, cwd, home)
    backup_type = as_type or full["type"]
    databases, folders = _sources(replacer, full, environment, backup_type)
    destinations = _each(full["destinations"], "/destinations", lambda at, item: _destination(replacer, at, item))
    if not databases and not folders:
        replacer.faults.append(_no_sources(backup_type, is_stated=full["sources"] is not None))
    if replacer.faults:
        raise ConfigurationInvalid(f"The configuration {full['id']} cannot run.", replacer.faults)
    return Resolved(
        config_id=full["id"],
        name=full["name"],
        type=backup_type,
        databases=tuple(databases),
        folders=tuple(folders),
        destinations=tuple(destinations),
        compression=full["compression"],
        encryption=full["encryption"],
        cipher=full["cipher"],
        retention=full["retention"],
        min_copies=full["minCopies"],
        full_every=full["fullEvery"],
        timezone=full["timezone"],
        document=without_secrets(document),
        # One run of another type has not changed the configuration's sources; what only they need may be unset here.
        source_fingerprint=_fingerprint(*_sources(_Replacer(environment, cwd, home), full, environment, full["type"])),
    )


def resolve_databases(
    document: Mapping[str, Any], environment: Mapping[str, str], *, cwd: Path, home: Path
) -> tuple[DatabaseSource, ...]:
    """The databases of a configuration, whatever its type: where dumps came from. Raises ConfigurationInvalid."""
    full = complete(document)
    replacer = _Replacer(environment, cwd, home)
    databases, _ = _sources(replacer, full, environment, "database")
    if replacer.faults:
        raise ConfigurationInvalid(f"The databases of {full['id']} cannot be reached.", replacer.faults)
    return tuple(databases)


def _sources(
    replacer: _Replacer, full: Document, environment: Mapping[str, str], backup_type: str
) -> tuple[list[DatabaseSource], list[FolderSource]]:
    sources = full["sources"] if full["sources"] is not None else default_sources(environment)
    wanted = _of_type(backup_type, sources)
    databases = _each(wanted["databases"], "/sources/databases", lambda at, item: _database(replacer, at, item, full))
    sqlite = tuple(path for each in databases if (path := each.sqlite_path))
    folders = _each(wanted["paths"], "/sources/paths", lambda at, item: _folder(replacer, at, item, full, sqlite))
    return databases, folders


def _each(items: list[Document], pointer: str, build: Callable[[str, Document], _Item]) -> list[_Item]:
    return [build(f"{pointer}/{number}", item) for number, item in enumerate(items)]


def _of_type(backup_type: str, sources: Document) -> Document:
    """`database` leaves the paths alone, `files` the databases; every other type takes both."""
    return {
        "databases": [] if backup_type == "files" else sources["databases"],
        "paths": [] if backup_type == "database" else sources["paths"],
    }


def _database(replacer: _Replacer, at: str, item: Document, full: Document) -> DatabaseSource:
    certificate = item["sslrootcert"]
    url = replacer.database_url(f"{at}/url", item["url"])
    if database_urls.is_sqlite(url):
        sentence = "is for PostgreSQL; a SQLite database is always kept whole."
        replacer.faults += [Fault(f"{at}/{key}", sentence) for key in database_urls.misplaced(item)]
    return DatabaseSource(
        pointer=at,
        url=url,
        exclude_tables=tuple(item["excludeTables"]),
        exclude_table_data=tuple(item["excludeTableData"]),
        sslmode=item["sslmode"],
        sslrootcert=None if certificate is None else replacer.path(f"{at}/sslrootcert", certificate),
        environment=item["environment"] or full["environment"],
    )


def _folder(replacer: _Replacer, at: str, item: Document, full: Document, sqlite: tuple[Path, ...]) -> FolderSource:
    exclude_file = item["excludeFile"]
    return FolderSource(
        pointer=at,
        path=replacer.path(f"{at}/path", item["path"]),
        exclude=tuple(item["exclude"]),
        exclude_file=None if exclude_file is None else replacer.path(f"{at}/excludeFile", exclude_file),
        one_file_system=item["oneFileSystem"],
        environment=item["environment"] or full["environment"],
        sqlite=sqlite,
    )


def _destination(replacer: _Replacer, at: str, item: Document) -> DestinationPlan:
    if "ref" in item:
        return DestinationPlan(at, item["ref"], None, {}, {}, item["retention"])
    settings = {
        key: replacer.optional(f"{at}/config/{key}", value) if isinstance(value, str | None) else value
        for key, value in item["config"].items()
    }
    return DestinationPlan(at, None, item["type"], item["config"], settings, item["retention"])


def _no_sources(backup_type: str, *, is_stated: bool) -> Fault:
    if is_stated:
        return Fault("/sources", f"names nothing that a backup of the type {backup_type} could hold.")
    folders = ", ".join(FOLDER_VARIABLES)
    missing = {
        "database": f"{DATABASE_VARIABLE} is not set",
        "files": f"none of {folders} is set",
    }.get(backup_type, f"neither {DATABASE_VARIABLE} nor any of {folders} is set")
    return Fault("/sources", f"is left out, and {missing}: there is nothing to back up.")


def _fingerprint(databases: list[DatabaseSource], folders: list[FolderSource]) -> str:
    stated = {
        "databases": [
            [_place(item.url), sorted(item.exclude_tables), sorted(item.exclude_table_data)] for item in databases
        ],
        "folders": [
            [str(item.path), sorted(item.exclude), str(item.exclude_file), item.one_file_system] for item in folders
        ],
    }
    return hashlib.sha256(json.dumps(stated, sort_keys=True).encode("utf-8", "surrogateescape")).hexdigest()


def _place(url: str) -> list[str]:
    """Host, port and database: a changed password or user does not make another source."""
    try:
        parts = urlsplit(url)
        return [parts.hostname or "", str(parts.port or ""), parts.path]
    except ValueError:
        return [url.rpartition("@")[2], "", ""]

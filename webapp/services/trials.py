"""`config test`: connects to the sources and destinations of a configuration; nothing is backed up or stored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from engine.errors import EngineError
from engine.repository import repository as engine
from engine.sources.postgres import Probe as PostgresProbe
from engine.sources.sqlite import Probe as SqliteProbe
from engine.spool import scratch_folder
from engine.storage.base import Storage
from engine.storage.probe import probe
from webapp.errors import ServiceError
from webapp.installation import Installation
from webapp.schema.resolve import DatabaseSource, DestinationPlan, FolderSource
from webapp.services import configurations, destinations, repositories, sources, unbuilt
from webapp.services.backups import SPOOL
from webapp.services.keyrings import Tell


@dataclass(frozen=True)
class Finding:
    """How one source or destination answered. `pointer` is where the configuration names it; `error` is None when it
    can be used."""

    pointer: str
    what: str
    detail: str
    error: str | None = None
    warnings: tuple[str, ...] = ()


def trial(installation: Installation, config_id: str, *, cwd: Path, tell: Tell) -> list[Finding]:
    """Tries everything that the configuration names. Raises NotFound, ConfigurationInvalid, NotBuilt."""
    configuration = configurations.find(installation, config_id)
    resolved = configurations.ready(installation, configuration, cwd=cwd)
    unbuilt.refuse(resolved)
    return [
        *(_folder(source) for source in resolved.folders),
        *_databases(installation, resolved.databases),
        *(_destination(installation, plan, tell) for plan in resolved.destinations),
    ]


def _folder(source: FolderSource) -> Finding:
    try:
        sources.folder(source, skip=()).probe()
    except EngineError as error:
        return Finding(source.pointer, f"folder {source.path}", "", error=str(error))
    return Finding(source.pointer, f"folder {source.path}", "can be read")


def _databases(installation: Installation, wanted: tuple[DatabaseSource, ...]) -> Iterator[Finding]:
    if not wanted:
        return
    with scratch_folder(installation.settings.home / SPOOL) as scratch:
        for source in wanted:
            what = "database"
            try:
                opened = sources.database(source, installation.settings, scratch=scratch)
                what = f"database {opened.describe()}"
                yield _answered(source.pointer, what, opened.probe())
            except EngineError as error:
                yield Finding(source.pointer, what, "", error=str(error))


def _answered(pointer: str, what: str, found: PostgresProbe | SqliteProbe) -> Finding:
    if isinstance(found, SqliteProbe):
        tables = f"{found.tables} table{'' if found.tables == 1 else 's'}"
        return Finding(pointer, what, f"SQLite database with {tables}, read with SQLite {found.version}")
    names = ", ".join(found.databases)
    detail = f"PostgreSQL {found.server_version}, read with pg_dump {found.client_version}: {names}"
    return Finding(pointer, what, detail, warnings=found.warnings)


def _destination(installation: Installation, plan: DestinationPlan, tell: Tell) -> Finding:
    pointer = plan.pointer
    what = f"destination {plan.ref or plan.kind}"
    try:
        destination = destinations.peek(installation, plan)
        what = f"destination {destination.name}"
        with closing(repositories.open_storage(installation, destination)) as storage:
            is_new = destination.repository_id is None and not repositories.is_repository(storage)
            if is_new:
                return Finding(pointer, what, f"{storage.describe()}: the first backup makes its repository")
            _open(installation, destination.repository_id, storage, tell)
            report = probe(storage, clock=installation.clock)
    except (EngineError, ServiceError) as error:
        return Finding(pointer, what, "", error=str(error))
    failed = [step.detail for step in report.steps if step.is_needed and not step.ok]
    if failed:
        return Finding(pointer, what, "", error=failed[0])
    return Finding(pointer, what, "holds our repository and can be written", warnings=report.warnings)


def _open(installation: Installation, repository_id: str | None, storage: Storage, tell: Tell) -> None:
    """Raises what opening the repository there raises."""
    keyring = repositories.open_keyring(installation, may_create=False, tell=tell, places=[storage])
    expected = None if repository_id is None else bytes.fromhex(repository_id)
    engine.open_repository(storage, keyring, expected=expected)

"""`config test`: connects to the sources and destinations of a configuration; nothing is backed up or stored."""

from __future__ import annotations

import time
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
from engine.storage.local import LocalStorage, free_bytes
from engine.storage.probe import Step as ProbeStep
from engine.storage.probe import probe
from webapp.errors import ServiceError
from webapp.installation import Installation
from webapp.schema.resolve import DatabaseSource, DestinationPlan, FolderSource
from webapp.services import configurations, destinations, repositories, sources, unbuilt
from webapp.services.backups import SPOOL
from webapp.services.keyrings import Tell

# With less than this a backup is likely to end early.
LITTLE = 1 << 30


@dataclass(frozen=True)
class Step:
    """One thing that was tried. Where `is_needed`, a run fails without it; `hint` says what to do."""

    name: str
    ok: bool
    detail: str
    seconds: float
    hint: str = ""
    is_needed: bool = True


@dataclass(frozen=True)
class Finding:
    """How one source or destination answered. `pointer` is where the configuration names it; `error` is None when it
    can be used; `steps` are what was tried, up to the one that failed."""

    pointer: str
    what: str
    detail: str
    error: str | None = None
    warnings: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()


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


class _Attempt:
    """The steps of one source or destination, each with the time since the one before it."""

    def __init__(self, pointer: str, what: str) -> None:
        self.what = what
        self._pointer = pointer
        self._steps: list[Step] = []
        self._since = time.monotonic()

    def done(self, name: str, detail: str, *, ok: bool = True) -> None:
        """A step that is not `ok` is only a warning."""
        self._steps.append(Step(name, ok, detail, self._lap(), is_needed=ok))

    def add(self, steps: tuple[Step, ...]) -> None:
        """What was timed elsewhere."""
        self._steps += steps
        self._lap()

    def failed(self, name: str, error: EngineError | ServiceError) -> Finding:
        """With this step it ends."""
        self._steps.append(Step(name, False, error.message, self._lap(), error.hint))
        return Finding(self._pointer, self.what, "", error=str(error), steps=tuple(self._steps))

    def answered(self, detail: str, *, error: str | None = None, warnings: tuple[str, ...] = ()) -> Finding:
        """What came of all steps."""
        return Finding(self._pointer, self.what, detail, error, warnings, tuple(self._steps))

    def _lap(self) -> float:
        since, self._since = self._since, time.monotonic()
        return self._since - since


def _folder(source: FolderSource) -> Finding:
    attempt = _Attempt(source.pointer, f"folder {source.path}")
    try:
        sources.folder(source, skip=()).probe()
    except EngineError as error:
        return attempt.failed("Read", error)
    attempt.done("Read", "The folder can be listed.")
    return attempt.answered("can be read")


def _databases(installation: Installation, wanted: tuple[DatabaseSource, ...]) -> Iterator[Finding]:
    if not wanted:
        return
    with scratch_folder(installation.settings.home / SPOOL) as scratch:
        for source in wanted:
            attempt = _Attempt(source.pointer, "database")
            try:
                opened = sources.database(source, installation.settings, scratch=scratch)
                attempt.what = f"database {opened.describe()}"
                found = opened.probe()
            except EngineError as error:
                yield attempt.failed("Connect", error)
                continue
            yield _answered(attempt, found)


def _answered(attempt: _Attempt, found: PostgresProbe | SqliteProbe) -> Finding:
    if isinstance(found, SqliteProbe):
        tables = f"{found.tables} table{'' if found.tables == 1 else 's'}"
        attempt.done("Open", f"It has {tables}.")
        attempt.done("Version", f"Read with SQLite {found.version}.")
        return attempt.answered(f"SQLite database with {tables}, read with SQLite {found.version}")
    names = ", ".join(found.databases)
    detail = f"PostgreSQL {found.server_version}, read with pg_dump {found.client_version}: {names}"
    attempt.done("Connect", f"It answers: {names}.")
    attempt.done("Version", f"PostgreSQL {found.server_version}, read with pg_dump {found.client_version}.")
    attempt.done("Privileges", *_privileges(found), ok=not found.unreadable)
    return attempt.answered(detail, warnings=found.warnings)


def _privileges(found: PostgresProbe) -> tuple[str]:
    if not found.unreadable:
        return ("The login may read every table and sequence.",)
    return (found.warnings[-1],)


def _destination(installation: Installation, plan: DestinationPlan, tell: Tell) -> Finding:
    attempt = _Attempt(plan.pointer, f"destination {plan.ref or plan.kind}")
    try:
        destination = destinations.peek(installation, plan)
        attempt.what = f"destination {destination.name}"
        with closing(repositories.open_storage(installation, destination)) as storage:
            is_new = destination.repository_id is None and not repositories.is_repository(storage)
            attempt.done("Connect", f"{storage.describe()} answers.")
            _look_for_room(attempt, storage)
            if is_new:
                attempt.done("Repository", "There is none yet: the first backup makes it.")
                return attempt.answered(f"{storage.describe()}: the first backup makes its repository")
            _open(installation, destination.repository_id, storage, tell)
            attempt.done("Repository", "It is ours, and the key opens it.")
            report = probe(storage, clock=installation.clock)
    except (EngineError, ServiceError) as error:
        return attempt.failed("Open", error)
    attempt.add(tuple(_of_probe(step) for step in report.steps))
    failed = [step.detail for step in report.steps if step.is_needed and not step.ok]
    if failed:
        return attempt.answered("", error=failed[0])
    return attempt.answered("holds our repository and can be written", warnings=report.warnings)


def _look_for_room(attempt: _Attempt, storage: Storage) -> None:
    """Only a folder of this machine knows; one that is not made yet lies on the file system of the folder above."""
    if not isinstance(storage, LocalStorage):
        return
    free = free_bytes(next(folder for folder in (storage.root, *storage.root.parents) if folder.exists()))
    attempt.done("Free space", f"{free / (1 << 30):.1f} GiB are free.", ok=free > LITTLE)


def _of_probe(step: ProbeStep) -> Step:
    return Step(step.name.capitalize(), step.ok, step.detail, step.seconds, is_needed=step.is_needed)


def _open(installation: Installation, repository_id: str | None, storage: Storage, tell: Tell) -> None:
    """Raises what opening the repository there raises."""
    keyring = repositories.open_keyring(installation, may_create=False, tell=tell, places=[storage])
    expected = None if repository_id is None else bytes.fromhex(repository_id)
    engine.open_repository(storage, keyring, expected=expected)

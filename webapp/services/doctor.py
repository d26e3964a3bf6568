"""Looks for what is wrong with an installation and says what to do. Mends nothing; no check stops another."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import ColumnElement, func, select, text
from sqlalchemy.exc import DBAPIError

from engine.errors import EngineError, SourceError
from engine.keyring import Keyring
from engine.postgres.programs import Programs, find_dumper
from engine.repository.forget import LOST as LOST_REASON
from engine.spool import abandoned
from engine.storage.local import free_bytes
from webapp.database import SQLITE_PREFIX, current_revision
from webapp.errors import Faulty, KeyMissing, NotFound, ServiceError
from webapp.installation import Installation
from webapp.keyfile import encryption_key, key_path
from webapp.models import Backup, BackupCopy, Configuration
from webapp.models.backup import DAMAGED, LOST
from webapp.models.run import FAILED, INTERRUPTED
from webapp.schema import database_urls
from webapp.schema.defaults import DATABASE_VARIABLE
from webapp.schema.resolve import Resolved
from webapp.services import configurations, keyrings, records, repositories, restore_points, runs, unbuilt, upkeep
from webapp.services.restore_points import UNUSED, Place, Series
from webapp.settings import Settings

OK, WARNING, ERROR = "ok", "warning", "error"
LEVELS = (OK, WARNING, ERROR)
LOW_BYTES = 1 << 30
SPOOL = "spool"
_GIB = 1 << 30
# The types that hold databases and folders, as far as a configuration has both.
_OF_BOTH = ("full", "incremental", "differential")
_VERIFY = "`backup-cli verify --all` says what is hit; the next backup stores again what is missing."
_LEFTOVER = re.compile(r"\.(keys|backup\.key)\.[0-9a-f]{16}")
_LEFTOVER_AGE = timedelta(hours=1)
_VERSION_STEP = 10_000


@dataclass(frozen=True)
class Finding:
    """What one check found: `check` names it, `level` is ok, warning or error, `hint` says what to do."""

    check: str
    level: str
    message: str
    hint: str = ""


def examine(settings: Settings, *, opened: Callable[[], Installation], cwd: Path) -> list[Finding]:
    """All checks. `opened` opens the installation and may raise ServiceError; `cwd` is below what relative paths of
    the environment are."""
    found = [Finding("environment", WARNING, message) for message in settings.warnings]
    if not settings.home.exists():
        found.append(Finding("home", OK, f"{settings.home} is not there yet; the first backup makes it."))
        return [*found, *_key(settings, used=False), *_programs(settings, needed=_wants_database(settings))]
    found.extend(_home(settings))
    try:
        installation = opened()
    except ServiceError as error:
        return [*found, *_refused("database", error), *_key(settings, used=True)]
    findings, usable = _database(installation)
    found.extend(findings)
    if not usable:
        return [*found, *_key(settings, used=True)]
    found.extend(_key(settings, used=_has_used_key(installation)))
    keyring, findings = _keyring(installation)
    found.extend(findings)
    if keyring is not None:
        found.extend(_recovery_code(settings))
    for place in restore_points.places(installation):
        found.extend(_destination(installation, place, keyring))
    needed = _wants_database(settings)
    counts = {series.config_id: series for series in restore_points.series(installation)}
    for configuration in configurations.listing(installation):
        resolved, findings = _configuration(installation, configuration, cwd)
        found.extend([*findings, *_backups(installation, configuration, counts[configuration.id])])
        needed = needed or _wants_postgres(resolved)
    return [*found, *_programs(settings, needed=needed), *_leftovers(installation)]


def refused(error: ServiceError) -> list[Finding]:
    """The findings of an environment that cannot even be read: each of its faults."""
    return list(_refused("environment", error))


def worst(findings: list[Finding]) -> str:
    """The worst level among the findings."""
    return max((finding.level for finding in findings), key=LEVELS.index, default=OK)


def _refused(check: str, error: ServiceError | EngineError, level: str = ERROR) -> Iterator[Finding]:
    if isinstance(error, Faulty) and error.faults:
        for fault in error.faults:
            yield Finding(check, level, str(fault), error.hint)
    else:
        yield Finding(check, level, error.message, error.hint)


def _home(settings: Settings) -> Iterator[Finding]:
    home = settings.home
    try:
        status = home.stat()
        free = free_bytes(home)
    except OSError as error:
        yield Finding("home", ERROR, f"{home} cannot be read: {error.strerror}.", "Check its owner and mode.")
        return
    if not stat.S_ISDIR(status.st_mode) or not os.access(home, os.R_OK | os.W_OK | os.X_OK):
        yield Finding("home", ERROR, f"{home} is not a folder that this user may write.", "Set HOLDFAST_HOME.")
        return
    if status.st_mode & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        yield Finding("home", WARNING, f"Other users may enter {home} (mode {mode:04o}).", f"chmod 0700 {home}")
    if free < LOW_BYTES:
        yield Finding("home", WARNING, f"{home} has {_gib(free)} free.", "Free some space: backups need scratch space.")
    yield Finding("home", OK, f"{home}, {_gib(free)} free.")


def _database(installation: Installation) -> tuple[list[Finding], bool]:
    """What there is to say, and whether the checks that read it make sense."""
    database = installation.database
    try:
        revision = current_revision(database.engine)
        answer = "ok"
        if installation.settings.database_url.startswith(SQLITE_PREFIX):
            with database.reading() as session:
                answer = str(session.scalar(text("PRAGMA quick_check(1)")))
    except ServiceError as error:
        return list(_refused("database", error)), False
    except DBAPIError as error:
        answer = " ".join(str(error.orig).split())
    if answer != "ok":
        hint = "Put it back from a copy, or move it away: restore points are found again at their destinations."
        return [Finding("database", ERROR, f"{database.describe()} is damaged: {answer}.", hint)], False
    return [Finding("database", OK, f"{database.describe()}, revision {revision}.")], True


def _has_used_key(installation: Installation) -> bool:
    return bool(keyrings.local_slots(installation.settings) or repositories.used_destinations(installation))


def _key(settings: Settings, *, used: bool) -> Iterator[Finding]:
    warnings: list[str] = []
    try:
        encryption_key(settings, may_generate=False, tell=warnings.append)
    except KeyMissing as error:
        if used:
            yield from _refused("key", error)
        else:
            yield Finding("key", OK, f"There is none yet; the first backup writes one to {key_path(settings)}.")
        return
    except ServiceError as error:
        yield from _refused("key", error)
        return
    for warning in warnings:
        yield Finding("key", WARNING, warning.removeprefix("Warning: "), f"chmod 0600 {key_path(settings)}")
    if settings.encryption_key is not None:
        yield Finding("key", OK, "It is in BACKUP_ENCRYPTION_KEY.")
    else:
        yield Finding("key", OK, f"It is in {key_path(settings)}; keep a copy elsewhere.")


def _keyring(installation: Installation) -> tuple[Keyring | None, list[Finding]]:
    try:
        keyring = repositories.open_keyring(installation, may_create=False, tell=repositories.silent)
    except NotFound:
        return None, [Finding("keyring", OK, "There is none yet; the first backup makes it.")]
    except (ServiceError, EngineError) as error:
        return None, list(_refused("keyring", error))
    return keyring, [Finding("keyring", OK, f"{keyrings.keys_folder(installation.settings)} opens with the key.")]


def _recovery_code(settings: Settings) -> Iterator[Finding]:
    if keyrings.retired(settings):
        said = "A change of keys is not finished: some destination, or BACKUP_ENCRYPTION_KEY, still has the old ones."
        yield Finding("keyring", WARNING, said, "`backup-cli key slots` shows where; the next backup tries again.")
    if keyrings.is_code_confirmed(settings):
        yield Finding("recovery code", OK, "It was typed back.")
    else:
        said = "Nobody has typed the recovery code back: is it on paper, and readable?"
        hint = "`backup-cli key kit -o kit.html` makes a page with a new one, `backup-cli key kit --confirm` checks it."
        yield Finding("recovery code", WARNING, said, hint)


def _destination(installation: Installation, place: Place, keyring: Keyring | None) -> Iterator[Finding]:
    name, row = f"destination {place.destination.name}", place.destination
    if place.trouble is not None:
        yield Finding(name, ERROR, place.trouble.error, place.trouble.hint or _VERIFY)
        return
    room = "" if place.free_bytes is None else f", {_gib(place.free_bytes)} free"
    if place.state == UNUSED:
        yield Finding(name, OK, f"{place.where} was not used yet{room}.")
        return
    if keyring is not None:
        try:
            repository = repositories.open_repository(installation, row, keyring)
            with closing(repository.storage):
                for message, hint in upkeep.stale(installation, row, repository):
                    yield Finding(name, WARNING, message, hint)
        except (EngineError, ServiceError) as error:
            yield from _refused(name, error)
            return
    for state, count in _bad_copies(installation, row.id):
        yield Finding(name, ERROR, f"{count} of its restore points are {state}.", _VERIFY)
    count = _given_up(installation, row.id)
    if count:
        yield Finding(name, OK, f"{count} of its restore points were given up as lost; `backup-cli list` shows them.")
    if place.free_bytes is not None and place.free_bytes < LOW_BYTES:
        yield Finding(name, WARNING, f"{place.where} has {_gib(place.free_bytes)} free.", "Free some space there.")
    yield Finding(name, OK, f"{place.where}, repository {row.repository_id}, {place.copies} restore points{room}.")


def _bad_copies(installation: Installation, destination_id: int) -> list[tuple[str, int]]:
    query = (
        select(BackupCopy.state, func.count(BackupCopy.id))
        .join(Backup, Backup.id == BackupCopy.backup_id)
        .where(
            BackupCopy.destination_id == destination_id,
            BackupCopy.state.in_((DAMAGED, LOST)),
            ~_is_given_up(),
            Backup.deleted_at.is_(None),
        )
        .group_by(BackupCopy.state)
        .order_by(BackupCopy.state)
    )
    with installation.database.reading() as session:
        return [(state, count) for state, count in session.execute(query)]


def _given_up(installation: Installation, destination_id: int) -> int:
    query = select(func.count(BackupCopy.id)).where(BackupCopy.destination_id == destination_id, _is_given_up())
    with installation.database.reading() as session:
        return session.scalar(query) or 0


def _is_given_up() -> ColumnElement[bool]:
    return func.coalesce(BackupCopy.removal_reason, "").startswith(LOST_REASON)


def _configuration(
    installation: Installation, configuration: Configuration, cwd: Path
) -> tuple[Resolved | None, list[Finding]]:
    from webapp.schema.document import validate

    name = f"configuration {configuration.id}"
    try:
        validate(configuration.document)
        resolved = configurations.ready(installation, configuration, cwd=cwd)
        unbuilt.refuse(resolved)
    except ServiceError as error:
        return None, list(_refused(name, error, ERROR if configuration.enabled else WARNING))
    count = len(resolved.databases), len(resolved.folders), len(resolved.destinations)
    return resolved, [
        Finding(name, OK, "It is valid: {} databases, {} folders, {} destinations.".format(*count)),
    ]


def _backups(installation: Installation, configuration: Configuration, series: Series) -> Iterator[Finding]:
    name = f"backups of {configuration.id}"
    again = f"`backup-cli create --config {configuration.id}` makes one."
    last = next(iter(runs.listing(installation, config_id=configuration.id, kind="create", limit=1)), None)
    if last is not None and last.state in (FAILED, INTERRUPTED):
        yield Finding(name, WARNING, f"The last run {last.public_id} {last.state}: {last.error}", last.hint or again)
    if series.newest_at is None:
        level = WARNING if configuration.enabled else OK
        yield Finding(name, level, "There is no restore point.", again)
        return
    # A single run of the databases, or of the folders alone, protects only its part.
    types = _OF_BOTH if configuration.type in _OF_BOTH else None
    usable = records.newest(installation, configuration.id, types=types, usable=True)
    if usable is None:
        said = f"Not one of the {series.count} restore points is whole."
        yield Finding(name, ERROR, said, again)
        return
    for message, hint in upkeep.neglected(installation, configuration, series):
        yield Finding(name, WARNING, message, hint)
    age = _age(installation.clock() - usable.finished_at)
    due = _due(installation, configuration) if configuration.enabled else None
    if due is not None and usable.finished_at < due:
        hint = f"{again} Does cron, or whatever shall start it, do so?"
        yield Finding(name, WARNING, f"The newest whole restore point is {age} old: one is due.", hint)
        return
    yield Finding(name, OK, f"The newest whole one of {series.count} restore points is {age} old.")


def _due(installation: Installation, configuration: Configuration) -> datetime | None:
    """A restore point older than this is too old: the last time of the schedule but one, so that a run may take a
    while, or the loss that the configuration accepts (rpoMinutes). None when neither says anything."""
    from zoneinfo import ZoneInfo

    from cronsim import CronSim

    from webapp.schema.times import plain_cron

    now, limits = installation.clock(), []
    minutes = (configuration.document.get("objectives") or {}).get("rpoMinutes")
    if minutes is not None:
        limits.append(now - timedelta(minutes=minutes))
    if configuration.schedule is not None:
        zone = ZoneInfo(configuration.document.get("timezone") or installation.settings.timezone)
        ticks = CronSim(plain_cron(configuration.schedule), now.astimezone(zone), reverse=True)
        with suppress(StopIteration):
            next(ticks)
            limits.append(next(ticks))
    return max(limits, default=None)


def _wants_database(settings: Settings) -> bool:
    url = settings.environment.get(DATABASE_VARIABLE, "")
    return bool(url) and not database_urls.is_sqlite(url)


def _wants_postgres(resolved: Resolved | None) -> bool:
    return any(source.sqlite_path is None for source in resolved.databases) if resolved else False


def _programs(settings: Settings, *, needed: bool) -> Iterator[Finding]:
    found: list[Programs] = []
    version = 0
    while True:  # each answer is the lowest version from the one that is asked for
        try:
            found.append(
                find_dumper(version, pg_bin=settings.pg_bin, path=settings.environment.get("PATH", os.defpath))
            )
        except SourceError as error:
            if needed and not found:
                yield Finding("PostgreSQL programs", ERROR, error.message, error.hint)
            break
        version = (found[-1].major + 1) * _VERSION_STEP
    for programs in found:
        yield Finding("PostgreSQL programs", OK, f"pg_dump {programs.version} in {programs.folder}.")
    if not found and not needed:
        yield Finding("PostgreSQL programs", OK, "There are none; nothing that is configured needs them.")


def _leftovers(installation: Installation) -> Iterator[Finding]:
    for run in runs.interrupt_dead(installation):
        yield Finding("leftovers", WARNING, f"The run {run.public_id} was killed.", run.hint or "")
    home, old = installation.settings.home, (installation.clock() - _LEFTOVER_AGE).timestamp()
    try:
        scratch = list(abandoned(home / SPOOL))
    except OSError:
        scratch = []
    if scratch:
        hint = "The next backup removes them."
        yield Finding("leftovers", WARNING, f"{len(scratch)} scratch folders of killed runs in {home / SPOOL}.", hint)
    for path in home.iterdir():
        if _LEFTOVER.fullmatch(path.name) and path.lstat().st_mtime < old:
            yield Finding("leftovers", WARNING, f"{path} was left by a killed process.", "Delete it.")


def _gib(count: int) -> str:
    return f"{count / _GIB:.1f} GiB"


def _age(span: timedelta) -> str:
    minutes = int(span.total_seconds()) // 60
    if minutes < 120:
        return f"{max(0, minutes)} minutes"
    hours = minutes // 60
    return f"{hours} hours" if hours < 72 else f"{hours // 24} days"

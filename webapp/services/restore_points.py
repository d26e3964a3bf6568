"""Restore points and destinations as lists: each point once with the state of its copies, each place as it is now."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, func, select, tuple_
from sqlalchemy.orm import joinedload, selectinload

from engine.errors import EngineError, NotARepository, StorageError
from engine.repository import repository as engine
from engine.storage.base import Storage
from engine.storage.local import LocalStorage, free_bytes
from webapp.errors import NotFound, ServiceError
from webapp.installation import Installation
from webapp.models import Backup, BackupCopy, Configuration, Destination, Hold
from webapp.models.backup import DAMAGED as BROKEN
from webapp.models.backup import LOST, MISSED, PRESENT, REMOVED
from webapp.models.run import SUCCEEDED, WARNING
from webapp.services import records, repositories
from webapp.services.keyrings import Tell

USABLE, HURT, PINNED, UNCHECKED, TRASHED = STATES = ("usable", "damaged", "pinned", "unchecked", "trash")
READY, UNUSED, UNREACHABLE, VANISHED, DAMAGED = "ready", "unused", "unreachable", "vanished", "damaged"


@dataclass(frozen=True)
class Filter:
    """Which restore points. `state` is one of STATES; those made from `since` on and before `until`; `before` is the
    row's id that a page begins after."""

    config_id: str | None = None
    state: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: int | None = None


@dataclass(frozen=True)
class Trouble:
    """Why a destination cannot be used now: `state` is one of the words above, with a sentence and what to do."""

    state: str
    error: str
    hint: str


@dataclass(frozen=True)
class Place:
    """A destination and what a look at it found. `copies` counts the restore points that are on record there, `trashed`
    those in its trash; `free_bytes` is None where a place cannot tell."""

    destination: Destination
    state: str
    where: str
    copies: int
    trashed: int
    free_bytes: int | None
    trouble: Trouble | None


@dataclass(frozen=True)
class Series:
    """The restore points of one configuration. `newest_age` is None when it has none."""

    config_id: str
    count: int
    bytes: int
    oldest_at: datetime | None
    newest_at: datetime | None
    newest_age: timedelta | None


def refresh(installation: Installation, *, tell: Tell) -> dict[int, Trouble]:
    """Looks at the destinations in use and takes on record what lies there. The troubled ones by their row's id.

    What nobody can read now is told, not raised: a list is most needed when something is broken.
    """
    records.note_dead_runs(installation)
    try:
        answers = repositories.adopt_all(installation, tell=tell)
    except (EngineError, ServiceError) as error:
        tell(f"Warning: {error.message} What is on record is shown. {error.hint}".rstrip())
        return {}
    troubles = {}
    for number, answer in answers.items():
        if isinstance(answer, EngineError | ServiceError):
            troubles[number] = trouble(answer)
            tell(f"Warning: {answer.message} {answer.hint}".rstrip())
        elif isinstance(answer, repositories.Adopted) and answer.unreadable:
            count = len(answer.unreadable)
            tell(f"Warning: {count} restore points cannot be read; `backup-cli verify --all` says why.")
    return troubles


def listing(
    installation: Installation,
    *,
    config_id: str | None = None,
    status: str | None = None,
    since: datetime | None = None,
    limit: int = 50,
) -> list[Backup]:
    """Restore points, newest first, with their copies and destinations. `status` is succeeded or warning; anything
    else no restore point is. Raises NotFound for a configuration that neither exists nor has any."""
    query = (
        select(Backup)
        .where(Backup.deleted_at.is_(None))
        .options(selectinload(Backup.copies).selectinload(BackupCopy.destination))
        .order_by(Backup.finished_at.desc(), Backup.id.desc())
        .limit(limit)
    )
    if config_id is not None:
        require_series(installation, config_id)
        query = query.where(Backup.config_id == config_id)
    if status is not None:
        query = query.where(_status_is(status))
    if since is not None:
        query = query.where(Backup.finished_at >= since)
    with installation.database.reading() as session:
        return list(session.scalars(query))


def page(installation: Installation, asked: Filter, *, limit: int) -> list[Backup]:
    """Restore points, newest first, with their copies and destinations; one more than `limit` when there is more.
    Raises NotFound for a configuration that never was."""
    query = (
        select(Backup)
        .where(Backup.deleted_at.is_(None))
        .options(joinedload(Backup.hold), selectinload(Backup.copies).joinedload(BackupCopy.destination))
        .order_by(Backup.finished_at.desc(), Backup.id.desc())
        .limit(limit + 1)
    )
    if asked.config_id is not None:
        require_series(installation, asked.config_id)
        query = query.where(Backup.config_id == asked.config_id)
    if asked.state is not None:
        query = query.where(_FILTERS[asked.state]())
    if asked.until is not None:
        query = query.where(Backup.finished_at < asked.until)
    if asked.since is not None:
        query = query.where(Backup.finished_at >= asked.since)
    if asked.before is not None:
        last = select(Backup.finished_at).where(Backup.id == asked.before).scalar_subquery()
        query = query.where(tuple_(Backup.finished_at, Backup.id) < tuple_(last, asked.before))
    with installation.database.reading() as session:
        return list(session.scalars(query))


def require_series(installation: Installation, config_id: str) -> None:
    """Raises NotFound unless there is this configuration, deleted or not: its restore points stay."""
    with installation.database.reading() as session:
        if session.get(Configuration, config_id) is None:
            raise NotFound(
                f"There is no configuration {config_id}.", hint="`backup-cli config list` shows what there is."
            )


def status_of(backup: Backup) -> str:
    """`warning` when a problem was met or a destination missed it, else `succeeded`."""
    missed = any(copy.state == MISSED for copy in backup.copies)
    return WARNING if backup.problem_count or missed else SUCCEEDED


def condition(backup: Backup) -> str:
    """As `status_of`, when a copy of it can be used; else in which state the best of them is."""
    states = [copy.state for copy in backup.copies if copy.state != REMOVED]
    if PRESENT not in states:
        return next((state for state in (BROKEN, LOST, MISSED) if state in states), LOST)
    if all(copy.trashed_at is not None for copy in backup.copies if copy.state == PRESENT):
        return "in the trash"
    return status_of(backup)


def verified_at(backup: Backup) -> datetime | None:
    """When a copy of it was last read back in full."""
    return max((copy.verified_at for copy in backup.copies if copy.verified_at), default=None)


def places(installation: Installation) -> list[Place]:
    """All destinations by name, each looked at now. Needs no key."""
    with installation.database.reading() as session:
        query = select(Destination).where(Destination.deleted_at.is_(None)).order_by(Destination.name)
        destinations = list(session.scalars(query))
        present = (
            select(BackupCopy.destination_id, func.count(BackupCopy.id), func.count(BackupCopy.trashed_at))
            .join(Backup, Backup.id == BackupCopy.backup_id)
            .where(BackupCopy.state == PRESENT, Backup.deleted_at.is_(None))
            .group_by(BackupCopy.destination_id)
        )
        counts = {row[0]: (row[1] - row[2], row[2]) for row in session.execute(present)}
    return [_look(installation, each, *counts.get(each.id, (0, 0))) for each in destinations]


def series(installation: Installation, *, config_id: str | None = None) -> list[Series]:
    """Every configuration with what it has, those without a restore point too; deleted ones only if they have one.
    What lies in the trash everywhere does not count."""
    trashed = select(BackupCopy.backup_id).where(BackupCopy.trashed_at.is_not(None))
    kept = select(BackupCopy.backup_id).where(BackupCopy.trashed_at.is_(None), BackupCopy.state != MISSED)
    # All of `there` is in `kept` too. It stands first since it decides for nearly all, and then nothing else is read.
    there = select(BackupCopy.backup_id).where(
        BackupCopy.state.in_((PRESENT, BROKEN, LOST)), BackupCopy.trashed_at.is_(None)
    )
    is_kept = Backup.id.in_(there) | Backup.id.not_in(trashed) | Backup.id.in_(kept)
    counts = Backup.deleted_at.is_(None) & is_kept
    query = (
        select(
            Configuration.id,
            func.count(Backup.id),
            func.coalesce(func.sum(Backup.bytes_total), 0),
            func.min(Backup.finished_at),
            func.max(Backup.finished_at),
        )
        .outerjoin(Backup, (Backup.config_id == Configuration.id) & counts)
        .where(Configuration.deleted_at.is_(None) | Backup.id.is_not(None))
        .group_by(Configuration.id)
        .order_by(Configuration.id)
    )
    if config_id is not None:
        query = query.where(Configuration.id == config_id)
    now = installation.clock()
    with installation.database.reading() as session:
        rows = session.execute(query).all()
    return [
        Series(name, count, int(size), oldest, newest, None if newest is None else max(now - newest, timedelta(0)))
        for name, count, size, oldest, newest in rows
    ]


def trouble(error: EngineError | ServiceError) -> Trouble:
    """What an error says about the state of a destination."""
    if isinstance(error, NotARepository):
        state = VANISHED
    elif isinstance(error, StorageError | ServiceError):
        state = UNREACHABLE
    else:
        state = DAMAGED
    return Trouble(state, error.message, error.hint)


def _has_copy(*wanted: ColumnElement[bool]) -> ColumnElement[bool]:
    return select(BackupCopy.id).where(BackupCopy.backup_id == Backup.id, *wanted).exists()


def _is_among(*wanted: ColumnElement[bool]) -> ColumnElement[bool]:
    """As `_has_copy`, for what few copies are: it begins with them, not with every restore point."""
    return Backup.id.in_(select(BackupCopy.backup_id).where(*wanted))


def _is_usable() -> ColumnElement[bool]:
    return _has_copy(BackupCopy.state == PRESENT, BackupCopy.trashed_at.is_(None))


def _is_unchecked() -> ColumnElement[bool]:
    return _is_usable() & ~_has_copy(BackupCopy.verified_at.is_not(None))


def _is_in_trash() -> ColumnElement[bool]:
    return _is_among(BackupCopy.state == PRESENT, BackupCopy.trashed_at.is_not(None)) & ~_is_usable()


_FILTERS = {
    USABLE: _is_usable,
    HURT: lambda: _is_among(BackupCopy.state.in_((BROKEN, LOST)), BackupCopy.trashed_at.is_(None)),
    PINNED: lambda: Backup.id.in_(select(Hold.backup_id)),
    UNCHECKED: _is_unchecked,
    TRASHED: _is_in_trash,
}


def _status_is(status: str) -> ColumnElement[bool]:
    missed = select(BackupCopy.backup_id).where(BackupCopy.state == MISSED)
    with_warning = (Backup.problem_count > 0) | Backup.id.in_(missed)
    if status == WARNING:
        return with_warning
    return ~with_warning if status == SUCCEEDED else Backup.id.is_(None)


def _look(installation: Installation, destination: Destination, copies: int, trashed: int) -> Place:
    where, free = "", None
    try:
        with closing(repositories.open_storage(installation, destination)) as storage:
            where = storage.describe()
            state, found = _state(storage, destination)
            free = _free(storage)
    except (EngineError, ServiceError) as error:
        found = trouble(error)
        state = found.state
    return Place(destination, state, where, copies, trashed, free, found)


def _state(storage: Storage, destination: Destination) -> tuple[str, Trouble | None]:
    if destination.repository_id is None:
        return UNUSED, None
    identity, _ = engine.read_identity(storage)
    if identity.hex() == destination.repository_id:
        return READY, None
    error = f"{storage.describe()} holds another repository than it did before."
    return VANISHED, Trouble(VANISHED, error, "Is the right disk mounted?")


def _free(storage: Storage) -> int | None:
    """Only a folder of this machine knows; one that is not made yet lies on the file system of the folder above."""
    if not isinstance(storage, LocalStorage):
        return None
    try:
        return free_bytes(next(folder for folder in (storage.root, *storage.root.parents) if folder.exists()))
    except OSError:
        return None

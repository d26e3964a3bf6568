"""Runs and restore points in pages, newest first: what the API and the pages list."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import selectinload

from webapp.installation import Installation
from webapp.models import Backup, BackupCopy, Delivery, Run, Schedule
from webapp.models.run import FAILED, INTERRUPTED
from webapp.services import restore_points

_BATCH = 1000
_BAD = (FAILED, INTERRUPTED)


@dataclass(frozen=True)
class Wanted:
    """Which of them. `before` is the row's id that the page begins after; `limit` how many. `until` is the first moment
    that is too late. With `failed_first` runs that failed or were interrupted come before all others."""

    config_id: str | None = None
    kind: str | None = None
    status: str | None = None
    since: datetime | None = None
    before: int | None = None
    limit: int = 50
    type: str | None = None
    trigger: str | None = None
    until: datetime | None = None
    failed_first: bool = False


def runs(installation: Installation, wanted: Wanted) -> list[Run]:
    """One more than `limit` when there is more. Raises NotFound for a configuration that never was."""
    if wanted.config_id is not None:
        restore_points.require_series(installation, wanted.config_id)
    with installation.database.reading() as session:
        if not wanted.failed_first:
            return list(session.scalars(_page(wanted)))
        found: list[Run] = []
        last = None if wanted.before is None else session.get(Run, wanted.before)
        if last is None or last.state in _BAD:
            found = list(session.scalars(_page(wanted).where(Run.state.in_(_BAD))))
            wanted = replace(wanted, before=None, limit=wanted.limit - len(found))
        if wanted.limit >= 0:
            found += session.scalars(_page(wanted).where(Run.state.not_in(_BAD)))
        return found


def every_run(installation: Installation, wanted: Wanted, *, batch: int = _BATCH) -> Iterator[Run]:
    """All of them, however many, read so many at a time; `before` and `limit` do not count. Raises as `runs`."""
    wanted = replace(wanted, before=None, limit=batch)
    while True:
        found = runs(installation, wanted)
        yield from found[:batch]
        if len(found) <= batch:
            return
        wanted = replace(wanted, before=found[batch - 1].id)


def count_runs(installation: Installation, wanted: Wanted, *, at_most: int) -> int:
    """How many there are on all pages together; counting ends at `at_most`."""
    query = select(Run.id).where(*_filters(wanted)).limit(at_most).subquery()
    with installation.database.reading() as session:
        return session.scalar(select(func.count()).select_from(query)) or 0


def _page(wanted: Wanted) -> Any:
    query = select(Run).where(*_filters(wanted)).order_by(Run.id.desc()).limit(wanted.limit + 1)
    return query if wanted.before is None else query.where(Run.id < wanted.before)


def _filters(wanted: Wanted) -> list[ColumnElement[bool]]:
    filters = (
        (Run.config_id, wanted.config_id),
        (Run.kind, wanted.kind),
        (Run.state, wanted.status),
        (Run.type, wanted.type),
        (Run.trigger, wanted.trigger),
    )
    found = [column == value for column, value in filters if value is not None]
    if wanted.since is not None:
        found.append(Run.created_at >= wanted.since)
    if wanted.until is not None:
        found.append(Run.created_at < wanted.until)
    return found


def backups(installation: Installation, wanted: Wanted) -> list[Backup]:
    """One more than `limit` when there is more; with copies. Raises NotFound for a configuration that never was."""
    if wanted.config_id is not None:
        restore_points.require_series(installation, wanted.config_id)
    query = (
        select(Backup)
        .where(Backup.deleted_at.is_(None))
        .options(selectinload(Backup.copies).selectinload(BackupCopy.destination))
        .order_by(Backup.id.desc())
        .limit(wanted.limit + 1)
    )
    if wanted.config_id is not None:
        query = query.where(Backup.config_id == wanted.config_id)
    if wanted.since is not None:
        query = query.where(Backup.finished_at >= wanted.since)
    if wanted.before is not None:
        query = query.where(Backup.id < wanted.before)
    with installation.database.reading() as session:
        return list(session.scalars(query))


def deliveries(installation: Installation, wanted: Wanted) -> list[Delivery]:
    """Messages, newest first; one more than `limit` when there is more."""
    query = select(Delivery).order_by(Delivery.id.desc()).limit(wanted.limit + 1)
    if wanted.config_id is not None:
        query = query.where(Delivery.config_id == wanted.config_id)
    if wanted.before is not None:
        query = query.where(Delivery.id < wanted.before)
    with installation.database.reading() as session:
        return list(session.scalars(query))


def schedules(installation: Installation) -> dict[str, Schedule]:
    """The schedules that are on record, by configuration."""
    with installation.database.reading() as session:
        return {row.config_id: row for row in session.scalars(select(Schedule))}

"""Runs and restore points in pages, newest first: what the API and the pages list."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import selectinload

from webapp.installation import Installation
from webapp.models import Backup, BackupCopy, Delivery, Run, Schedule
from webapp.services import restore_points


@dataclass(frozen=True)
class Wanted:
    """Which of them. `before` is the row's id that the page begins after; `limit` how many."""

    config_id: str | None = None
    kind: str | None = None
    status: str | None = None
    since: datetime | None = None
    before: int | None = None
    limit: int = 50


def runs(installation: Installation, wanted: Wanted) -> list[Run]:
    """One more than `limit` when there is more. Raises NotFound for a configuration that never was."""
    if wanted.config_id is not None:
        restore_points.require_series(installation, wanted.config_id)
    query = select(Run).order_by(Run.id.desc()).limit(wanted.limit + 1)
    filters = ((Run.config_id, wanted.config_id), (Run.kind, wanted.kind), (Run.state, wanted.status))
    for column, value in filters:
        if value is not None:
            query = query.where(column == value)
    if wanted.since is not None:
        query = query.where(Run.created_at >= wanted.since)
    if wanted.before is not None:
        query = query.where(Run.id < wanted.before)
    with installation.database.reading() as session:
        return list(session.scalars(query))


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

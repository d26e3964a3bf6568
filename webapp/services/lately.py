"""What a configuration did last: its newest runs and restore points, in two queries."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import joinedload, raiseload

from webapp.installation import Installation
from webapp.models import Backup, Run


def runs(installation: Installation, config_id: str, count: int) -> list[Run]:
    """The newest runs of any kind, newest first."""
    query = select(Run).where(Run.config_id == config_id).order_by(Run.id.desc()).limit(count)
    with installation.database.reading() as session:
        return list(session.scalars(query))


def points(installation: Installation, config_id: str, count: int) -> list[Backup]:
    """The newest restore points with their copies, newest first; without holds."""
    query = (
        select(Backup)
        .where(Backup.config_id == config_id, Backup.deleted_at.is_(None))
        .options(joinedload(Backup.copies), raiseload(Backup.hold))
        .order_by(Backup.sequence.desc())
        .limit(count)
    )
    with installation.database.reading() as session:
        return list(session.scalars(query).unique())

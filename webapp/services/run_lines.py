"""The log of a run: the lines that its work tells people, kept beside its row, so that anybody can follow it."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from webapp.installation import Installation
from webapp.models import RunLine

KEPT_LINES = 1000


def add(installation: Installation, run_id: int, text: str) -> None:
    """Appends a line; beyond the first 1000 of a run nothing more is kept. Raises Unavailable."""
    clean = text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
    with installation.database.transaction() as session:
        position = (session.scalar(select(func.max(RunLine.position)).where(RunLine.run_id == run_id)) or 0) + 1
        if position <= KEPT_LINES:
            session.add(RunLine(run_id=run_id, position=position, at=installation.clock(), text=clean))
            try:
                session.flush()
            except IntegrityError:
                session.rollback()


def after(installation: Installation, run_id: int, position: int = 0) -> list[RunLine]:
    """The lines behind `position`, in their order."""
    query = select(RunLine).where(RunLine.run_id == run_id, RunLine.position > position).order_by(RunLine.position)
    with installation.database.reading() as session:
        return list(session.scalars(query))

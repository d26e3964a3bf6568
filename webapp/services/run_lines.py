"""The log of a run: the lines that its work tells people, kept beside its row, so that anybody can follow it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.exc import IntegrityError

from webapp.installation import Installation
from webapp.models import RunLine

KEPT_LINES = 1000
INFO, WARNING = "info", "warning"
LEVELS = (INFO, WARNING)
_WARNINGS = ("Warning", "Problem", "Error")


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


def level(text: str) -> str:
    """`warning` for a line that says that something is wrong."""
    return WARNING if text.startswith(_WARNINGS) else INFO


def tail(
    installation: Installation, run_id: int, *, count: int, wanted: str = INFO, first: int | None = None
) -> Sequence[RunLine]:
    """The last `count` lines; only warnings with `wanted`; with `first` those from this number on instead."""
    query = select(RunLine).where(RunLine.run_id == run_id)
    if wanted == WARNING:
        query = query.where(or_(*(RunLine.text.startswith(word) for word in _WARNINGS)))
    order: Any = RunLine.position.desc()
    if first is not None:
        query, order = query.where(RunLine.position >= first), RunLine.position
    with installation.database.reading() as session:
        found = list(session.scalars(query.order_by(order).limit(count)))
    return sorted(found, key=lambda line: line.position)

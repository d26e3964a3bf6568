"""A restore that shall replace something: its plan, and the journal of what was done for it, step by step."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, LargeBinary, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from webapp.models.base import Base

FOLDER, DATABASE = "folder", "database"
# What stands here was written before the step was taken.
PREPARING, SWAPPING, REPLACED = "preparing", "swapping", "replaced"
UNDOING, UNDONE, CLEARING, CLEARED, REVERTED = "undoing", "undone", "clearing", "cleared", "reverted"
AT_WORK = (PREPARING, SWAPPING, UNDOING, CLEARING)
_ONE_AT_WORK = text("state IN ('preparing', 'swapping', 'undoing')")


class RestorePlan(Base):
    """`public_id` is `pl_…`. `target` is what has to be typed, `key` (64 hex digits) tells one target from another,
    `place` and `sealed` say where it is (`sealed` of a database: its URL). `state` is what stood there when it was
    looked at; `hash` changes with it and with everything that would be done. `run_id` is the run that took the plan."""

    __tablename__ = "restore_plans"
    __table_args__ = (Index("ix_restore_plans_expires_at", "expires_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str] = mapped_column(String(32), unique=True)
    backup_id: Mapped[str] = mapped_column(String(32))
    identity: Mapped[str] = mapped_column(String(200))
    host: Mapped[str] = mapped_column(String(255))
    kind: Mapped[str] = mapped_column(String(16))
    target: Mapped[str] = mapped_column(Text)
    key: Mapped[str] = mapped_column(String(64))
    place: Mapped[dict[str, Any]]
    sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    state: Mapped[dict[str, Any]]
    document: Mapped[dict[str, Any]]
    hash: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    run_id: Mapped[str | None] = mapped_column(String(32))


class Replacement(Base):
    """`public_id` is `rs_…`. `holder` is the run, or the mark of the process, that works on it. `names` say what stands
    or shall stand where: `incoming`, `outgoing`, and `new` and `old`, the numbers that tell the two apart; `kept` is
    what lies beside the target until `kept_until`."""

    __tablename__ = "replacements"
    __table_args__ = (
        # Two that replace the same target at once would each take the other's new one for the old one.
        Index("one_replacement_at_work", "key", unique=True, sqlite_where=_ONE_AT_WORK),
        Index("ix_replacements_state", "state"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str] = mapped_column(String(32), unique=True)
    plan_id: Mapped[int] = mapped_column(ForeignKey("restore_plans.id"))
    key: Mapped[str] = mapped_column(String(64))
    run_id: Mapped[str] = mapped_column(String(32))
    holder: Mapped[str] = mapped_column(String(255))
    state: Mapped[str] = mapped_column(String(16))
    names: Mapped[dict[str, Any]] = mapped_column(default=dict)
    kept: Mapped[str | None] = mapped_column(Text)
    kept_until: Mapped[datetime | None]
    previous_backup_id: Mapped[str | None] = mapped_column(String(32))
    error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    plan: Mapped[RestorePlan] = relationship(lazy="joined")

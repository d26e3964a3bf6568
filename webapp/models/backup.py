"""A restore point as this installation remembers it, and its copies at destinations. The truth is the manifest."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from webapp.models.base import Base
from webapp.models.destination import Destination

PRESENT, MISSED, DAMAGED, LOST = "present", "missed", "damaged", "lost"
COPY_STATES = (PRESENT, MISSED, DAMAGED, LOST)


class Backup(Base):
    """`public_id` is `bk_…` and also the manifest's id; `manifest_hash` the SHA-256 of the stored manifest (64 hex
    digits); `totals` as in the manifest; `databases` a list of {name, tables, bytes}; `paths` the folders."""

    __tablename__ = "backups"
    __table_args__ = (
        Index("ix_backups_config_id_sequence", "config_id", "sequence"),
        Index("ix_backups_finished_at", "finished_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str] = mapped_column(String(32), unique=True)
    config_id: Mapped[str] = mapped_column(ForeignKey("configurations.id"))
    run_id: Mapped[int | None] = mapped_column(ForeignKey("runs.id"))
    sequence: Mapped[int]
    manifest_hash: Mapped[str] = mapped_column(String(64))
    type: Mapped[str] = mapped_column(String(16))
    parent_id: Mapped[str | None] = mapped_column(String(32))
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime]
    totals: Mapped[dict[str, Any]]
    databases: Mapped[list[Any]] = mapped_column(default=list)
    paths: Mapped[list[Any]] = mapped_column(default=list)
    problem_count: Mapped[int] = mapped_column(default=0)
    tags: Mapped[dict[str, Any]] = mapped_column(default=dict)
    program: Mapped[str] = mapped_column(String(64))
    host: Mapped[str] = mapped_column(String(255))
    deleted_at: Mapped[datetime | None]
    copies: Mapped[list[BackupCopy]] = relationship(back_populates="backup", lazy="raise", order_by="BackupCopy.id")


class BackupCopy(Base):
    """One restore point at one destination. `state`: present, missed (never written there), damaged or lost."""

    __tablename__ = "backup_copies"
    __table_args__ = (Index("one_copy_per_destination", "backup_id", "destination_id", unique=True),)

    id: Mapped[int] = mapped_column(primary_key=True)
    backup_id: Mapped[int] = mapped_column(ForeignKey("backups.id"))
    destination_id: Mapped[int] = mapped_column(ForeignKey("destinations.id"), index=True)
    state: Mapped[str] = mapped_column(String(16))
    verified_at: Mapped[datetime | None]
    backup: Mapped[Backup] = relationship(back_populates="copies", lazy="raise")
    destination: Mapped[Destination] = relationship(lazy="raise")

"""A restore point as this installation remembers it, and its copies at destinations. The truth is the manifest."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Computed, ForeignKey, Index, String, Text, cast, column, func
from sqlalchemy.orm import Mapped, mapped_column, relationship

from webapp.models import configuration, run  # noqa: F401 (the tables that foreign keys lead to)
from webapp.models.base import Base
from webapp.models.destination import Destination

PRESENT, MISSED, DAMAGED, LOST, REMOVED = "present", "missed", "damaged", "lost", "removed"


class Hold(Base):
    """Why a restore point must stay whatever the retention says: a pin, or with an end a legal hold. There is one a
    restore point, for all its destinations. `identity` is who asked for it; without `until_at` it lasts until somebody
    takes it away."""

    __tablename__ = "holds"

    id: Mapped[int] = mapped_column(primary_key=True)
    backup_id: Mapped[int] = mapped_column(ForeignKey("backups.id"), unique=True)
    reason: Mapped[str] = mapped_column(Text)
    identity: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime]
    until_at: Mapped[datetime | None]


def _total(name: str) -> Computed:
    number = column("totals", JSON)[name].as_string()
    return Computed(func.coalesce(cast(number, BigInteger), 0), persisted=True)


class Backup(Base):
    """`public_id` is `bk_…` and also the manifest's id; `manifest_hash` the SHA-256 of the stored manifest (64 hex
    digits); `totals` as in the manifest, and two of them once more, because to look into 20,000 documents takes longer
    than a page may (the database itself takes them from there: what an older version writes has them too); `databases`
    a list of {name, tables, bytes}; `paths` the folders."""

    __tablename__ = "backups"
    __table_args__ = (
        Index("ix_backups_config_id_sequence", "config_id", "sequence"),
        Index("ix_backups_finished_at", "finished_at"),
        # The calendar counts the 20,000 that are left by the index alone: 8 ms instead of 27.
        Index("ix_backups_deleted_at_finished_at", "deleted_at", "finished_at", "id"),
        Index("ix_backups_config_id_finished_at", "config_id", "finished_at"),
        # What is left of each configuration, and how large, by the index alone.
        Index(
            "ix_backups_deleted_at_config_id",
            *("deleted_at", "config_id", "id", "type", "finished_at", "bytes_total", "bytes_stored"),
        ),
        # Of years of history a few restore points are left: with it the figures of 100,000 take 6 ms instead of 190.
        Index("ix_backups_config_id_deleted_at", "config_id", "deleted_at"),
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
    bytes_total: Mapped[int] = mapped_column(BigInteger, _total("bytes"))
    bytes_stored: Mapped[int] = mapped_column(BigInteger, _total("bytesStored"))
    databases: Mapped[list[Any]] = mapped_column(default=list)
    paths: Mapped[list[Any]] = mapped_column(default=list)
    problem_count: Mapped[int] = mapped_column(default=0)
    tags: Mapped[dict[str, Any]] = mapped_column(default=dict)
    program: Mapped[str] = mapped_column(String(64))
    host: Mapped[str] = mapped_column(String(255))
    deleted_at: Mapped[datetime | None]
    hold: Mapped[Hold | None] = relationship(lazy="selectin")
    copies: Mapped[list[BackupCopy]] = relationship(back_populates="backup", lazy="raise", order_by="BackupCopy.id")


class BackupCopy(Base):
    """One restore point at one destination. `state`: present, missed (never written there), damaged, lost, or removed
    (lawfully, by a tombstone). `stamp` is the storage's size and time of the manifest when it was last read and found
    to be the recorded one. From `trashed_at` it lies in the trash, and `removal_reason` says why; while it is not
    removed it can still be restored."""

    __tablename__ = "backup_copies"
    __table_args__ = (
        Index("one_copy_per_destination", "backup_id", "destination_id", unique=True),
        # Where a restore point is and in which state, without the row.
        Index("ix_backup_copies_backup_id", "backup_id", "destination_id", "state", "trashed_at", "verified_at"),
        # The few damaged or trashed copies among 100,000, and what is present, without the rows of what was removed.
        Index("ix_backup_copies_state_trashed_at", "state", "trashed_at", "backup_id", "destination_id", "verified_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    backup_id: Mapped[int] = mapped_column(ForeignKey("backups.id"))
    destination_id: Mapped[int] = mapped_column(ForeignKey("destinations.id"), index=True)
    state: Mapped[str] = mapped_column(String(16))
    verified_at: Mapped[datetime | None]
    trashed_at: Mapped[datetime | None]
    removal_reason: Mapped[str | None] = mapped_column(Text)
    stamp: Mapped[str | None] = mapped_column(String(64))
    backup: Mapped[Backup] = relationship(back_populates="copies", lazy="raise")
    destination: Mapped[Destination] = relationship(lazy="raise")

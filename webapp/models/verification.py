"""What was checked, when, and what was found: the ground of every claim that something is protected."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from webapp.models import backup, destination, run  # noqa: F401 (the tables that foreign keys lead to)
from webapp.models.base import Base

GOOD, FOUND, FAILED = "good", "damaged", "failed"


class Verification(Base):
    """One restore point (None: everything) at one destination. `state`: good, damaged, or failed when the check could
    not be carried out; `errors` as in `verify --json`; `read_percent` 100 means that every byte was read."""

    __tablename__ = "verifications"
    __table_args__ = (Index("ix_verifications_backup_id_finished_at", "backup_id", "finished_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"), index=True)
    backup_id: Mapped[int | None] = mapped_column(ForeignKey("backups.id"))
    destination_id: Mapped[int | None] = mapped_column(ForeignKey("destinations.id"))
    state: Mapped[str] = mapped_column(String(16))
    read_percent: Mapped[int]
    objects_checked: Mapped[int] = mapped_column(BigInteger)
    bytes_read: Mapped[int] = mapped_column(BigInteger)
    errors: Mapped[list[Any]] = mapped_column(default=list)
    finished_at: Mapped[datetime]

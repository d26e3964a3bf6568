"""A place where backups are kept, named by people and recognised by its repository id."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from webapp.models.base import Base


class Destination(Base):
    """`settings` are as typed; `place` (64 hex digits) is a fingerprint of kind and settings, by which an inline
    destination of a configuration finds its row; `sealed` holds its secrets, encrypted. `mark_id` (32 hex digits) names
    the mark that a cleanup of this installation wrote there at `marked_at` and that a later one completes. `probe` is
    what the test at `checked_at` found (services/destinations.described)."""

    __tablename__ = "destinations"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    kind: Mapped[str] = mapped_column(String(16))
    settings: Mapped[dict[str, Any]]
    sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    place: Mapped[str] = mapped_column(String(64), unique=True)
    repository_id: Mapped[str | None] = mapped_column(String(32), unique=True)
    created_at: Mapped[datetime]
    checked_at: Mapped[datetime | None]
    probe: Mapped[dict[str, Any] | None]
    mark_id: Mapped[str | None] = mapped_column(String(32))
    marked_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]

"""Why a restore point must stay whatever the retention says: a pin, or with an end a legal hold."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from webapp.models.base import Base


class Hold(Base):
    """One hold a restore point, at all of its destinations. `identity` is who asked for it; without `until_at` it lasts
    until somebody takes it away."""

    __tablename__ = "holds"

    id: Mapped[int] = mapped_column(primary_key=True)
    backup_id: Mapped[int] = mapped_column(ForeignKey("backups.id"), unique=True)
    reason: Mapped[str] = mapped_column(Text)
    identity: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime]
    until_at: Mapped[datetime | None]

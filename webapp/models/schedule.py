"""When a configuration runs next: computed from its document, kept so that one query finds all that is due."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from webapp.models import configuration  # noqa: F401 (the tables that foreign keys lead to)
from webapp.models.base import Base


class Schedule(Base):
    """`version` is that of the configuration from which `expression` and `zone` were taken; `next_at` is None while it
    does not run by itself. `missed_at` is when it was told that a backup is overdue; None while all is well."""

    __tablename__ = "schedules"

    config_id: Mapped[str] = mapped_column(ForeignKey("configurations.id"), primary_key=True)
    version: Mapped[int]
    expression: Mapped[str | None] = mapped_column(String(200))
    zone: Mapped[str] = mapped_column(String(64))
    next_at: Mapped[datetime | None]
    paused_at: Mapped[datetime | None]
    missed_at: Mapped[datetime | None]

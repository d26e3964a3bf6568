"""What was found missing, put back or replaced at a destination: kept until a run has told of it and it is over."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from webapp.models import destination  # noqa: F401 (the tables that foreign keys lead to)
from webapp.models.base import Base


class Alarm(Base):
    """One break in the history of a destination; `kind` and `object` as in `verify --json`, `backup` the `bk_…` of the
    restore point that it is about. `told_at` is when a `create` or `verify` first said so."""

    __tablename__ = "alarms"
    __table_args__ = (Index("one_alarm_per_object", "destination_id", "kind", "object", unique=True),)

    id: Mapped[int] = mapped_column(primary_key=True)
    destination_id: Mapped[int] = mapped_column(ForeignKey("destinations.id"))
    kind: Mapped[str] = mapped_column(String(16))
    object: Mapped[str] = mapped_column(String(200))
    reason: Mapped[str] = mapped_column(Text)
    backup: Mapped[str | None] = mapped_column(String(32))
    found_at: Mapped[datetime]
    told_at: Mapped[datetime | None]

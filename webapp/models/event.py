"""What happened and has to be told: written in the transaction in which it happened, read by the notifications."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from webapp.models.base import Base

MISSED = "missed"


class Event(Base):
    """`kind` is the state in which a run ended, or `missed`; `run_id` the public id of the run. `details` is JSON
    without secrets. `handled_at` is when the notifications took it over."""

    __tablename__ = "events"
    __table_args__ = (Index("ix_events_handled_at", "handled_at", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(32))
    config_id: Mapped[str | None] = mapped_column(String(64))
    run_id: Mapped[str | None] = mapped_column(String(32))
    details: Mapped[dict[str, Any]] = mapped_column(default=dict)
    at: Mapped[datetime]
    handled_at: Mapped[datetime | None]

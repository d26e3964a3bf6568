"""What has to be told to whom, and what became of it. Recipients are kept as fingerprints: most of them are secrets."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from webapp.models import event  # noqa: F401 (the tables that foreign keys lead to)
from webapp.models.base import Base

WAITING, SENT, GIVEN_UP = "waiting", "sent", "given-up"


class Delivery(Base):
    """One event for one recipient. `recipient` is the SHA-256 of the address or URL (64 hex digits), `shown` what
    people may see of it. It is tried from `due_at` on while it is waiting; `error` says why the last try failed."""

    __tablename__ = "deliveries"
    __table_args__ = (
        Index("one_delivery_per_event", "event_id", "recipient", unique=True),
        Index("ix_deliveries_state_due_at", "state", "due_at"),
        Index("ix_deliveries_config_id_recipient", "config_id", "recipient", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    event_id: Mapped[int] = mapped_column(ForeignKey("events.id"))
    kind: Mapped[str] = mapped_column(String(32))
    config_id: Mapped[str | None] = mapped_column(String(64))
    recipient: Mapped[str] = mapped_column(String(64))
    shown: Mapped[str] = mapped_column(String(200))
    state: Mapped[str] = mapped_column(String(16))
    tries: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime]
    due_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]
    error: Mapped[str | None] = mapped_column(Text)


class SilencedRecipient(Base):
    """A recipient that nothing arrives at any more: left out until a test message arrives there."""

    __tablename__ = "silenced_recipients"

    recipient: Mapped[str] = mapped_column(String(64), primary_key=True)
    shown: Mapped[str] = mapped_column(String(200))
    reason: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime]

"""The audit log: rows that are only ever added, each bound to the one before it by a hash."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from webapp.models.base import Base


class AuditEntry(Base):
    """`sequence` counts from 1 without a gap. `before` and `after` are JSON texts without secrets, kept as text because
    the hash is over exactly these bytes. `hash` and `previous_hash` are 64 hex digits. Triggers refuse every change."""

    __tablename__ = "audit_entries"
    __table_args__ = (
        Index("ix_audit_entries_identity_sequence", "identity", "sequence"),
        Index("ix_audit_entries_action_sequence", "action", "sequence"),
        Index("ix_audit_entries_at", "at"),
    )

    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[datetime]
    identity: Mapped[str] = mapped_column(String(200))
    address: Mapped[str | None] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(64))
    object: Mapped[str] = mapped_column(String(200))
    outcome: Mapped[str] = mapped_column(String(16))
    duration_ms: Mapped[int | None] = mapped_column(BigInteger)
    before: Mapped[str | None] = mapped_column(Text)
    after: Mapped[str | None] = mapped_column(Text)
    error: Mapped[str | None] = mapped_column(Text)
    trace: Mapped[str | None] = mapped_column(Text)
    previous_hash: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))

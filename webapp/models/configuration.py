"""A backup configuration as it was typed. A deleted one stays as a row, because its restore points stay."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from webapp.models.base import Base


class Configuration(Base):
    """`document` is as typed, placeholders and all, but for its secrets, which are in `sealed`; `version` counts its
    changes; `source_fingerprint` is that of the sources of its last successful run (None before the first)."""

    __tablename__ = "configurations"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    document: Mapped[dict[str, Any]]
    sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    enabled: Mapped[bool]
    version: Mapped[int] = mapped_column(default=1)
    source_fingerprint: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]

    @property
    def type(self) -> str:
        """full, incremental, differential, database or files."""
        return str(self.document["type"])

    @property
    def schedule(self) -> str | None:
        """The cron expression as typed."""
        schedule: str | None = self.document.get("schedule")
        return schedule

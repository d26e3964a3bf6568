"""A link that one person may follow once, or the object that was exported to a bucket for them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from webapp.models import account, destination  # noqa: F401 (the tables that foreign keys lead to)
from webapp.models.base import Base


class DownloadLink(Base):
    """`public_id` is `dl_…`; `path` are the bytes of a path, or a database as it is listed; `form` one of
    services/downloads.py. Of the secret in the link only the SHA-256 is kept. An export to a bucket has no secret of
    ours; it is the `object` at its destination, which is removed after `expires_at`."""

    __tablename__ = "download_links"
    __table_args__ = (Index("ix_download_links_expires_at", "expires_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str] = mapped_column(String(32), unique=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    backup_id: Mapped[str] = mapped_column(String(32))
    path: Mapped[bytes] = mapped_column(LargeBinary)
    form: Mapped[str] = mapped_column(String(8))
    secret_hash: Mapped[str | None] = mapped_column(String(64), unique=True)
    destination_id: Mapped[int | None] = mapped_column(ForeignKey("destinations.id"))
    object: Mapped[str | None] = mapped_column(String(255))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]

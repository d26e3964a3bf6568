"""When a part of the service last said that it lives."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from webapp.models.base import Base


class Pulse(Base):
    """`part` is `tick`, or the queue that a worker was seen to serve."""

    __tablename__ = "pulses"

    part: Mapped[str] = mapped_column(String(80), primary_key=True)
    at: Mapped[datetime]

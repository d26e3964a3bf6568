"""What happened on one day (of UTC), added up: of one configuration, or of all. Kept by services/figures.py alone."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Float, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from webapp.models.base import Base

EVERY = ""
"""The `config_id` of the rows that add up all configurations."""


class DayFigures(Base):
    """`day` is `2026-11-23`; `sums` counts and adds under the names of services/figures.py, `took` counts good backups
    by their seconds (two digits); `stored` are bytes. Of one configuration alone, in seconds: `longest_gap` between two
    good backups (of which the later one is of this day), `last_end` of a good backup since 1970, `slowest_restore`.
    `checked` is the mark of a whole day that was added up once more after it had ended."""

    __tablename__ = "day_figures"
    __table_args__ = (
        # All that is asked of every configuration at once stands in it: 36,500 rows of a year are read in order.
        Index(
            "ix_day_figures_config_id_day",
            "config_id",
            "day",
            "stored",
            "longest_gap",
            "last_end",
            "slowest_restore",
        ),
    )

    config_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    day: Mapped[str] = mapped_column(String(10), primary_key=True)
    sums: Mapped[dict[str, Any]] = mapped_column(default=dict)
    took: Mapped[dict[str, Any]] = mapped_column(default=dict)
    stored: Mapped[int] = mapped_column(BigInteger, default=0)
    longest_gap: Mapped[float | None] = mapped_column(Float)
    last_end: Mapped[float | None] = mapped_column(Float)
    slowest_restore: Mapped[float | None] = mapped_column(Float)
    checked: Mapped[bool] = mapped_column(default=False)

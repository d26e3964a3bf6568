"""What happened on one day (of UTC) and in one month, added up: of one configuration, or of all. Kept by
services/figures.py alone."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Float, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from webapp.models.base import Base

EVERY = ""
"""The `config_id` of the rows that add up all configurations."""
# All that is asked of every configuration at once stands in an index: of years some thousand rows are read in order.
_ASKED = ("stored", "longest_gap", "last_end", "slowest_restore")


class _Figures:
    """`took` counts good backups by their seconds (two digits); `stored` are bytes. Of one configuration alone, in
    seconds: `longest_gap` between two good backups (of which the later one is of this time), `last_end` of a good
    backup since 1970, `slowest_restore`."""

    config_id: Mapped[str] = mapped_column(String(64), primary_key=True, sort_order=-1)
    took: Mapped[dict[str, Any]] = mapped_column(default=dict)
    stored: Mapped[int] = mapped_column(BigInteger, default=0)
    longest_gap: Mapped[float | None] = mapped_column(Float)
    last_end: Mapped[float | None] = mapped_column(Float)
    slowest_restore: Mapped[float | None] = mapped_column(Float)


class DayFigures(_Figures, Base):
    """`day` is `2026-11-23`; `sums` counts and adds under the names of services/figures.py; the durations are what
    `took` says. `checked` is the mark of a whole day that was added up once more after it had ended."""

    __tablename__ = "day_figures"
    __table_args__ = (
        Index("ix_day_figures_config_id_day", "config_id", "day", *_ASKED),
        Index("ix_day_figures_day", "day", "config_id", *_ASKED),
    )

    day: Mapped[str] = mapped_column(String(10), primary_key=True)
    sums: Mapped[dict[str, Any]] = mapped_column(default=dict)
    duration_p50: Mapped[float | None] = mapped_column(Float)
    duration_p95: Mapped[float | None] = mapped_column(Float)
    checked: Mapped[bool] = mapped_column(default=False)


class MonthFigures(_Figures, Base):
    """The days of `month`, which is `2026-11`: without them a year of 100 configurations took 40 ms more."""

    __tablename__ = "month_figures"
    __table_args__ = (Index("ix_month_figures_month", "month", "config_id", *_ASKED),)

    month: Mapped[str] = mapped_column(String(7), primary_key=True)

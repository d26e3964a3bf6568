"""Days as people type them, within the years that a zone and a database can tell."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from wtforms.validators import ValidationError

NO_DAY = "must be a day such as 2026-11-23."
_FIRST, _LAST = 1970, 9000


def day_of(text: str) -> date | None:
    """`2026-11-23`; None for what is no day, is written otherwise, or lies out of reach."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if text == f"{day}" and _is_in_reach(day) else None


def midnight(day: date, zone: ZoneInfo, *, days: int = 0) -> datetime:
    """When the day begins there, or the day so many days later: not every day has 24 hours."""
    return datetime.combine(day + timedelta(days=days), time(), zone)


def in_reach(form: Any, field: Any) -> None:
    """A validator: the first and the last years have hours that do not exist in every zone."""
    if field.data is not None and not _is_in_reach(field.data):
        raise ValidationError(f"Must lie between {_FIRST} and {_LAST}.")


def _is_in_reach(day: date) -> bool:
    return _FIRST <= day.year <= _LAST

"""Sizes, times and durations as people say them."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB")


def size(count: int) -> str:
    """`1.5 GiB`, of bytes."""
    if count < 1024:
        return f"{count} B"
    value = float(count)
    for unit in _UNITS:
        value /= 1024
        if value < 1024 or unit == _UNITS[-1]:
            break
    return f"{value:.1f} {unit}"


def when(moment: datetime, zone: str) -> str:
    """`Monday 2026-11-23, 02:00 CET`, in a zone that has a name."""
    return moment.astimezone(ZoneInfo(zone)).strftime("%A %Y-%m-%d, %H:%M %Z")


def duration(seconds: float) -> str:
    """`12 s`, `4 min 5 s`, `2 h 3 min`, `3 days 2 h`."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} day{'' if days == 1 else 's'} {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"

"""How answers look: JSON documents for programs, tables and plain words for people. stdout is data."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from unicodedata import combining, east_asian_width

from webapp.clock import rfc3339

if TYPE_CHECKING:
    from cli.state import Door

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def document(door: Door, value: Any) -> None:
    """The one JSON document of this command. Datetimes become RFC 3339 in UTC."""
    text = json.dumps(value, ensure_ascii=False, indent=2, default=_plain)
    # File names of any bytes hold lone surrogates, which are no UTF-8: JSON can escape them.
    if any("\ud800" <= sign <= "\udfff" for sign in text):
        text = json.dumps(value, ensure_ascii=True, indent=2, default=_plain)
    door.answered = True
    line(text)


def line(text: str = "") -> None:
    """One line of data."""
    sys.stdout.write(text + "\n")


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[str] = ()) -> None:
    """Columns as wide as their contents; `right` names those that are aligned to the right. Nothing for no rows."""
    cells = [[visible(cell) for cell in row] for row in rows]
    if not cells:
        return
    widths = [max(map(_width, column)) for column in zip(headings, *cells, strict=True)]
    to_right = {headings.index(name) for name in right}
    for row in (list(headings), *cells):
        padded = [_pad(cell, widths[number], right=number in to_right) for number, cell in enumerate(row)]
        line("  ".join(padded).rstrip())


def visible(text: str) -> str:
    """Text from outside made harmless for a terminal: control signs and broken bytes are spelled out."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape", "replace").decode() for sign in text)


def counted(count: int, noun: str) -> str:
    """`1 table`, `1,204 tables`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def size(count: int | None) -> str:
    """`1.5 GiB`; `-` when unknown."""
    if count is None:
        return "-"
    value = float(count)
    for unit in _UNITS:
        if abs(value) < 1024 or unit == _UNITS[-1]:
            return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("the last unit takes everything")


def when(moment: datetime | None, zone: str = "UTC") -> str:
    """`2026-11-23 02:00:00 CET` in the given time zone; `-` when there is none."""
    if moment is None:
        return "-"
    if zone == "UTC":
        return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    from zoneinfo import ZoneInfo

    return moment.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M:%S %Z")


def duration(seconds: float | None) -> str:
    """`850 ms`, `12.3 s`, `4 min 05 s`, `2 h 03 min`; `-` when unknown."""
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return rfc3339(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    return sum(0 if combining(sign) else 2 if east_asian_width(sign) in "WF" else 1 for sign in text)


def _pad(text: str, width: int, *, right: bool) -> str:
    space = " " * (width - _width(text))
    return space + text if right else text + space

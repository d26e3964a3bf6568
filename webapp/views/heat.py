"""A calendar as SVG: a cell a day, a column a week; the fuller, the darker, and a day with damage has an outline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from webapp.services.point_facts import Day

_CELL, _STEP, _LEFT, _TOP = 11, 14, 30, 16
_LEVELS = (1, 2, 4)
_WEEKDAYS = ((0, "Mon"), (2, "Wed"), (4, "Fri"))


@dataclass(frozen=True)
class Heat:
    """`paths` are (class, path): one path a level. `months` and `weekdays` are (x, y, text)."""

    width: int
    height: int
    paths: tuple[tuple[str, str], ...]
    months: tuple[tuple[int, int, str], ...]
    weekdays: tuple[tuple[int, int, str], ...]
    label: str


def heat(days: Sequence[Day]) -> Heat:
    """Days that begin at a Monday, without a gap."""
    paths: dict[str, list[str]] = {}
    months: list[tuple[int, int, str]] = []
    for number, day in enumerate(days):
        x, y = _LEFT + number // 7 * _STEP, _TOP + number % 7 * _STEP
        paths.setdefault(_name(day), []).append(f"M{x} {y}h{_CELL}v{_CELL}h-{_CELL}z")
        if day.day.day == 1:
            months.append((x, _TOP - 5, f"{day.day:%b}"))
    weeks = -(-len(days) // 7)
    count, hurt = sum(day.points for day in days), sum(day.damaged for day in days)
    label = f"{count} restore points in {weeks} weeks, on {sum(day.points > 0 for day in days)} days; {hurt} damaged"
    weekdays = tuple((0, _TOP + row * _STEP + 10, text) for row, text in _WEEKDAYS)
    drawn = tuple((name, "".join(parts)) for name, parts in sorted(paths.items()))
    return Heat(_LEFT + weeks * _STEP, _TOP + 7 * _STEP, drawn, tuple(months), weekdays, label)


def _name(day: Day) -> str:
    if day.damaged:
        return "hx"
    return f"h{sum(day.points >= level for level in _LEVELS)}"

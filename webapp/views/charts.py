"""Charts as SVG, without a script: geometry in attributes, colours by class, so that they print and obey the CSP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from webapp.services.activity import BAD, GOOD, NOTHING, WARNED, Day

_STEP, _WIDTH, _HEIGHT = 7, 5, 20
_TOPS = {GOOD: 2, WARNED: 7, BAD: 12, NOTHING: 17}
_CLASSES = {GOOD: "o", WARNED: "w", BAD: "f", NOTHING: "i"}
CHART_WIDTH, CHART_HEIGHT = 560, 190
_LEFT, _BOTTOM, _TOP = 34, 24, 10


@dataclass(frozen=True)
class Strip:
    """A bar a day, a stroke around its middle, one path an outcome: full height is good, two thirds a warning, short a
    failure. The first stroke begins at `left`."""

    left: float
    width: int
    paths: tuple[tuple[str, str], ...]
    label: str


@dataclass(frozen=True)
class Bars:
    """Runs a day, stacked. `lines` are (y, label) of the grid, `ticks` (x, label) of the axis."""

    paths: tuple[tuple[str, str], ...]
    lines: tuple[tuple[float, str], ...]
    ticks: tuple[tuple[float, str], ...]


def strip(days: Sequence[Day]) -> Strip:
    """The outcomes of some days."""
    paths: dict[str, list[str]] = {}
    for number, day in enumerate(days):
        top = _TOPS[day.outcome]
        paths.setdefault(_CLASSES[day.outcome], []).append(f"M{number * _STEP} {_HEIGHT}V{top}")
    counted = {outcome: sum(day.outcome == outcome for day in days) for outcome in _TOPS}
    label = f"{len(days)} days: {counted[GOOD]} good, {counted[WARNED]} with warnings, {counted[BAD]} failed"
    return Strip(
        -_WIDTH / 2, len(days) * _STEP - 2, tuple((name, "".join(parts)) for name, parts in paths.items()), label
    )


def bars(days: Sequence[Day]) -> Bars:
    """Runs of each day by how they ended."""
    highest = max((day.good + day.warned + day.bad for day in days), default=0)
    top = _round_up(highest)
    high = CHART_HEIGHT - _BOTTOM - _TOP
    step = (CHART_WIDTH - _LEFT) / max(1, len(days))
    paths: dict[str, list[str]] = {"f-ok": [], "f-warn": [], "f-err": []}
    ticks = []
    for number, day in enumerate(days):
        x, y = _LEFT + number * step, float(CHART_HEIGHT - _BOTTOM)
        for name, count in (("f-ok", day.good), ("f-warn", day.warned), ("f-err", day.bad)):
            tall = count / top * high
            y -= tall
            if count:
                paths[name].append(f"M{x + 1:.1f} {y:.1f}h{step - 2:.1f}v{tall:.1f}h-{step - 2:.1f}z")
        if number % 7 == 3:
            ticks.append((round(x + step / 2, 1), f"{day.day:%d %b}"))
    lines = [(CHART_HEIGHT - _BOTTOM - part / 4 * high, f"{top * part / 4:g}") for part in range(5)]
    return Bars(tuple((name, "".join(parts)) for name, parts in paths.items() if parts), tuple(lines), tuple(ticks))


def _round_up(count: int) -> int:
    """The next number that people divide by four with ease."""
    unit = 4
    while unit * 10 < count:
        unit *= 10
    return max(4, -(-count // unit) * unit)

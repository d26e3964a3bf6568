"""A chart of bars as SVG: readable on light and dark pages, in black and white and by a screen reader.

`python -m benchmarks.chart RESULT.json FILE.svg` draws stored bytes by day, as benchmarks.differences measured."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from benchmarks.tools import Borg, Holdfast, Restic

WIDTH, HEIGHT = 860, 420
TOOLS = (Holdfast.name, Restic.name, Borg.name)
LEFT, RIGHT, TOP, BOTTOM = 64, 170, 56, 72
LEGEND_STEP, SWATCH = 26, 12
STEPS = 5
FILLED = 0.78  # of the room that a label's bars have
# Blue, orange, green: told apart by colour-blind people too, 3 : 1 against both backgrounds; bars keep their order.
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-size: 16px; font-weight: 600 }
.quiet { fill: #59636e; font-size: 12px }
.grid { stroke: #d1d9e0; stroke-width: 1 }
.s0 { fill: #0969da } .s1 { fill: #bc4c00 } .s2 { fill: #1a7f37 }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc } .quiet { fill: #9198a1 } .grid { stroke: #3d444d }
.s0 { fill: #4493f8 } .s1 { fill: #f0883e } .s2 { fill: #3fb950 }
}
"""


@dataclass(frozen=True)
class Series:
    """Bars of one colour: a name and a value for each label below the chart."""

    name: str
    values: tuple[float, ...]


def draw(title: str, unit: str, labels: Sequence[str], series: Sequence[Series]) -> str:
    """The chart as an SVG document. Every series has a value for each label, none of them negative."""
    top = _round_up(max(max(each.values) for each in series))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="t d">',
        f'<title id="t">{escape(title)}</title>',
        f'<desc id="d">{escape(_in_words(unit, labels, series))}</desc>',
        f"<style>{STYLE}</style>",
        f'<text class="title" x="{LEFT}" y="24">{escape(title)}</text>',
        f'<text class="quiet" x="{LEFT}" y="42">{escape(unit)}</text>',
    ]
    for step in range(STEPS + 1):
        value = top * step / STEPS
        y = _y(value, top)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="quiet" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:,g}</text>')
    for place, label in enumerate(labels):
        x, y = _middle(place, len(labels)), HEIGHT - BOTTOM + 20
        parts.append(
            f'<text class="quiet" x="{x:.1f}" y="{y}" text-anchor="end" transform="rotate(-30 {x:.1f} {y})">'
            f"{escape(label)}</text>"
        )
    for number, each in enumerate(series):
        parts += _bars(number, len(series), each, top)
        parts += _legend(number, each)
    return "\n".join([*parts, "</svg>"]) + "\n"


def stored_by_day(document: dict[str, object]) -> str:
    """The chart of the bench of differences: sums in MB by day, for each tool."""
    days: list[dict[str, object]] = document["days"]  # type: ignore[assignment]
    labels = [f"{number} {day['kind']}" if number > 1 else "1" for number, day in enumerate(days, 1)]
    series: list[Series] = []
    for tool in TOOLS:
        if tool in days[0]["tools"]:  # type: ignore[operator]
            stored = [day["tools"][tool]["stored"] / 1e6 for day in days]  # type: ignore[index]
            series.append(Series(tool, tuple(itertools.accumulate(stored))))
    size = days[0]["dump"] / 1e6  # type: ignore[operator]
    return draw(f"Stored for daily dumps of a database of {size:,.0f} MB", "MB in all, by day", labels, series)


def _bars(number: int, of: int, series: Series, top: float) -> list[str]:
    width = _room(len(series.values)) * FILLED / of
    parts = []
    for place, value in enumerate(series.values):
        x, y = _middle(place, len(series.values)) + (number - of / 2) * width, _y(value, top)
        height = HEIGHT - BOTTOM - y
        parts.append(f'<rect class="s{number}" x="{x:.1f}" y="{y:.1f}" width="{width - 1:.1f}" height="{height:.1f}"/>')
    return parts


def _legend(number: int, series: Series) -> list[str]:
    x, y = WIDTH - RIGHT + 20, TOP + 20 + number * LEGEND_STEP
    text = f"{series.name}: {series.values[-1]:,.0f}"
    return [
        f'<rect class="s{number}" x="{x}" y="{y - SWATCH + 1}" width="{SWATCH}" height="{SWATCH}"/>',
        f'<text x="{x + SWATCH + 8}" y="{y}">{escape(text)}</text>',
    ]


def _room(count: int) -> float:
    return (WIDTH - LEFT - RIGHT) / count


def _middle(place: int, count: int) -> float:
    return LEFT + _room(count) * (place + 0.5)


def _y(value: float, top: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top


def _round_up(value: float) -> float:
    """A round number not below `value`, of which a fifth is round too."""
    size = 1.0
    while size * 10 <= value:
        size *= 10
    return next(size * factor for factor in (1, 1.5, 2, 2.5, 3, 4, 5, 7.5, 10) if size * factor >= value)


def _in_words(unit: str, labels: Sequence[str], series: Sequence[Series]) -> str:
    told = [f"{each.name}: {', '.join(f'{value:,.1f}' for value in each.values)}" for each in series]
    return f"{unit}, for {', '.join(labels)}. {'. '.join(told)}."


def main(arguments: Sequence[str]) -> int:
    """Draws the chart of a result."""
    source, target = map(Path, arguments)
    target.write_text(stored_by_day(json.loads(source.read_text())), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

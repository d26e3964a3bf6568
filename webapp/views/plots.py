"""Charts over days as SVG in two widths, with the numbers as a table: geometry in attributes, colours by class.

All marks of one kind are one path, and both widths show the same marks, lines and labels of the vertical axis: a page
of six charts stays well below its 40 KB.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import count

from flask import g

from webapp.extensions import installation
from webapp.services.destination_names import shown_names
from webapp.services.figures import together
from webapp.services.trends import Day
from webapp.views.showing import size, span

# Beside each other in two columns, of which the first is the wider one, and on a telephone.
FIRST, SECOND, NARROW = 600, 480, 340
_HEIGHT, _LEFT, _BOTTOM, _TOP = 200, 58, 24, 10
_LINES = 4
# More bars than that are too thin to be told apart, and their table too long.
MOST_DAYS, MOST_WEEKS = 31, 27
DAY, WEEK, MONTH = "day", "week", "month"
OTHERS = "others"
Number = float | None


@dataclass(frozen=True)
class Unit:
    """How numbers are shown, and what an axis may end with: each divides by four with ease."""

    show: Callable[[float], str]
    tops: Callable[[], Iterator[float]]

    def top(self, highest: float) -> float:
        """The first end of an axis that is high enough."""
        return next(top for top in self.tops() if top >= highest)


def _powers(shares: Sequence[float], base: int) -> Callable[[], Iterator[float]]:
    return lambda: (share * base**power for power in count() for share in shares)


def _spans() -> Iterator[float]:
    yield from (4, 8, 20, 40, 60, 120, 240, 480, 1200, 2400, 3600, 7200, 14_400, 28_800, 57_600)
    yield from (days * 86_400.0 for days in count(1))


COUNT = Unit(lambda value: f"{value:,.0f}", _powers((4, 8, 12, 16, 20, 24, 28, 32), 10))
BYTES = Unit(
    lambda value: size(int(value)), _powers((1, 2, 4, 8, 12, 16, 24, 32, 40, 60, 80, 100, 200, 400, 600, 800), 1024)
)
SECONDS = Unit(span, _spans)


@dataclass(frozen=True)
class Series:
    """One row of marks: its name, the class of its colour, a value a bucket (None: unknown, no mark)."""

    name: str
    style: str
    values: tuple[Number, ...]


@dataclass(frozen=True)
class Drawing:
    """`ticks` are (x, label); `scale` and `shift` put the marks of the plot into this width."""

    width: int
    scale: float
    shift: float
    ticks: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class Plot:
    """A chart and its table: one row a bucket, the newest last. `grid` are (y, label), `paths` (class, path); bars are
    strokes of the width `bar` (0: lines)."""

    label: str
    buckets: tuple[date, ...]
    series: tuple[Series, ...]
    paths: tuple[tuple[str, str], ...]
    bar: int
    grid: tuple[tuple[int, str], ...]
    drawings: tuple[Drawing, ...]
    each: str
    unit: Unit
    is_empty: bool


@dataclass(frozen=True)
class Buckets:
    """The days of a period, or its weeks or months when it is a long one: `each` says which."""

    starts: tuple[date, ...]
    each: str
    days: tuple[tuple[Day, ...], ...]

    def sums(self, value: Callable[[Day], float]) -> tuple[Number, ...]:
        """A sum a bucket."""
        return tuple(float(sum(value(day) for day in days)) for days in self.days)

    def highest(self, value: Callable[[Day], Number]) -> tuple[Number, ...]:
        """The highest value of each bucket; None where there is none."""
        return tuple(
            max((found for day in days if (found := value(day)) is not None), default=None) for days in self.days
        )


def buckets(days: Sequence[Day], first: date, last: date) -> Buckets:
    """All days from the first to the last, also those on which nothing happened."""
    by_day = {day.day: day for day in days}
    number = (last - first).days
    each = DAY if number < MOST_DAYS else WEEK if number < 7 * MOST_WEEKS else MONTH
    grouped: dict[date, list[Day]] = {}
    for day in (first + timedelta(days=step) for step in range(number + 1)):
        start = {DAY: day, WEEK: day - timedelta(days=day.weekday()), MONTH: day.replace(day=1)}[each]
        found = grouped.setdefault(start, [])
        if day.isoformat() in by_day:
            found.append(by_day[day.isoformat()])
    return Buckets(tuple(grouped), each, tuple(tuple(days) for days in grouped.values()))


def by_part(over: Buckets, of: Callable[[Day], Mapping[str, int]], colour: str = "f", *, most: int = 4) -> list[Series]:
    """The largest parts (`most`, at most four), each with a colour of its own, and the rest together."""
    parts = [together(of(day) for day in days) for days in over.days]
    totals = Counter(together(parts))
    largest = [name for name, total in totals.most_common() if total and name != OTHERS][:most]
    found = [
        Series(name, f"{colour}{number}", tuple(float(part.get(name, 0)) for part in parts))
        for number, name in enumerate(largest, 1)
    ]
    rest = tuple(float(sum(part.values()) - sum(part.get(name, 0) for name in largest)) for part in parts)
    return [*found, Series(OTHERS, f"{colour}5", rest)] if any(rest) else found


def places(over: Buckets, *, most: int = 4) -> list[Series]:
    """What was stored at each destination, added up, under names that whoever looks may know."""
    names = shown_names(installation(), g.actor)
    parts = by_part(over, lambda day: day.by_destination, "l", most=most)
    return [Series(names.get(each.name, each.name), each.style, added_up(each.values)) for each in parts]


def added_up(values: Sequence[Number]) -> tuple[Number, ...]:
    """Each value with all before it."""
    total, found = 0.0, []
    for value in values:
        total += value or 0.0
        found.append(total)
    return tuple(found)


def stacked(label: str, over: Buckets, series: Sequence[Series], unit: Unit, *, wide: int = FIRST) -> Plot:
    """Bars that stand on each other."""
    heights = [sum(value or 0.0 for value in column) for column in zip(*(each.values for each in series), strict=True)]
    return _plot(label, over, series, unit, max(heights, default=0.0), _bars, wide)


def lines(label: str, over: Buckets, series: Sequence[Series], unit: Unit, *, wide: int = FIRST) -> Plot:
    """Lines from bucket to bucket."""
    highest = max((value for each in series for value in each.values if value is not None), default=0.0)
    return _plot(label, over, series, unit, highest, _polylines, wide)


def table(plot: Plot) -> list[tuple[str, list[str]]]:
    """The numbers in words, a row a bucket, the newest first."""
    rows = []
    for number, start in enumerate(plot.buckets):
        cells = [each.values[number] for each in plot.series]
        shown = ["–" if cell is None else plot.unit.show(cell) for cell in cells]
        # Cells of these tables do not break: what keeps a number and its unit together elsewhere is a byte more each.
        rows.append((f"{start:{_form(plot.each)}}", [each.replace("\N{NO-BREAK SPACE}", " ") for each in shown]))
    return rows[::-1]


def _plot(
    label: str,
    over: Buckets,
    series: Sequence[Series],
    unit: Unit,
    highest: float,
    draw: Callable[[Sequence[Series], _Frame], dict[str, list[str]]],
    wide: int,
) -> Plot:
    top = unit.top(highest)
    # That something took no time is known; that nothing was stored is nothing to draw.
    is_empty = not any(value is not None and (value or unit is SECONDS) for each in series for value in each.values)
    frame = _Frame(wide, top, len(over.starts))
    paths = tuple((name, "".join(parts)) for name, parts in draw(series, frame).items() if parts)
    values = [top * part / _LINES for part in range(_LINES + 1)]
    grid = tuple((frame.y(value), _short(unit.show(value))) for value in values)
    drawings = []
    for width in (wide, NARROW):
        other = _Frame(width, top, len(over.starts))
        scale = round(other.step / frame.step, 4)
        shift = round(_LEFT * (1 - scale), 1)
        drawings.append(Drawing(width, scale, shift, other.ticks(over.starts, over.each)))
    bar = frame.bar if draw is _bars else 0
    return Plot(label, over.starts, tuple(series), paths, bar, grid, tuple(drawings), over.each, unit, is_empty)


@dataclass(frozen=True)
class _Frame:
    width: int
    top: float
    count: int

    @property
    def step(self) -> float:
        return (self.width - _LEFT - 4) / max(1, self.count)

    @property
    def bar(self) -> int:
        return round(max(1.0, min(self.step * 0.82, 40)))

    def x(self, number: int) -> float:
        return _LEFT + number * self.step

    def y(self, value: float) -> int:
        return round(_HEIGHT - _BOTTOM - value / self.top * (_HEIGHT - _BOTTOM - _TOP))

    def ticks(self, starts: Sequence[date], each: str) -> tuple[tuple[int, str], ...]:
        """Four or five, in the middle of what they name."""
        every = max(1, -(-len(starts) // (5 if self.width > SECOND else 4)))
        form = _form(each)
        shown = range(every // 2, len(starts), every)
        return tuple((round(self.x(number) + self.step / 2), f"{starts[number]:{form}}") for number in shown)


def _form(each: str) -> str:
    return "%b %Y" if each == MONTH else "%-d %b"


def _short(label: str) -> str:
    """Without digits that say nothing."""
    return label.replace(".00\N{NO-BREAK SPACE}", "\N{NO-BREAK SPACE}").replace(
        ".0\N{NO-BREAK SPACE}", "\N{NO-BREAK SPACE}"
    )


def _bars(series: Sequence[Series], frame: _Frame) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {each.style: [] for each in series}
    for number in range(frame.count):
        base = 0.0
        for each in series:
            value = each.values[number]
            if not value:
                continue
            low, high = frame.y(base), frame.y(base + value)
            base += value
            found[each.style].append(f"M{round(frame.x(number) + frame.step / 2)} {low}V{min(high, low - 1)}")
    return found


def _polylines(series: Sequence[Series], frame: _Frame) -> dict[str, list[str]]:
    """A gap is where nothing is known; a value without a neighbour is a short stroke."""
    found: dict[str, list[str]] = {f"ln {each.style}": [] for each in series}
    for each in series:
        sign = "M"
        for number, value in enumerate(each.values):
            if value is None:
                sign = "M"
                continue
            x = round(frame.x(number) + frame.step / 2)
            is_alone = sign == "M" and (number + 1 == len(each.values) or each.values[number + 1] is None)
            found[f"ln {each.style}"].append(f"{sign}{x} {frame.y(value)}{'h5' if is_alone else ''}")
            sign = "L"
    return found

"""Which configurations a list shows, in which order and on which page: all of it is in the address."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flask import abort

from webapp.services import protection
from webapp.services.protection import Protection

PAGE = 20
ALL, RISK, DATABASE, FILES, PAUSED = "all", "risk", "database", "files", "paused"
_NEVER = datetime.min.replace(tzinfo=UTC)
_LATEST = datetime.max.replace(tzinfo=UTC)
_FILTERS: Mapping[str, tuple[str, Callable[[Protection], bool]]] = {
    ALL: ("All", lambda each: True),
    RISK: ("At risk", lambda each: each.status in (protection.UNPROTECTED, protection.AT_RISK)),
    DATABASE: ("Database", lambda each: each.configuration.type == "database"),
    FILES: ("Files", lambda each: each.configuration.type == "files"),
    PAUSED: ("Paused", lambda each: each.schedule is not None and each.schedule.paused_at is not None),
}
# What a click on a column's head sorts by first; "risk" is the order that the service gives.
_ORDERS: Mapping[str, Callable[[Protection, Mapping[str, int]], Any]] = {
    "name": lambda each, points: each.configuration.name.casefold(),
    "newest": lambda each, points: each.newest.finished_at if each.newest else _NEVER,
    "next": lambda each, points: each.schedule.next_at if each.schedule and each.schedule.next_at else _LATEST,
    "points": lambda each, points: points.get(each.configuration.id, 0),
    "checked": lambda each, points: each.checked_at or _NEVER,
}


@dataclass(frozen=True)
class Listed:
    """A page of the list. `points` has how many restore points each row has, by its id; `counts` are those of the saved
    filters; `sort` is a column, with `-` for the other way."""

    rows: Sequence[Protection]
    points: Mapping[str, int]
    found: int
    counts: Sequence[tuple[str, str, int]]
    show: str
    words: str
    sort: str
    page: int
    pages: int

    @property
    def first(self) -> int:
        """The number of the first row."""
        return (self.page - 1) * PAGE + 1

    def direction(self, column: str) -> str | None:
        """As aria-sort says it."""
        return {column: "ascending", f"-{column}": "descending"}.get(self.sort)

    def turned(self, column: str) -> str:
        """What a click on the column's head asks for."""
        return f"-{column}" if self.sort == column else column


def listed(
    found: Sequence[Protection], asked: Mapping[str, str], count: Callable[[list[str]], Mapping[str, int]]
) -> Listed:
    """What the address asks for; 400 for a filter, an order or a page that there is not. `count` says how many restore
    points these configurations have, and is asked for no more of them than has to be."""
    show, sort, words = asked.get("show", ALL), asked.get("sort", "risk"), asked.get("q", "").strip()
    column = sort.removeprefix("-")
    if show not in _FILTERS or column not in (*_ORDERS, "risk"):
        abort(400, f"There is no such filter. There are {', '.join(_FILTERS)}, sorted by risk, {', '.join(_ORDERS)}.")
    matching = [each for each in found if _matches(each, words)]
    rows = [each for each in matching if _FILTERS[show][1](each)]
    points = count([each.configuration.id for each in rows]) if column == "points" else {}
    if column != "risk":
        rows.sort(key=lambda each: _ORDERS[column](each, points))
    if sort.startswith("-"):
        rows.reverse()
    pages = max(1, math.ceil(len(rows) / PAGE))
    page = int(text) if (text := asked.get("page", "1")).isdecimal() and len(text) < 7 else 0
    if not 1 <= page <= pages:
        abort(400, f"There is no page {text[:20]}; there are {pages}.")
    counts = [(key, label, sum(map(fits, matching))) for key, (label, fits) in _FILTERS.items()]
    shown = rows[(page - 1) * PAGE : page * PAGE]
    points = points or count([each.configuration.id for each in shown])
    return Listed(shown, points, len(rows), counts, show, words, sort, page, pages)


def _matches(each: Protection, words: str) -> bool:
    if not words:
        return True
    text = f"{each.configuration.id} {each.configuration.name} {each.configuration.type}".casefold()
    return all(word in text for word in words.casefold().split())

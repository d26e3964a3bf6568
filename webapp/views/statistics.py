"""Statistics: better or worse than before? The figures of the API and of `backup-cli stats`, drawn; the period is in
the address."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from flask import Blueprint, abort, g, render_template, request

from webapp.errors import NotFound
from webapp.extensions import installation
from webapp.forms.days import NO_DAY, day_of
from webapp.installation import Installation
from webapp.models.run import FAILED, INTERRUPTED, SUCCEEDED, WARNING
from webapp.security import needs
from webapp.services import destinations, fullness, restore_points, stats
from webapp.services.objectives import Attained
from webapp.services.run_exports import csv_of
from webapp.services.stats import Stats
from webapp.services.trends import Day
from webapp.views import plots
from webapp.views.plots import BYTES, COUNT, SECOND, SECONDS, Plot, Series
from webapp.views.streams import as_file

pages = Blueprint("statistics", __name__, url_prefix="/stats")
PERIODS = {"7d": 7, "30d": 30, "90d": 90, "365d": 365}
_DEFAULT = "30d"
_LONGEST = timedelta(days=3660)
_ENOUGH = timedelta(days=7)
_ROWS = 6
CAUSES: Mapping[str, str] = {
    "SourceError": "A database or folder could not be read",
    "StorageError": "A destination could not be reached or written",
    "TargetError": "What was to be written to did not take it",
    "interrupted": "Its process or the service was stopped",
    "stalled": "There was no progress for too long",
    "WrongKey": "The key does not open the backups",
    "KeyMissing": "The key is gone",
    "Corrupt": "Data at a destination is damaged",
    "unknown": "Not noted",
}
"""What the causes of failures mean, for people; others are shown as they are."""


@dataclass
class Period:
    """Whole days (of UTC), as `values` of the address say; `faults` by field."""

    values: dict[str, str]
    first: date
    last: date
    faults: dict[str, str] = field(default_factory=dict)


@pages.get("")
@needs("overview.read")
def index() -> Any:
    """The figures of a period, of all backups or of one."""
    own = installation()
    period, config_id = _period(own.clock().date()), request.args.get("backup", "").strip() or None
    found = None
    if not period.faults:
        try:
            # A period ends with the day of `until` and begins so many days before it.
            until = datetime.combine(period.last, time(), UTC)
            days = period.last - period.first
            found = stats.stats(own, period=days, until=until, config_id=config_id, look=False, series=False)
        except NotFound as error:
            period.faults["backup"] = error.message
    if found is None:
        return _page(period, config_id), 400
    charts = _charts(found, period)
    wanted = request.args.get("csv")
    if wanted is not None:
        return _saved(wanted, charts, found)
    objectives = sorted(found.attained, key=_by_danger)
    sees_places = g.actor.may("destinations.read") and config_id is None
    return _page(
        period,
        config_id,
        found=found,
        charts=charts,
        rooms=fullness.left(own, destinations.listing(own)) if sees_places else [],
        objectives=objectives[:_ROWS],
        left_out=max(0, len(objectives) - _ROWS),
        is_young=_is_young(own, found, config_id),
    )


def _page(period: Period, config_id: str | None, **found: Any) -> str:
    return render_template(
        "statistics.html",
        period=period,
        periods=PERIODS,
        config_id=config_id,
        causes=CAUSES,
        table_of=plots.table,
        **found,
    )


def _period(today: date) -> Period:
    values = {name: text for name in ("period", "from", "to") if (text := request.args.get(name, "").strip())}
    days = PERIODS.get(values.get("period", _DEFAULT))
    period = Period(values, today - timedelta(days=days or 1), today)  # as the API: so many days before today
    if days is None:
        period.faults["period"] = f"must be one of {', '.join(PERIODS)}."
    for name in ("from", "to"):
        if name not in values:
            continue
        day = day_of(values[name])
        if day is None:
            period.faults[name] = NO_DAY
        elif name == "from":
            period.first = day
        else:
            period.last = day
    if "to" in values and "from" not in values and not period.faults:
        period.first = period.last - timedelta(days=days or 1)
    period.last = min(period.last, today)
    if not period.faults and not timedelta(0) <= period.last - period.first <= _LONGEST:
        period.faults["from"] = "must lie before the last day, and at most ten years before it."
    return period


def _charts(found: Stats, period: Period) -> dict[str, Plot]:
    over = plots.buckets(found.days, period.first, period.last)
    runs = [
        Series("good", "f-ok", over.sums(lambda day: day.runs.get(SUCCEEDED, 0))),
        Series("with warnings", "f-warn", over.sums(lambda day: day.runs.get(WARNING, 0))),
        Series("failed", "f-err", over.sums(lambda day: day.runs.get(FAILED, 0) + day.runs.get(INTERRUPTED, 0))),
    ]
    took = [
        Series("half within", "l1", over.highest(lambda day: day.duration_p50)),
        Series("95 of 100 within", "l2", over.highest(lambda day: day.duration_p95)),
    ]
    sizes = [
        Series(name, style, tuple(value or None for value in over.sums(of)))
        for name, style, of in (
            ("what a restore would write", "l1", lambda day: day.total),
            ("new data in it", "l2", lambda day: day.new),
            ("stored", "l3", lambda day: day.stored),
        )
    ]
    return {
        "runs": plots.stacked("Backups by outcome", over, runs, COUNT),
        "durations": plots.lines("How long backups took", over, took, SECONDS, wide=SECOND),
        "sizes": plots.lines("Size of the restore points made, new data in them, and what it took", over, sizes, BYTES),
        "types": plots.stacked(
            "Stored by type of backup", over, plots.by_part(over, lambda day: day.by_type), BYTES, wide=SECOND
        ),
        "backups": plots.stacked("Stored by backup", over, plots.by_part(over, _by_backup), BYTES),
        "destinations": plots.lines(
            "Stored at each destination, added up", over, plots.places(over), BYTES, wide=SECOND
        ),
    }


def _by_backup(day: Day) -> Mapping[str, int]:
    return {**day.by_config, plots.OTHERS: max(0, day.stored - sum(day.by_config.values()))}


def _is_young(own: Installation, found: Stats, config_id: str | None) -> bool:
    """Whether there is not enough for a trend: nothing is a week old, in the period or on record."""
    now = own.clock()
    if found.days and now.date() - date.fromisoformat(found.days[0].day) >= _ENOUGH:
        return False
    points = restore_points.series(own, config_id=config_id)
    return now - min((each.oldest_at for each in points if each.oldest_at is not None), default=now) < _ENOUGH


def _by_danger(each: Attained) -> tuple[float, str]:
    """Those that missed what was promised by most come first."""
    shares = [
        (seconds or 0.0) / (60 * minutes)
        for seconds, minutes in ((each.rpo_seconds, each.rpo_objective), (each.rto_seconds, each.rto_objective))
        if minutes
    ]
    return -max(shares, default=0.0), each.config_id


def _saved(wanted: str, charts: Mapping[str, Plot], found: Stats) -> Any:
    head: Iterable[str]
    rows: Iterable[Iterable[Any]]
    if wanted == "objectives":
        head = ("configId", "rpoMinutes", "rpoAttainedSeconds", "rtoMinutes", "rtoAttainedSeconds")
        rows = (
            (each.config_id, each.rpo_objective, each.rpo_seconds, each.rto_objective, each.rto_seconds)
            for each in found.attained
        )
    elif wanted in charts:
        plot = charts[wanted]
        head = (plot.each, *(each.name for each in plot.series))
        rows = (
            (start.isoformat(), *(each.values[number] for each in plot.series))
            for number, start in enumerate(plot.buckets)
        )
    else:
        abort(400, f"There are figures of {', '.join(charts)} and objectives.")
    return as_file(csv_of(rows, head), f"{wanted}.csv", "text/csv")

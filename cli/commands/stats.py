"""`stats`: figures over runs and restore points."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import click

from cli import output
from cli.options import Age, json_option, pass_door
from cli.state import Door

if TYPE_CHECKING:
    from webapp.services.stats import Stats

SHOWN_DAYS = 7


@click.command("stats")
@click.option("--since", type=Age(), default="30d", show_default=True, metavar="AGE", help="How far back.")
@click.option("--config", "config_id", metavar="ID", help="Only of this configuration.")
@json_option
@pass_door
def command(door: Door, since: timedelta, config_id: str | None) -> None:
    """Success, duration and sizes of backups.

    Runs and bytes are those of the period; restore points and storage are those of now.
    """
    from webapp.services import runs
    from webapp.services import stats as service

    runs.interrupt_dead(door.installation)
    found = service.stats(door.installation, period=since, config_id=config_id)
    if door.json:
        output.document(door, service.document(found, config_id))
    else:
        _print(found, door.settings.timezone)


def _print(found: Stats, zone: str) -> None:
    runs, sizes = found.runs, found.bytes
    counts = ", ".join(f"{count} {state}" for state, count in runs.by_status.items())
    rate = "-" if runs.success_rate is None else f"{100 * runs.success_rate:.1f} %"
    facts = {
        "Since": output.when(found.since, zone),
        "Backup runs": counts or "none",
        "Success": rate,
        "Duration": f"{output.duration(runs.duration_p50)} (half), {output.duration(runs.duration_p95)} (95 %)",
        "Restore points": f"{sizes.backups} made, {output.size(sizes.total)} in all",
        "Bytes": f"{output.size(sizes.read)} read, {output.size(sizes.new)} new, {output.size(sizes.stored)} stored",
        "By type": ", ".join(f"{name} {output.size(count)}" for name, count in found.by_type.items()) or "-",
        "Failures": ", ".join(f"{count} {cause}" for cause, count in found.failures.items()) or "none",
        "Deduplication": f"{_times(sizes.deduplication_ratio)}; with compression {_times(sizes.reduction_ratio)}",
    }
    width = max(map(len, facts))
    for name, value in facts.items():
        output.line(f"{name:<{width}}  {value}")
    _print_trend(found)
    _print_series(found, zone)
    _print_objectives(found)
    _print_storage(found)


def _print_trend(found: Stats) -> None:
    """The newest days; `--json` has all, by type, configuration and destination."""
    rows = [
        [
            each.day,
            str(sum(each.runs.values())),
            str(each.runs.get("failed", 0) + each.runs.get("interrupted", 0)),
            output.size(each.stored),
            ", ".join(f"{name} {output.size(count)}" for name, count in each.by_destination.items()),
        ]
        for each in found.days[-SHOWN_DAYS:]
    ]
    if rows:
        output.line()
    headings = ["DAY (UTC)", "RUNS", "FAILED", "STORED", "AT"]
    output.table(headings, rows, right=("RUNS", "FAILED", "STORED"))


def _print_objectives(found: Stats) -> None:
    rows = [
        [
            each.config_id,
            _minutes(each.rpo_objective),
            output.duration(each.rpo_seconds),
            _minutes(each.rto_objective),
            output.duration(each.rto_seconds),
        ]
        for each in found.attained
        if each.rpo_seconds is not None or each.rto_seconds is not None or each.rpo_objective or each.rto_objective
    ]
    if rows:
        output.line()
    headings = ["CONFIG", "RPO WANTED", "LONGEST GAP", "RTO WANTED", "SLOWEST RESTORE"]
    output.table(headings, rows, right=headings[1:])


def _print_series(found: Stats, zone: str) -> None:
    rows = [
        [
            series.config_id,
            str(series.count),
            output.size(series.bytes),
            output.when(series.newest_at, zone),
            output.duration(None if series.newest_age is None else series.newest_age.total_seconds()),
        ]
        for series in found.series
    ]
    if rows:
        output.line()
    output.table(["CONFIG", "POINTS", "SIZE", "NEWEST", "AGE"], rows, right=("POINTS", "SIZE", "AGE"))


def _print_storage(found: Stats) -> None:
    rows = [
        [
            each.place.destination.name,
            each.place.destination.kind,
            each.place.state,
            str(each.place.copies),
            output.size(each.bytes),
            output.size(each.place.free_bytes),
            "-" if each.days_until_full is None else f"{each.days_until_full:,.0f}",
        ]
        for each in found.storage
    ]
    if rows:
        output.line()
    headings = ["DESTINATION", "TYPE", "STATE", "POINTS", "STORED", "FREE", "DAYS LEFT"]
    output.table(headings, rows, right=("POINTS", "STORED", "FREE", "DAYS LEFT"))


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.1f}x"


def _minutes(objective: int | None) -> str:
    return "-" if objective is None else output.duration(60 * objective)

"""`stats`: figures over runs and restore points."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from cli import output
from cli.options import Age, json_option, pass_door
from cli.state import Door

if TYPE_CHECKING:
    from webapp.services.stats import Stats


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
        output.document(door, _document(found, config_id))
    else:
        _print(found, door.settings.timezone)


def _document(found: Stats, config_id: str | None) -> dict[str, Any]:
    runs, sizes = found.runs, found.bytes
    return {
        "since": found.since,
        "configId": config_id,
        "runs": {
            "total": sum(runs.by_status.values()),
            "byStatus": runs.by_status,
            "successRate": _rounded(runs.success_rate),
            "durationSeconds": {"p50": runs.duration_p50, "p95": runs.duration_p95},
            "failuresByCause": found.failures,
        },
        "bytes": {
            "backups": sizes.backups,
            "total": sizes.total,
            "read": sizes.read,
            "new": sizes.new,
            "stored": sizes.stored,
            "deduplicationRatio": _rounded(sizes.deduplication_ratio),
            "reductionRatio": _rounded(sizes.reduction_ratio),
        },
        "objectives": [
            {
                "configId": each.config_id,
                "rpoMinutes": each.rpo_objective,
                "rpoAttainedSeconds": each.rpo_seconds,
                "rtoMinutes": each.rto_objective,
                "rtoAttainedSeconds": each.rto_seconds,
            }
            for each in found.attained
        ],
        "restorePoints": [
            {
                "configId": series.config_id,
                "count": series.count,
                "bytes": series.bytes,
                "oldestAt": series.oldest_at,
                "newestAt": series.newest_at,
                "newestAgeSeconds": None if series.newest_age is None else series.newest_age.total_seconds(),
            }
            for series in found.series
        ],
        "destinations": [
            {
                "name": each.place.destination.name,
                "type": each.place.destination.kind,
                "status": each.place.state,
                "copies": each.place.copies,
                "trashed": each.place.trashed,
                "packs": each.packs,
                "bytes": each.bytes,
                "freeBytes": each.place.free_bytes,
                "daysUntilFull": _rounded(each.days_until_full),
                "error": None if each.place.trouble is None else each.place.trouble.error,
            }
            for each in found.storage
        ],
    }


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
        "Deduplication": f"{_times(sizes.deduplication_ratio)}; with compression {_times(sizes.reduction_ratio)}",
    }
    width = max(map(len, facts))
    for name, value in facts.items():
        output.line(f"{name:<{width}}  {value}")
    _print_series(found, zone)
    _print_storage(found)


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
        ]
        for each in found.storage
    ]
    if rows:
        output.line()
    headings = ["DESTINATION", "TYPE", "STATE", "POINTS", "STORED", "FREE"]
    output.table(headings, rows, right=("POINTS", "STORED", "FREE"))


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.1f}x"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)

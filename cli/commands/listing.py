"""`list`: restore points, or with a flag configurations, destinations or runs; newest first."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from cli import output
from cli.options import Age, json_option, pass_door
from cli.state import Door

if TYPE_CHECKING:
    from webapp.models import Run
    from webapp.services.restore_points import Place

STATES = ("queued", "running", "succeeded", "warning", "failed", "cancelled", "interrupted")
POINT_STATES = ("succeeded", "warning")


@click.command("list")
@click.option("--config", "config_id", metavar="ID", help="Only of this configuration.")
@click.option("--configs", is_flag=True, help="Configurations.")
@click.option("--destinations", is_flag=True, help="Destinations.")
@click.option("--runs", is_flag=True, help="Runs, also those that failed.")
@click.option("--status", type=click.Choice(STATES), help="Only with this status.")
@click.option("--since", type=Age(), metavar="AGE", help="Not older, such as 12h, 7d or 4w.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most so many.")
@json_option
@pass_door
def command(
    door: Door,
    config_id: str | None,
    configs: bool,
    destinations: bool,
    runs: bool,
    status: str | None,
    since: timedelta | None,
    limit: int,
) -> None:
    """Restore points, configurations, destinations or runs, newest first."""
    if configs + destinations + runs > 1:
        raise click.UsageError("Give one of --configs, --destinations and --runs.")
    if (configs or destinations) and (config_id, status, since) != (None, None, None):
        raise click.UsageError("--config, --status and --since narrow runs and restore points only.")
    if configs:
        _configurations(door, limit)
    elif runs:
        _runs(door, config_id=config_id, status=status, since=since, limit=limit)
    elif destinations:
        _destinations(door, limit)
    else:
        _restore_points(door, config_id=config_id, status=status, since=since, limit=limit)


def _restore_points(
    door: Door, *, config_id: str | None, status: str | None, since: timedelta | None, limit: int
) -> None:
    from cli.commands import points
    from webapp.services import restore_points

    installation = door.installation
    troubles = restore_points.refresh(installation, tell=door.tell)
    earliest = None if since is None else installation.clock() - since
    found = restore_points.listing(installation, config_id=config_id, status=status, since=earliest, limit=limit)
    if door.json:
        output.document(door, [points.summary(backup, troubles) for backup in found])
        return
    if status not in (None, *POINT_STATES):
        door.tell(f"No restore point is {status}: `list --runs --status {status}` shows runs.")
    elif not found:
        door.tell("There is no restore point. `backup-cli create` makes one.")
    points.print_list(found, troubles, door.settings.timezone)


def _destinations(door: Door, limit: int) -> None:
    from webapp.services import restore_points

    found = restore_points.places(door.installation)[:limit]
    if door.json:
        output.document(door, [_place_document(place) for place in found])
        return
    if not found:
        door.tell("There is no destination yet. `backup-cli create` or `backup-cli destination add` makes one.")
    for place in found:
        if place.trouble is not None:
            door.tell(f"{place.destination.name}: {place.trouble.error} {place.trouble.hint}".rstrip())
    rows = [
        [
            place.destination.name,
            place.destination.kind,
            place.state,
            str(place.copies),
            output.size(place.free_bytes),
            place.where or "-",
        ]
        for place in found
    ]
    output.table(["NAME", "TYPE", "STATE", "POINTS", "FREE", "WHERE"], rows, right=("POINTS", "FREE"))


def _place_document(place: Place) -> dict[str, Any]:
    destination, trouble = place.destination, place.trouble
    return {
        "name": destination.name,
        "type": destination.kind,
        "status": place.state,
        "where": place.where or None,
        "repositoryId": destination.repository_id,
        "copies": place.copies,
        "trashed": place.trashed,
        "freeBytes": place.free_bytes,
        "createdAt": destination.created_at,
        "error": None if trouble is None else trouble.error,
        "hint": None if trouble is None else trouble.hint or None,
    }


def _configurations(door: Door, limit: int) -> None:
    from cli.commands.config import print_configurations
    from webapp.services import configurations

    print_configurations(door, configurations.listing(door.installation)[:limit])


def _runs(door: Door, *, config_id: str | None, status: str | None, since: timedelta | None, limit: int) -> None:
    from webapp.services import runs

    installation = door.installation
    runs.interrupt_dead(installation)
    if config_id is not None:
        from webapp.services import restore_points

        restore_points.require_series(installation, config_id)
    earliest = None if since is None else installation.clock() - since
    found = runs.listing(installation, config_id=config_id, state=status, since=earliest, limit=limit)
    if door.json:
        output.document(door, [run_document(run) for run in found])
        return
    zone = door.settings.timezone
    rows = [
        [
            run.public_id,
            run.kind,
            run.state,
            run.config_id or "-",
            output.when(run.started_at, zone),
            output.duration(run.duration_seconds),
            output.size(run.bytes_read),
            run.error or "",
        ]
        for run in found
    ]
    headings = ["RUN", "KIND", "STATUS", "CONFIG", "STARTED", "TOOK", "READ", "ERROR"]
    output.table(headings, rows, right=("TOOK", "READ"))


def run_document(run: Run) -> dict[str, Any]:
    """A run in the words of the contract."""
    return {
        "runId": run.public_id,
        "kind": run.kind,
        "status": run.state,
        "configId": run.config_id,
        "backupId": run.backup_id,
        "type": run.type,
        "trigger": run.trigger,
        "afterRun": run.arguments.get("afterRun"),
        "identity": run.identity,
        "host": run.host,
        "createdAt": run.created_at,
        "startedAt": run.started_at,
        "finishedAt": run.finished_at,
        "durationSeconds": run.duration_seconds,
        "items": run.items,
        "bytes": {"read": run.bytes_read, "stored": run.bytes_stored},
        "problems": run.problem_count,
        "error": run.error,
        "hint": run.hint,
    }

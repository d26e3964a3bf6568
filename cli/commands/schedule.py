"""`schedule`: when a configuration runs by itself; shows it, changes it, pauses it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cli import output
from cli.options import json_option, pass_door
from cli.state import Door


@click.command("schedule")
@click.option("--config", "config_id", metavar="ID", help="A stored configuration; without it all are shown.")
@click.option("--file", "file", type=click.Path(path_type=Path), help="A configuration file; it is stored.")
@click.option("--cron", metavar="EXPR", help="Such as '0 2 * * *'; five fields, or @daily.")
@click.option("--timezone", "zone", metavar="ZONE", help="Such as Europe/Berlin.")
@click.option("--pause", is_flag=True, help="Do not run by itself until --resume.")
@click.option("--resume", is_flag=True, help="Run by itself again; what passed is not caught up.")
@click.option("--next", "count", type=click.IntRange(1, 100), default=3, show_default=True, help="Show so many times.")
@json_option
@pass_door
def command(
    door: Door,
    config_id: str | None,
    file: Path | None,
    cron: str | None,
    zone: str | None,
    pause: bool,
    resume: bool,
    count: int,
) -> None:
    """When configurations run by themselves. A service has to run for that: `./run`, or `worker` and `scheduler`."""
    if config_id is not None and file is not None:
        raise click.UsageError("Give --config or --file, not both.")
    if pause and resume:
        raise click.UsageError("Give --pause or --resume, not both.")
    changes = {key: value for key, value in (("schedule", cron), ("timezone", zone)) if value is not None}
    if config_id is None and file is None and (changes or pause or resume):
        raise click.UsageError("Give --config ID or --file CONFIG.json.")
    if config_id is None and file is None:
        _all(door, count)
        return
    _one(door, _stored(door, config_id, file, changes), count, pause=pause, resume=resume)


def _stored(door: Door, config_id: str | None, file: Path | None, changes: dict[str, str]) -> str:
    from webapp.schema.document import read
    from webapp.services import configurations
    from webapp.services.access import local_actor

    installation, actor = door.installation, local_actor(door.identity)
    if file is not None:
        return configurations.store(installation, {**read(file), **changes}, actor=actor).configuration.id
    assert config_id is not None
    configuration = configurations.find(installation, config_id)
    if changes:
        document = {**configurations.typed(installation, configuration), **changes}
        configurations.store(installation, document, actor=actor)
    return config_id


def _one(door: Door, config_id: str, count: int, *, pause: bool, resume: bool) -> None:
    from webapp.services import configurations, schedules
    from webapp.services.access import local_actor

    installation, actor = door.installation, local_actor(door.identity)
    if pause:
        schedules.pause(installation, config_id, actor=actor)
    if resume:
        schedules.resume(installation, config_id, actor=actor)
    found = _document(door, configurations.find(installation, config_id).id, count)
    if door.json:
        output.document(door, found)
        return
    output.line(f"{config_id}: {found['schedule'] or 'no schedule'} ({found['timezone']}), {found['state']}")
    for moment in found["next"]:
        output.line(f"  {output.when(moment, found['timezone'])}")


def _all(door: Door, count: int) -> None:
    from webapp.services import configurations

    found = [_document(door, each.id, count) for each in configurations.listing(door.installation)]
    if door.json:
        output.document(door, found)
        return
    rows = [
        [
            each["configId"],
            each["schedule"] or "-",
            each["timezone"],
            each["state"],
            output.when(each["next"][0], each["timezone"]) if each["next"] else "-",
        ]
        for each in found
    ]
    output.table(["CONFIG", "SCHEDULE", "ZONE", "STATE", "NEXT"], rows)


def _document(door: Door, config_id: str, count: int) -> dict[str, Any]:
    from webapp.services import configurations, schedules

    installation = door.installation
    configuration = configurations.find(installation, config_id)
    row = schedules.state(installation, configuration)
    state = "paused" if row.paused_at else "disabled" if not configuration.enabled else "active"
    return {
        "configId": config_id,
        "schedule": row.expression,
        "timezone": row.zone,
        "state": state if row.expression else "by hand",
        "next": schedules.upcoming(installation, configuration, count),
    }

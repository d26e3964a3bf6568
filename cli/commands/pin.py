"""`pin` and `unpin`: a restore point that stays whatever the retention says."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import click

from cli import output
from cli.commands import points
from cli.options import json_option, pass_door
from cli.state import Door


@click.command("pin")
@click.argument("backup")
@click.option("--reason", metavar="TEXT", help="Why, for whoever finds it in years.")
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), metavar="DATE", help="The last day, such as 2031-12-31.")
@json_option
@pass_door
def pin(door: Door, backup: str, reason: str | None, until: datetime | None) -> None:
    """Keep a restore point, whatever the retention says.

    BACKUP is an id, the beginning of one, or CONFIG@latest. One that lies in the trash comes back. Pinning again
    replaces reason and end. With --until it is a hold that ends after that day.
    """
    from webapp.services import audit, pins

    pinned = pins.pin(
        door.installation,
        backup,
        identity=door.identity,
        reason=pins.PINNED if reason is None else reason,
        until_at=None if until is None else _end_of(until.date(), door.settings.timezone),
        tell=door.tell,
    )
    after = {"reason": pinned.hold.reason, "until": pinned.hold.until_at}
    audit.add(door.installation, door.identity, "backup.pinned", pinned.backup.public_id, after=after)
    if door.json:
        output.document(door, {"backupId": pinned.backup.public_id, "pinned": points.hold_document(pinned.hold)})
        return
    end = "" if until is None else f" until the end of {until:%Y-%m-%d}"
    output.line(f"{pinned.backup.public_id} stays{end}.")
    for name in pinned.recalled:
        output.line(output.visible(f"It was taken out of the trash at {name}."))


@click.command("unpin")
@click.argument("backup")
@json_option
@pass_door
def unpin(door: Door, backup: str) -> None:
    """Let retention have a restore point again."""
    from webapp.services import audit, pins

    found, _ = pins.unpin(door.installation, backup)
    audit.add(door.installation, door.identity, "backup.unpinned", found.public_id)
    if door.json:
        output.document(door, {"backupId": found.public_id, "pinned": None})
        return
    output.line(f"{found.public_id} is pinned no more: the next cleanup decides by the retention.")


def _end_of(day: date, zone: str) -> datetime:
    """The last second of a day, in UTC."""
    from zoneinfo import ZoneInfo

    if day == date.max:
        raise click.BadParameter("no day comes after it; without --until a pin never ends.", param_hint="'--until'")
    midnight = datetime.combine(day + timedelta(days=1), time(), ZoneInfo(zone))
    return midnight.astimezone(UTC) - timedelta(seconds=1)

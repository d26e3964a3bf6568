"""`audit`: who did what and when; whether the log is as it was written; the whole of it as JSON lines."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from cli import exits, output
from cli.options import Age, json_option, pass_door
from cli.state import Door

if TYPE_CHECKING:
    from webapp.models.audit import AuditEntry


@click.group("audit")
def command() -> None:
    """The audit log: every sign-in, denial, change, run, restore, download and use of a key."""


@command.command("list")
@click.option("--since", type=Age(), metavar="AGE", help="How far back.")
@click.option("--action", metavar="ACTION", help="Only this, such as user.added.")
@click.option("--identity", metavar="WHO", help="Only what this one did, such as user:maria.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@json_option
@pass_door
def listing(door: Door, since: timedelta | None, action: str | None, identity: str | None, limit: int) -> None:
    """The newest entries first."""
    from webapp.services import audit
    from webapp.services.access import local_actor

    installation = door.installation
    found = audit.listing(
        installation,
        local_actor(door.identity),
        limit=limit,
        action=action,
        identity=identity,
        since=None if since is None else installation.clock() - since,
    )
    if door.json:
        output.document(door, {"entries": [audit.described(entry, with_trace=True) for entry in found]})
        return
    rows = [_row(entry, door.settings.timezone) for entry in found]
    output.table(["NO", "WHEN", "WHO", "FROM", "ACTION", "OBJECT", "OUTCOME"], rows, right=("NO",))


@command.command("verify")
@json_option
@pass_door
def verify(door: Door) -> int:
    """Whether an entry was changed, removed or cut off.

    Ends with 6 when something is not as it was written.
    """
    from webapp.services import audit

    verdict = audit.verify(door.installation)
    flaws = [{"sequence": flaw.sequence, "reason": flaw.reason} for flaw in verdict.flaws]
    document: dict[str, Any] = {
        "status": "damaged" if flaws else "good",
        "entries": verdict.entries,
        "witnessed": verdict.witnessed,
        "head": verdict.head,
        "errors": flaws,
    }
    if door.json:
        output.document(door, document)
    elif flaws:
        output.table(["NO", "WHAT IS WRONG"], [[str(flaw.sequence), flaw.reason] for flaw in verdict.flaws])
    else:
        output.line(f"Entries: {verdict.entries:,}, all as they were written.")
    return exits.DIFFERENCE if flaws else exits.DONE


@command.command("export")
@pass_door
def export(door: Door) -> None:
    """The whole log on stdout, oldest first, one JSON object a line."""
    from webapp.services import audit

    for entry in audit.every(door.installation):
        output.line(json.dumps(audit.described(entry, with_trace=True)))


def _row(entry: AuditEntry, zone: str) -> list[str]:
    return [
        str(entry.sequence),
        output.when(entry.at, zone),
        entry.identity,
        entry.address or "-",
        entry.action,
        entry.object,
        entry.outcome,
    ]

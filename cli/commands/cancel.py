"""`cancel`: asks a run to stop."""

from __future__ import annotations

import click

from cli import output
from cli.options import json_option, pass_door
from cli.state import Door


@click.command("cancel")
@click.argument("run_id", metavar="RUN")
@json_option
@pass_door
def command(door: Door, run_id: str) -> None:
    """Stop a run: a queued one at once, one that is at work within seconds. What it had committed stays."""
    from cli.commands.listing import run_document
    from webapp.services import runs
    from webapp.services.access import local_actor

    installation = door.installation
    asked = runs.request_cancel(installation, run_id, actor=local_actor(door.identity))
    run = runs.fetch(installation, asked.id)
    if door.json:
        output.document(door, run_document(run))
    elif run.is_active:
        output.line(f"{run.public_id} was asked to stop.")
    else:
        output.line(f"{run.public_id} is {run.state}.")

"""`logs`: the lines of a run; with `-f` also those to come."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import click

from cli import exits, output
from cli.options import json_option, pass_door
from cli.state import Door

if TYPE_CHECKING:
    from webapp.models import RunLine

LOOK_SECONDS = 0.5


@click.command("logs")
@click.argument("run_id", metavar="RUN")
@click.option("-f", "--follow", is_flag=True, help="Go on until the run has ended; the exit code is the run's.")
@json_option
@pass_door
def command(door: Door, run_id: str, follow: bool) -> int:
    """The log of a run."""
    from webapp.services import run_lines, runs

    installation = door.installation
    run = runs.find(installation, run_id)
    position, lines = 0, []
    while True:
        now = runs.fetch(installation, run.id)
        found = run_lines.after(installation, run.id, position)
        position = found[-1].position if found else position
        lines += found
        if not door.json:
            for line in found:
                output.line(_line(door, line))
        if not follow or not now.is_active:
            break
        threading.Event().wait(LOOK_SECONDS)
    if door.json:
        entries = [{"at": line.at, "text": line.text} for line in lines]
        output.document(door, {"runId": now.public_id, "status": now.state, "lines": entries})
    elif now.error:
        door.tell(f"{now.public_id} is {now.state}: {now.error}")
    return exits.STATES[now.state] if follow else exits.DONE


def _line(door: Door, line: RunLine) -> str:
    return f"{output.when(line.at, door.settings.timezone)}  {output.visible(line.text)}"

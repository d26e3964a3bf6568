"""`undo`: swaps back what a restore replaced, as long as that is kept."""

from __future__ import annotations

import click

from cli.options import json_option, pass_door
from cli.state import Door


@click.command("undo")
@click.argument("restore", metavar="RESTORE")
@click.option("--inline", is_flag=True, help="In this process, whatever runs elsewhere.")
@json_option
@pass_door
def command(door: Door, restore: str, inline: bool) -> int:
    """Swap back after `restore --replace`. RESTORE is its id (rs_…), or that of its run.

    What was restored, and what was written to it since, is kept beside in its turn.
    """
    from cli.queueing import follow, is_served
    from cli.results import tell_restore
    from cli.work import working
    from webapp.services import journal, replacing

    installation = door.installation
    if inline or not is_served(door, "restore"):
        with working(door) as progress:
            finished = replacing.undo(installation, door.identity, restore, progress=progress, tell=progress.say)
    else:
        journal.settle(installation, tell=door.tell)
        finished = follow(door, replacing.send_undo(installation, door.identity, restore))
    return tell_restore(door, finished)

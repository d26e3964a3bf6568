"""`worker`: works on queued runs until it is stopped."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module

import click

from cli.options import pass_door
from cli.state import Door


@click.command("worker")
@click.option("--queue", "queues", multiple=True, metavar="NAME", help="Serve this queue; repeatable.")
@pass_door
def command(door: Door, queues: tuple[str, ...]) -> None:
    """Work on the queues of HOLDFAST_QUEUES (backup, restore, system) until SIGTERM or Ctrl-C.

    A worker named host:NAME backs up the files of that host: give `"queue": "host:NAME"` in a configuration.
    """
    settings = door.settings
    # A process of the service, started by name: the command line itself knows nothing of jobs, pages and API.
    import_module("webapp.workers").work_on(replace(settings, queues=queues) if queues else settings)

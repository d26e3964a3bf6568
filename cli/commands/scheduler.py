"""`scheduler`: lets the service look every few seconds what is due."""

from __future__ import annotations

import click

from cli.options import pass_door
from cli.state import Door


@click.command("scheduler")
@pass_door
def command(door: Door) -> None:
    """Keep the tick of the service going until SIGTERM or Ctrl-C. A second one does no harm."""
    settings = door.settings
    from webapp import scheduling

    scheduling.schedule_on(settings)

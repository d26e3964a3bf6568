"""`first-run`: what `./run` does until the service exists: a first real backup and restore."""

from __future__ import annotations

import click

from cli.options import not_built, pass_door
from cli.state import Door


@click.command("first-run")
@pass_door
def command(door: Door) -> int:
    """A first real backup and restore."""
    raise not_built("`first-run`")

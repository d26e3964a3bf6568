"""`stats`: figures over runs and restore points."""

from __future__ import annotations

from datetime import timedelta

import click

from cli.options import Age, json_option, not_built, pass_door
from cli.state import Door


@click.command("stats")
@click.option("--since", type=Age(), default="30d", show_default=True, metavar="AGE", help="How far back.")
@click.option("--config", "config_id", metavar="ID", help="Only of this configuration.")
@json_option
@pass_door
def command(door: Door, since: timedelta, config_id: str | None) -> int:
    """Success, duration and sizes."""
    raise not_built("`stats`")

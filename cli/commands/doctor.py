"""`doctor`: looks for what is wrong with this installation."""

from __future__ import annotations

import click

from cli.options import json_option, not_built, pass_door
from cli.state import Door


@click.command("doctor")
@json_option
@pass_door
def command(door: Door) -> int:
    """Look for what is wrong with this installation, and say what to do."""
    raise not_built("`doctor`")

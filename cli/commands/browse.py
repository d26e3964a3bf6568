"""`show`, `ls`, `get` and `diff`: what is in a restore point."""

from __future__ import annotations

import click

from cli.options import json_option, not_built, pass_door
from cli.state import Door


@click.command("show")
@click.argument("backup")
@json_option
@pass_door
def show(door: Door, backup: str) -> int:
    """One restore point in full. BACKUP is an id, the beginning of one, or CONFIG@latest."""
    raise not_built("`show`")


@click.command("ls")
@click.argument("backup")
@click.argument("path", required=False)
@json_option
@pass_door
def ls(door: Door, backup: str, path: str | None) -> int:
    """The files and tables in a restore point."""
    raise not_built("`ls`")


@click.command("get")
@click.argument("backup")
@click.argument("path")
@click.option("-o", "--output", "target", metavar="FILE", help="Write to this new file; - is stdout.")
@json_option
@pass_door
def get(door: Door, backup: str, path: str, target: str | None) -> int:
    """One file or dump out of a restore point."""
    raise not_built("`get`")


@click.command("diff")
@click.argument("first")
@click.argument("second")
@json_option
@pass_door
def diff(door: Door, first: str, second: str) -> int:
    """What changed between two restore points."""
    raise not_built("`diff`")

"""`restore`: brings a restore point back, to a new place."""

from __future__ import annotations

import click

from cli.options import json_option, not_built, pass_door
from cli.state import Door


@click.command("restore")
@click.option("--backup", required=True, metavar="ID", help="An id, the beginning of one, or CONFIG@latest.")
@click.option("--to", "targets", multiple=True, metavar="TARGET", help="A folder or postgresql://…/db; repeatable.")
@click.option("--only", "only", multiple=True, metavar="PATH|TABLE", help="/a/path or [database:]schema.table.")
@click.option("--replace", is_flag=True, help="Put it in the place of what is there.")
@click.option("--verify", is_flag=True, help="Compare again with what was backed up.")
@click.option("--dry-run", is_flag=True, help="Say what would happen.")
@click.option("--confirm", "typed", metavar="TARGET", help="The exact target, for --replace without a terminal.")
@click.option("--inline", is_flag=True, help="In this process, whatever runs elsewhere.")
@json_option
@pass_door
def command(
    door: Door,
    backup: str,
    targets: tuple[str, ...],
    only: tuple[str, ...],
    replace: bool,
    verify: bool,
    dry_run: bool,
    typed: str | None,
    inline: bool,
) -> int:
    """Restore to a new place: restored-<id>/, and databases named <name>_restored_<id>."""
    if replace or typed is not None:
        raise not_built("`restore --replace`")
    raise not_built("`restore`")

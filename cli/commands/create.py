"""`create`: makes a backup."""

from __future__ import annotations

from pathlib import Path

import click

from cli.options import Tag, json_option, not_built, pass_door
from cli.state import Door
from webapp.schema.defaults import TYPES


@click.command("create")
@click.option("--config", "config_id", metavar="ID", help="A stored configuration.")
@click.option("--file", "file", type=click.Path(path_type=Path), help="A configuration file; it is stored, then run.")
@click.option("--type", "backup_type", type=click.Choice(TYPES), help="With the environment's sources; or the type.")
@click.option("--tag", "tags", type=Tag(), multiple=True, metavar="K=V", help="Free text; may be repeated.")
@click.option("--inline", is_flag=True, help="In this process, whatever runs elsewhere.")
@click.option("--wait/--no-wait", default=True, help="Return when the run has ended, or at once.")
@json_option
@pass_door
def command(
    door: Door,
    config_id: str | None,
    file: Path | None,
    backup_type: str | None,
    tags: tuple[tuple[str, str], ...],
    inline: bool,
    wait: bool,
) -> int:
    """Make a backup."""
    if config_id is not None and file is not None:
        raise click.UsageError("Give --config or --file, not both.")
    if config_id is None and file is None and backup_type is None:
        raise click.UsageError("Give --config ID, --file CONFIG.json or --type TYPE.")
    if not wait:
        raise not_built("`create --no-wait`")
    raise not_built("`create`")

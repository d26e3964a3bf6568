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
    chosen = config_id or _stored(door, file, backup_type)
    # With --type alone the configuration is of that type already.
    as_type = backup_type if config_id is not None or file is not None else None
    return run(door, chosen, as_type=as_type, tags=dict(tags))


def run(door: Door, config_id: str, *, as_type: str | None = None, tags: dict[str, str] | None = None) -> int:
    """Backs a stored configuration up, tells how it went, and returns the exit code."""
    from cli.results import tell_backup
    from cli.work import working
    from webapp.services import backups

    installation = door.installation
    order = backups.Order(config_id, door.identity, as_type=as_type, tags=tags or {})
    with working(door) as progress:
        finished = backups.create(installation, order, cwd=door.cwd, progress=progress, tell=progress.say)
    return tell_backup(door, finished)


def _stored(door: Door, file: Path | None, backup_type: str | None) -> str:
    """The id of the configuration in the file, or of the environment's defaults; stored before it is run."""
    from webapp.services import configurations

    if file is not None:
        from webapp.schema.document import read

        stored = configurations.store(door.installation, read(file))
        if stored.changed:
            door.tell(f"The configuration {stored.configuration.id} was updated.")
        return stored.configuration.id
    from webapp.schema.defaults import default_document

    assert backup_type is not None
    return configurations.store_default(door.installation, default_document(backup_type, door.settings.environment)).id

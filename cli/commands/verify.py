"""`verify`: reads backups back and checks every byte."""

from __future__ import annotations

import click

from cli.options import json_option, not_built, pass_door
from cli.state import Door


@click.command("verify")
@click.option("--backup", metavar="ID", help="One restore point.")
@click.option("--config", "config_id", metavar="ID", help="All restore points of a configuration.")
@click.option("--all", "everything", is_flag=True, help="Everything.")
@click.option("--read-data", type=click.IntRange(1, 100), default=100, show_default=True, metavar="PERCENT")
@click.option("--drill", is_flag=True, help="Restore into a scratch place as well.")
@click.option("--inline", is_flag=True, help="In this process, whatever runs elsewhere.")
@json_option
@pass_door
def command(
    door: Door,
    backup: str | None,
    config_id: str | None,
    everything: bool,
    read_data: int,
    drill: bool,
    inline: bool,
) -> int:
    """Read backups back and check every byte. Everything, unless told otherwise."""
    if (backup is not None) + (config_id is not None) + everything > 1:
        raise click.UsageError("Give one of --backup, --config and --all.")
    if drill:
        raise not_built("`verify --drill`")
    from cli.queueing import is_served

    if not inline and is_served(door, "backup"):
        return _queue(door, backup, config_id, read_data)
    return run(door, backup=backup, config_id=config_id, read_percent=read_data)


def _queue(door: Door, backup: str | None, config_id: str | None, read_percent: int) -> int:
    from cli.queueing import follow
    from cli.results import tell_verification
    from webapp.services import configurations, repositories, submit
    from webapp.services.runs import NewRun

    installation = door.installation
    backup_id = None if backup is None else repositories.find_backup(installation, backup).public_id
    if config_id is not None:
        configurations.find(installation, config_id)
    arguments = {"readPercent": read_percent}
    new = NewRun("verify", door.identity, config_id=config_id, backup_id=backup_id, arguments=arguments)
    return tell_verification(door, follow(door, submit.submit(installation, new)), read_percent)


def run(door: Door, *, backup: str | None = None, config_id: str | None = None, read_percent: int = 100) -> int:
    """Verifies, tells what was found, and returns the exit code."""
    from cli.results import tell_verification
    from cli.work import working
    from webapp.services import verifications

    installation = door.installation
    order = verifications.Order(door.identity, backup=backup, config_id=config_id, read_percent=read_percent)
    with working(door) as progress:
        finished = verifications.verify(installation, order, progress=progress, tell=progress.say)
    return tell_verification(door, finished, read_percent)

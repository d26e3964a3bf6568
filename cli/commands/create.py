"""`create`: makes a backup."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli import output
from cli.options import Tag, json_option, pass_door
from cli.state import Door
from webapp.errors import Unavailable
from webapp.schema.defaults import TYPES

if TYPE_CHECKING:
    from webapp.models import Run


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
    if inline and not wait:
        raise click.UsageError("--inline and --no-wait exclude each other.")
    how = How(inline=inline, wait=wait)
    if config_id is not None:
        return run(door, config_id, as_type=backup_type, tags=dict(tags), how=how)
    if file is not None:
        return run(door, _store_file(door, file, backup_type), as_type=backup_type, tags=dict(tags), how=how)
    assert backup_type is not None
    return _run_default(door, backup_type, dict(tags), how)


@dataclass(frozen=True)
class How:
    """`inline`: in this process; `wait`: until the run has ended."""

    inline: bool = False
    wait: bool = True


HERE_OR_THERE = How()


def run(
    door: Door,
    config_id: str,
    *,
    as_type: str | None = None,
    tags: dict[str, str] | None = None,
    how: How = HERE_OR_THERE,
) -> int:
    """Backs a stored configuration up, tells how it went, and returns the exit code."""
    from cli.queueing import is_served
    from webapp.services import configurations

    configuration = configurations.find(door.installation, config_id)
    queue = configuration.document.get("queue") or "backup"
    if not how.inline and is_served(door, queue, configuration.document):
        return _queue(door, config_id, as_type or configuration.type, as_type, tags or {}, wait=how.wait)
    if not how.wait:
        raise Unavailable("No worker serves the queue.", hint="Start `./run`, or leave --no-wait out.")
    return _run_here(door, config_id, as_type, tags or {})


def _queue(door: Door, config_id: str, named: str, as_type: str | None, tags: dict[str, str], *, wait: bool) -> int:
    from cli.queueing import follow
    from cli.results import tell_backup
    from webapp.services import submit
    from webapp.services.runs import NewRun

    arguments = {"tags": tags} if as_type is None else {"tags": tags, "type": as_type}
    new = NewRun("create", door.identity, config_id=config_id, type=named, arguments=arguments)
    waiting = submit.submit(door.installation, new)
    if wait:
        return tell_backup(door, follow(door, waiting))
    if door.json:
        from cli.commands.listing import run_document

        output.document(door, run_document(waiting))
    else:
        output.line(waiting.public_id)
    return 0


def _run_here(door: Door, config_id: str, as_type: str | None, tags: dict[str, str]) -> int:
    from cli.results import tell_backup
    from cli.work import working
    from webapp.services import after_backup, backups, configurations, unbuilt

    installation = door.installation
    document = configurations.find(installation, config_id).document
    idle = unbuilt.without_effect(document)
    if idle:
        door.tell(f"Warning: {idle}")
    order = backups.Order(config_id, door.identity, as_type=as_type, tags=tags)
    with working(door) as progress:
        finished = backups.create(installation, order, cwd=door.cwd, progress=progress, tell=progress.say)
    code = tell_backup(door, finished)
    share = after_backup.percent(document, finished.run)
    return code if share is None else _check(door, finished.run, share) or code


def _check(door: Door, made: Run, percent: int) -> int:
    """The check after a backup, beside its result on stdout; its exit code."""
    from cli.results import ended
    from cli.work import working
    from webapp.services import after_backup, verifications

    order = verifications.Order(
        door.identity,
        backup=made.backup_id,
        read_percent=percent,
        trigger=after_backup.AFTER,
        arguments={"readPercent": percent, "afterRun": made.public_id},
    )
    with working(door) as progress:
        finished = verifications.verify(door.installation, order, progress=progress, tell=progress.say)
    if finished.run.state == "succeeded":
        door.tell(f"{made.backup_id} was read back ({percent} % of its data) and is sound.")
    return ended(door, finished)


def _store_file(door: Door, file: Path, as_type: str | None) -> str:
    """The id of the configuration in the file, which is stored if it can run."""
    from webapp.schema.document import read
    from webapp.services import configurations
    from webapp.services.access import local_actor

    actor = local_actor(door.identity)
    stored = configurations.store_to_run(door.installation, read(file), cwd=door.cwd, as_type=as_type, actor=actor)
    if stored.changed:
        door.tell(f"The configuration {stored.configuration.id} was updated.")
    return stored.configuration.id


def _run_default(door: Door, backup_type: str, tags: dict[str, str], how: How) -> int:
    """Backs up what the environment's defaults say; their configuration stays only if that made a restore point."""
    from webapp.schema.defaults import default_document
    from webapp.services import configurations
    from webapp.services.access import local_actor

    installation = door.installation
    document = default_document(backup_type, door.settings.environment)
    stored = configurations.store_to_run(installation, document, cwd=door.cwd, actor=local_actor(door.identity))
    try:
        return run(door, stored.configuration.id, tags=tags, how=how)
    finally:
        if stored.created:
            configurations.withdraw(installation, stored.configuration.id)

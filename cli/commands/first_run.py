"""`first-run`: what `./run` does until the service exists: a first real backup, restored and compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cli import exits, output
from cli.options import pass_door
from cli.state import Door

if TYPE_CHECKING:
    from cli.progress import CommandProgress
    from webapp.services.work import Finished

CONFIG = "first-run"
DOCUMENTS = ("configs/", "docs/", "README.md")


@click.command("first-run")
@pass_door
def command(door: Door) -> int:
    """Back our own database, configurations and documents up, restore them beside, compare, verify."""
    from cli.work import working
    from webapp.services import configurations

    installation = door.installation
    configurations.store_to_run(installation, _document(door), cwd=door.cwd)
    with working(door) as progress:
        backup = _back_up(door, progress)
        if backup.run.backup_id is None:
            return _failed(door, backup)
        restored = _restore(door, progress, backup.run.backup_id)
        checked = _verify(door, progress, backup.run.backup_id)
    worst = max((_code(each) for each in (backup, restored, checked)), key=_BADNESS.index)
    if worst in (exits.DONE, exits.WARNINGS):
        _report(door, backup, restored, checked)
    for each in (restored, checked):
        if each.error is not None:
            exits.report(each.error, door)
    return worst


_BADNESS = (exits.DONE, exits.WARNINGS, exits.FAILED, exits.DIFFERENCE, exits.WRONG_KEY, exits.INTERRUPTED)


def _document(door: Door) -> dict[str, Any]:
    """Only what every checkout has, our own database, and the one that the environment names."""
    from webapp.schema.database_urls import sqlite_url
    from webapp.schema.defaults import DATABASE_VARIABLE, DEFAULT_LOCAL_PATH
    from webapp.settings import CHECKOUT

    exclude = ["/*", *(f"!/{name}" for name in DOCUMENTS)]
    sources: dict[str, Any] = {"paths": [{"path": str(CHECKOUT), "exclude": exclude}]}
    own = door.settings.home / "holdfast.db"
    databases = [sqlite_url(own)] if own.is_file() else []
    if door.settings.environment.get(DATABASE_VARIABLE):
        databases.append(f"${{{DATABASE_VARIABLE}}}")
    sources["databases"] = [{"url": url} for url in databases]
    return {
        "id": CONFIG,
        "name": "This project, as a first example",
        "type": "incremental",
        "sources": sources,
        "destinations": [{"type": "local", "config": {"path": DEFAULT_LOCAL_PATH}}],
    }


def _back_up(door: Door, progress: CommandProgress) -> Finished:
    from webapp.services import backups

    order = backups.Order(CONFIG, door.identity, tags={"made-by": "first-run"})
    return backups.create(door.installation, order, cwd=door.cwd, progress=progress, tell=progress.say)


def _restore(door: Door, progress: CommandProgress, backup_id: str) -> Finished:
    from webapp.services import restores

    order = restores.Order(backup_id, door.identity, verify=True, practice=True)
    return restores.restore(door.installation, order, cwd=door.cwd, progress=progress, tell=progress.say)


def _verify(door: Door, progress: CommandProgress, backup_id: str) -> Finished:
    from webapp.services import verifications

    order = verifications.Order(door.identity, backup=backup_id)
    return verifications.verify(door.installation, order, progress=progress, tell=progress.say)


def _code(finished: Finished) -> int:
    code = exits.STATES[finished.run.state] if finished.error is None else exits.exit_code(finished.error)
    return code if code in _BADNESS else exits.FAILED


def _failed(door: Door, backup: Finished) -> int:
    if backup.error is None:
        return exits.STATES[backup.run.state]
    return exits.report(backup.error, door)


def _report(door: Door, backup: Finished, restored: Finished, checked: Finished) -> None:
    from webapp.keyfile import key_path
    from webapp.services import verifications, work
    from webapp.settings import CHECKOUT

    made = work.document(backup.run, backup.problems)
    files = made["files"]
    output.line("A real backup was made, restored and compared:")
    output.line("")
    output.line(f"  backed up  {', '.join(DOCUMENTS)} of {output.visible(str(CHECKOUT))}")
    output.line(
        f"             {output.counted(files['total'], 'file')}: {files['new']} new, {files['changed']} changed, "
        f"{files['unchanged']} unchanged"
    )
    for database in made["databases"]:
        output.line(f"             the database {_tables(database)}, {output.size(database['bytes'])}")
    if made["type"] == "incremental":
        output.line("             (incremental: only what changed since the last time was read)")
    for place in made["destinations"]:
        output.line(f"  kept at    {output.visible(_where(door, place['name']))}, encrypted; as {made['backupId']}")
    output.line(
        f"  restored   beside, in {output.duration(restored.run.duration_seconds)}; every byte was compared, "
        "then the copy was removed"
    )
    for database in work.document(restored.run, ())["databases"]:
        output.line(f"             the database {_tables(database)}, every row counted")
    look = verifications.document(checked)
    output.line(f"  verified   {look['objectsChecked']} objects, {output.size(look['bytesRead'])} read back")
    key = "BACKUP_ENCRYPTION_KEY" if door.settings.encryption_key else str(key_path(door.settings))
    output.line(f"  the key    {output.visible(key)}: keep a copy elsewhere, without it nothing can be restored")
    output.line("")
    output.line(NEXT)


def _tables(database: dict[str, Any]) -> str:
    return f"{output.visible(database['name'])}: {output.counted(database['tables'], 'table')}"


def _where(door: Door, name: str) -> str:
    from webapp.services import destinations, repositories

    destination = destinations.find(door.installation, name)
    return repositories.open_storage(door.installation, destination).describe()


NEXT = """Now your own database and folder:

  export DATABASE_URL=postgresql://user:password@host:5432/name UPLOAD_DIR=/srv/uploads
  ./run backup-cli create --type full
  ./run backup-cli list
  ./run backup-cli restore --backup default-full@latest --dry-run
  ./run backup-cli restore --backup default-full@latest"""

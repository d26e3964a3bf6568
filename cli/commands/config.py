"""`config`: backup configurations, stored as they were typed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli import exits, output
from cli.options import confirm, json_option, pass_door
from cli.state import Door

if TYPE_CHECKING:
    from webapp.models import Configuration
    from webapp.services.access import Actor

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group()
def command() -> None:
    """Backup configurations."""


@command.command("list")
@json_option
@pass_door
def list_(door: Door) -> None:
    """All configurations."""
    from webapp.services import configurations

    print_configurations(door, configurations.listing(door.installation))


@command.command()
@click.argument("config")
@json_option
@pass_door
def show(door: Door, config: str) -> None:
    """One configuration as JSON, without secrets."""
    from webapp.services import configurations

    output.document(door, configurations.shown(configurations.find(door.installation, config)))


@command.command()
@click.argument("files", nargs=-1, required=True, type=_FILE)
@json_option
@pass_door
def validate(door: Door, files: tuple[Path, ...]) -> None:
    """Check configuration files against the schema; nothing is stored."""
    from webapp.schema.document import read

    documents = [(path, read(path)) for path in files]
    if door.json:
        output.document(
            door, [{"file": str(path), "configId": found["id"], "valid": True} for path, found in documents]
        )
        return
    for path, found in documents:
        output.line(f"{output.visible(str(path))}: valid ({found['id']})")


@command.command("import")
@click.argument("files", nargs=-1, required=True, type=_FILE)
@json_option
@pass_door
def import_(door: Door, files: tuple[Path, ...]) -> None:
    """Store configurations from files; one with the same id is updated."""
    from webapp.schema.document import read
    from webapp.services import configurations

    documents = [read(path) for path in files]  # all are checked before the first is stored
    stored = [configurations.store(door.installation, found, actor=_actor(door)) for found in documents]
    answers = [(item.configuration.id, _what(created=item.created, changed=item.changed)) for item in stored]
    if door.json:
        output.document(door, [{"configId": config_id, "result": what} for config_id, what in answers])
        return
    for config_id, what in answers:
        output.line(f"{config_id}: {what}")


@command.command()
@click.argument("config")
@click.option("-o", "--output", "target", type=_FILE, help="Write to this new file instead of stdout.")
@json_option
@pass_door
def export(door: Door, config: str, target: Path | None) -> None:
    """One configuration as JSON, without secrets, to be imported elsewhere."""
    import json

    from webapp.services import configurations

    found = configurations.shown(configurations.find(door.installation, config))
    if target is None:
        output.document(door, found)
        return
    try:
        with target.open("x", encoding="utf-8") as file:
            file.write(json.dumps(found, ensure_ascii=False, indent=2) + "\n")
    except FileExistsError:
        raise click.UsageError(f"{target} exists already; it is not overwritten.") from None
    door.tell(f"Written to {target}.")


@command.command()
@click.argument("config")
@click.option("--confirm", "typed", metavar="CONFIG", help="The id once more; without a terminal this is needed.")
@json_option
@pass_door
def delete(door: Door, config: str, typed: str | None) -> None:
    """Delete a configuration. Its restore points stay."""
    from webapp.services import configurations

    configurations.find(door.installation, config)
    confirm(f"The configuration {config} will be deleted; its restore points stay.", typed=typed, wanted=config)
    deleted = configurations.delete(door.installation, config, actor=_actor(door))
    if door.json:
        output.document(door, {"configId": config, "result": "deleted", "backupsKept": deleted.backups})
    else:
        output.line(f"{config}: deleted; {deleted.backups} restore points stay.")


@command.command()
@click.argument("config")
@json_option
@pass_door
def test(door: Door, config: str) -> int:
    """Connect to the sources and destinations of a configuration; nothing is backed up."""
    from webapp.services import trials

    found = trials.trial(door.installation, config, cwd=door.cwd, tell=door.tell)
    if door.json:
        output.document(
            door,
            [
                {
                    "pointer": each.pointer,
                    "what": each.what,
                    "ok": each.error is None,
                    "detail": each.detail or None,
                    "error": each.error,
                    "warnings": list(each.warnings),
                }
                for each in found
            ],
        )
    else:
        output.table(
            ["", "WHAT", "ANSWER"],
            [["ok" if each.error is None else "FAILED", each.what, each.error or each.detail] for each in found],
        )
        for each in found:
            for warning in each.warnings:
                door.tell(f"Warning: {each.what}: {warning}")
    if any(each.error is not None for each in found):
        door.tell(f"Error: the configuration {config} cannot be backed up as it is now.")
        return exits.FAILED
    return exits.WARNINGS if any(each.warnings for each in found) else exits.DONE


def print_configurations(door: Door, found: list[Configuration]) -> None:
    """A table, or with `--json` a list; also for `list --configs`."""
    if door.json:
        output.document(door, [_document(configuration) for configuration in found])
        return
    if not found:
        door.tell("There is no configuration yet. `backup-cli config import FILE` stores one; configs/ has examples.")
    rows = [
        [
            configuration.id,
            configuration.type,
            configuration.schedule or "by hand",
            "yes" if configuration.enabled else "no",
            ", ".join(item.get("ref") or item["type"] for item in configuration.document["destinations"]),
            configuration.name,
        ]
        for configuration in found
    ]
    output.table(["ID", "TYPE", "SCHEDULE", "ENABLED", "DESTINATIONS", "NAME"], rows)


def _actor(door: Door) -> Actor:
    from webapp.services.access import local_actor

    return local_actor(door.identity)


def _document(configuration: Configuration) -> dict[str, Any]:
    from webapp.services import configurations

    return {
        "id": configuration.id,
        "version": configuration.version,
        "createdAt": configuration.created_at,
        "updatedAt": configuration.updated_at,
        "configuration": configurations.shown(configuration),
    }


def _what(*, created: bool, changed: bool) -> str:
    if created:
        return "created"
    return "updated" if changed else "unchanged"

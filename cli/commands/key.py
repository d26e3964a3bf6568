"""`key`: the encryption key of this installation."""

from __future__ import annotations

import click

from cli import exits, output
from cli.commands.unbuilt import unbuilt
from cli.options import json_option, pass_door
from cli.state import Door


@click.group()
def command() -> None:
    """The encryption key of this installation."""


@command.command()
@json_option
@pass_door
def generate(door: Door) -> None:
    """Print a new random key, for BACKUP_ENCRYPTION_KEY. Nothing is stored or changed."""
    from webapp.keyfile import generate_key

    key = generate_key().hex()
    if door.json:
        output.document(door, {"key": key})
    else:
        output.line(key)
    door.tell("Keep this key safe: whoever has it can read the backups, and without it nobody can.")


@command.command()
@json_option
@pass_door
def slots(door: Door) -> int:
    """What opens the backups, and where copies of it lie."""
    from webapp.services import keys

    found, failures = keys.slots(door.installation)
    if door.json:
        output.document(door, [{"slot": each.slot, "kind": each.kind, "places": list(each.places)} for each in found])
    elif not found:
        door.tell("There are no keys yet. `backup-cli create` makes them with the first backup.")
    else:
        output.table(["SLOT", "KIND", "PLACES"], [[each.slot, each.kind, ", ".join(each.places)] for each in found])
    for name, reason in failures.items():
        door.tell(f"Warning: {name} could not be asked: {reason}")
    return exits.WARNINGS if failures else exits.DONE


for _name, _help in {
    "rotate": "Change the key.",
    "kit": "The recovery kit.",
}.items():
    command.add_command(unbuilt(_name, _help))

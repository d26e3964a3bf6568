"""`key`: the encryption key of this installation."""

from __future__ import annotations

import click

from cli import output
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


for _name, _help in {
    "rotate": "Change the key.",
    "slots": "What opens the backups.",
    "kit": "The recovery kit.",
}.items():
    command.add_command(unbuilt(_name, _help))

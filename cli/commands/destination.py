"""`destination`: where backups are kept."""

from __future__ import annotations

import click

from cli.commands.unbuilt import unbuilt


@click.group()
def command() -> None:
    """Where backups are kept."""


for _name, _help in {
    "list": "All destinations.",
    "add": "Add a destination.",
    "test": "Check that a destination keeps its promises.",
    "sync": "Copy what a destination missed.",
    "attach": "Take over the backups that lie at a destination.",
}.items():
    command.add_command(unbuilt(_name, _help))

"""Commands of the contract that this version does not have yet: they exist, take anything, and say so."""

from __future__ import annotations

import click

from cli.options import not_built


def unbuilt(name: str, help: str) -> click.Command:
    """A command that ends with exit code 2 and one sentence, whatever it is given."""

    @click.command(
        name,
        help=f"{help} Not built yet.",
        short_help=f"{help.removesuffix('.')} (not built yet).",
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    @click.pass_context
    def command(context: click.Context, arguments: tuple[str, ...]) -> None:
        path = context.command_path.partition(" ")[2]
        raise not_built(f"`{path}`")

    return command

"""`rescue`: the program that lies at every destination, with what is installed here: no database, no service."""

from __future__ import annotations

import click


@click.command(add_help_option=False, context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> int:
    """Restore with a repository and its key alone."""
    from engine import rescue

    try:
        return rescue.main(arguments, program="backup-cli rescue")
    except SystemExit as ended:  # argparse: wrong usage, or help
        return ended.code if isinstance(ended.code, int) else 1

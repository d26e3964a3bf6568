"""`backup-cli`: knows every command by name and imports only the one that is called, so that it starts fast."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from cli import exits
from cli.state import Door
from webapp.version import VERSION

PROGRAM = "backup-cli"
COMMANDS: dict[str, tuple[str, str]] = {
    "create": ("cli.commands.create", "Make a backup."),
    "list": ("cli.commands.listing", "Restore points, configurations, destinations or runs, newest first."),
    "show": ("cli.commands.browse:show", "One restore point in full."),
    "ls": ("cli.commands.browse:ls", "The files and tables in a restore point."),
    "get": ("cli.commands.browse:get", "One file or dump out of a restore point."),
    "diff": ("cli.commands.browse:diff", "What changed between two restore points."),
    "restore": ("cli.commands.restore", "Restore to a new place, or replace what is there."),
    "undo": ("cli.commands.undo", "Swap back after a restore that replaced something."),
    "verify": ("cli.commands.verify", "Read backups back and check every byte."),
    "stats": ("cli.commands.stats", "Figures: success, duration, sizes."),
    "cleanup": ("cli.commands.cleanup", "Apply retention and free space."),
    "pin": ("cli.commands.pin:pin", "Keep a restore point, whatever the retention says."),
    "unpin": ("cli.commands.pin:unpin", "Let retention have a restore point again."),
    "destination": ("cli.commands.destination", "Where backups are kept: list, add, test, sync, attach."),
    "config": ("cli.commands.config", "Configurations: list, show, validate, import, export, delete, test."),
    "key": ("cli.commands.key", "The encryption key: generate, change, print the recovery kit."),
    "rescue": ("cli.commands.rescue", "Restore with a repository and its key alone."),
    "schedule": ("cli.commands.schedule", "When configurations run by themselves."),
    "cancel": ("cli.commands.cancel", "Stop a run."),
    "logs": ("cli.commands.logs", "The log of a run."),
    "serve": ("cli.commands.serve", "The whole service: web, workers, scheduler, Redis."),
    "worker": ("cli.commands.worker", "A worker of the queues."),
    "scheduler": ("cli.commands.scheduler", "The scheduler."),
    "user": ("cli.commands.user", "Accounts: list, add, password, role, disable, enable."),
    "token": ("cli.commands.token", "API tokens: list, create, revoke."),
    "audit": ("cli.commands.audit", "The audit log: list, verify, export."),
    "doctor": ("cli.commands.doctor", "Look for what is wrong with this installation."),
}
UNBUILT: dict[str, str] = {
    "restore-point": "Make a restore point now.",
    "approve": "Approve what another person asked for.",
    "drill": "Restore for practice.",
    "completion": "Completion for your shell.",
}


class LazyGroup(click.Group):
    """Finds commands in the tables above; their modules are imported when they are called, not for the help."""

    def list_commands(self, context: click.Context) -> list[str]:
        return [*COMMANDS, *UNBUILT]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name in UNBUILT:
            from cli.commands.unbuilt import unbuilt

            return unbuilt(name, UNBUILT[name])
        place = COMMANDS.get(name)
        if place is None:
            return None
        module, _, attribute = place[0].partition(":")
        command = getattr(import_module(module), attribute or "command")
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])
        with formatter.section("Not built yet"):
            formatter.write_dl(list(UNBUILT.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(VERSION, prog_name="Holdfast")
@click.option("--debug", is_flag=True, help="Show where an error came from.")
@click.pass_obj
def root(door: Door, debug: bool) -> None:
    """Holdfast: backups of PostgreSQL databases and folders that prove that they can be restored.

    Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 done with warnings, 5 confirmation needed,
    6 damage or a difference found, 10 not found, 11 busy, 12 wrong key, 130 interrupted.
    """
    door.debug = debug


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script: runs one command and ends the process with its exit code."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # see cli/__main__.py
    code = run(arguments)
    # The interpreter looks for garbage once more when it ends; spared that, `list` takes 0.36 s instead of 0.54.
    gc.freeze()
    sys.exit(code)


def run(arguments: Sequence[str] | None = None) -> int:
    """One command; its exit code. Every error ends here."""
    # Imports make many objects that live to the end: looking for garbage among them costs a fifth of the start.
    gc.disable()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    door = Door(os.environ)
    try:
        code = _call(arguments, door)
        sys.stdout.flush()
    except BrokenPipeError:
        _silence_stdout()
        code = exits.FAILED
    except Exception as error:  # noqa: BLE001 (the last place where an error can become a sentence)
        code = exits.report(error, door)
    except KeyboardInterrupt:
        door.tell("Interrupted.")
        code = exits.INTERRUPTED
    finally:
        door.close()
    return code


def _call(arguments: Sequence[str] | None, door: Door) -> int:
    try:
        answer: Any = root.main(args=arguments, prog_name=PROGRAM, standalone_mode=False, obj=door)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return exits.USAGE
    except click.ClickException as error:
        error.show()
        typed = sys.argv[1:] if arguments is None else arguments
        if "--json" in typed:
            exits.write_document(error.format_message())
        return exits.USAGE
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.Abort:
        raise KeyboardInterrupt from None
    return answer if isinstance(answer, int) else exits.DONE


def _silence_stdout() -> None:
    """Whoever read our output is gone (`| head`): the interpreter's last flush must not complain about it."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

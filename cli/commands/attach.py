"""`destination attach`: a lost installation comes back from a destination."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from cli import exits, output
from cli.options import json_option, pass_door
from cli.state import Door

FROM_STDIN = "-"


def make(
    setting_options: Callable[[Callable[..., Any]], Callable[..., Any]],
    kind_of: Callable[[dict[str, str]], str],
    settings_of: Callable[[str, dict[str, str]], dict[str, Any]],
    kinds: tuple[str, ...],
) -> click.Command:
    """The command; the arguments are what it shares with `destination add`."""

    @click.command("attach")
    @click.argument("name")
    @click.option("--type", "kind", type=click.Choice(kinds), help="Found out from the settings when left out.")
    @click.option("--recovery-code", "code", help="When the encryption key is lost. - to type it, or from a pipe.")
    @setting_options
    @json_option
    @pass_door
    def attach(door: Door, /, name: str, kind: str | None, code: str | None, **given: str | None) -> int:
        """Take over the backups at a destination: keys, configurations (without secrets), restore points."""
        from webapp.services import audit
        from webapp.services.attach import attach as take_over

        typed = {key: value for key, value in given.items() if value is not None}
        chosen = kind or kind_of(typed)
        settings = settings_of(chosen, typed)
        attached = take_over(
            door.installation, name, chosen, settings, code=secret(code, "Recovery code"), cwd=door.cwd, tell=door.tell
        )
        after = {"name": attached.destination.name, "type": attached.destination.kind}
        audit.add(door.installation, door.identity, "destination.attached", str(attached.destination.id), after=after)
        document = {
            "name": attached.destination.name,
            "type": attached.destination.kind,
            "repositoryId": attached.repository_id,
            "restorePointsFound": list(attached.found),
            "configurations": [
                {"id": each.config_id, "restorePoints": each.points, "notes": list(each.notes)}
                for each in attached.configurations
            ],
        }
        if door.json:
            output.document(door, document)
        else:
            output.line(f"{output.visible(attached.destination.name)}: attached, repository {attached.repository_id}")
            output.line(f"{len(attached.found)} restore points, {len(attached.configurations)} configurations.")
        if attached.destination.name != name:
            door.tell(f"This place is known here as {output.visible(attached.destination.name)}, and keeps that name.")
        for each in attached.configurations:
            for note in each.notes:
                door.tell(f"{each.config_id}: {note}")
        return exits.WARNINGS if any(each.notes for each in attached.configurations) else exits.DONE

    return attach


def secret(given: str | None, prompt: str) -> str | None:
    """A secret option: with `-` typed without being shown, or read from a pipe. A line that ends with a hyphen goes
    on in the next, as a recovery code does on its page. Nobody should give it openly: every user of the machine sees
    command lines."""
    if given != FROM_STDIN:
        return given
    typed = _line(prompt)
    while typed.endswith("-") and (more := _line(f"{prompt}, next line")):
        typed += more
    return typed


def _line(prompt: str) -> str:
    if sys.stdin.isatty():
        return str(click.prompt(prompt, hide_input=True, err=True)).strip()
    return sys.stdin.readline().strip()

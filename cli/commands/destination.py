"""`destination`: where backups are kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import click

from cli import exits, output
from cli.commands import attach
from cli.options import confirm, json_option, pass_door
from cli.state import Door
from webapp.schema import kinds, placeholders

HIDDEN_INPUT = "-"


@click.group()
def command() -> None:
    """Where backups are kept."""


@command.command("list")
@json_option
@click.pass_context
def list_(context: click.Context) -> None:
    """All destinations."""
    from cli.commands import listing

    context.invoke(listing.command, destinations=True)


def _setting_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """An option for each setting of each kind, as the kinds describe them."""
    seen: set[str] = set()
    for kind in kinds.names():
        for field in dataclasses.fields(kinds.config_class(kind)):
            if field.name not in seen:
                seen.add(field.name)
                help_text = f"{kind}: {field.metadata.get('help', '')}."
                if field.metadata.get("secret"):
                    help_text += " Give '${NAME}', or - to type it."
                function = click.option(f"--{field.name.replace('_', '-')}", field.name, help=help_text)(function)
    return function


@command.command("add")
@click.argument("name")
@click.option("--type", "kind", type=click.Choice(kinds.names()), help="Found out from the settings when left out.")
@_setting_options
@json_option
@pass_door
def add(door: Door, /, name: str, kind: str | None, **given: str | None) -> None:
    """Add a destination and make its repository, or take over the one of this installation that is there."""
    from webapp.services import audit, destinations

    typed = {key: value for key, value in given.items() if value is not None}
    chosen = kind or _kind_of(typed)
    added = destinations.add(door.installation, name, chosen, _settings(chosen, typed), tell=door.tell)
    after = {"name": added.destination.name, "type": added.destination.kind}
    audit.add(door.installation, door.identity, "destination.added", str(added.destination.id), after=after)
    if door.json:
        output.document(
            door,
            {
                "name": added.destination.name,
                "type": added.destination.kind,
                "repositoryId": added.repository_id,
                "restorePointsFound": list(added.found),
            },
        )
        return
    output.line(f"{output.visible(name)}: ready, repository {added.repository_id}")
    if added.found:
        output.line(f"{len(added.found)} restore points of this installation were found there.")


@command.command("test")
@click.argument("name")
@json_option
@pass_door
def test(door: Door, name: str) -> int:
    """Check that a destination keeps its promises: write, read, list, delete and more, with small objects."""
    from webapp.services import destinations

    report = destinations.test(door.installation, destinations.find(door.installation, name))
    if door.json:
        steps = [{"name": step.name, "ok": step.ok, "detail": step.detail} for step in report.steps]
        output.document(
            door,
            {
                "name": name,
                "usable": report.is_usable,
                "steps": steps,
                "warnings": list(report.warnings),
                "latencySeconds": report.latency,
            },
        )
    else:
        words = {True: "ok", False: "FAILED"}
        rows = [
            [words[step.ok] if step.ok or step.is_needed else "warning", step.name, step.detail]
            for step in report.steps
        ]
        output.table(["", "STEP", "WHAT HAPPENED"], rows)
    if not report.is_usable:
        door.tell(f"Error: backups cannot be kept at {name}.")
        return exits.FAILED
    return exits.WARNINGS if report.warnings else exits.DONE


@command.command("sync")
@click.argument("name", required=False)
@click.option("--from", "source", metavar="NAME", help="Copy from this destination only.")
@click.option("--config", "config_id", metavar="ID", help="The restore points of this configuration only.")
@click.option("--repair", is_flag=True, help="Read everything back first, and make good what is damaged.")
@click.option("--accept-loss", "accepted", multiple=True, metavar="BACKUP", help="Give it up; repeatable.")
@click.option("--confirm", "confirmed", metavar="NAME", help="With --accept-loss: it is meant.")
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
@json_option
@pass_door
def sync(
    door: Door,
    name: str | None,
    source: str | None,
    config_id: str | None,
    repair: bool,
    accepted: tuple[str, ...],
    confirmed: str | None,
    dry_run: bool,
) -> int:
    """Copy to NAME, or to every destination, the restore points that it missed; with --repair also what it lost.

    With --accept-loss a restore point that cannot be mended is given up at NAME: it goes into the trash, and is
    damage no more. That has to be confirmed: type NAME, or give it with --confirm.
    """
    from cli.syncing import tell_sync
    from cli.work import working
    from webapp.services import healing

    installation = door.installation
    chosen: tuple[str, ...] = ()
    if accepted:
        if name is None or not repair or dry_run:
            raise click.UsageError("--accept-loss goes with NAME and --repair, and without --dry-run.")
        chosen = _accepted(door, name, accepted, confirmed)
    order = healing.Order(door.identity, name, source, config_id, repair=repair, dry_run=dry_run, accepted=chosen)
    with working(door) as progress:
        finished = healing.sync_destinations(installation, order, progress=progress, tell=progress.say)
    return tell_sync(door, finished)


def _accepted(door: Door, name: str, texts: tuple[str, ...], confirmed: str | None) -> tuple[str, ...]:
    """The ids of the restore points that may be given up, after somebody agreed."""
    from webapp.services import losses

    chosen = losses.named(door.installation, name, texts)
    question = f"What cannot be mended of {', '.join(chosen)} is given up at {name}."
    confirm(output.visible(question), typed=confirmed, wanted=name)
    return chosen


def _kind_of(typed: dict[str, str]) -> str:
    """The one kind that has all of these settings and needs no others."""
    fitting = [kind for kind in kinds.names() if set(typed) <= _names(kind) and _needed(kind) <= set(typed)]
    if len(fitting) != 1:
        needed = " or ".join(f"{' '.join(sorted(map(_option, _needed(kind))))} ({kind})" for kind in kinds.names())
        raise click.UsageError(f"Say where it is: {needed}.")
    return fitting[0]


def _settings(kind: str, typed: dict[str, str]) -> dict[str, Any]:
    foreign = sorted(set(typed) - _names(kind))
    if foreign:
        raise click.UsageError(f"{_option(foreign[0])} is not a setting of the type {kind}.")
    lacking = sorted(_needed(kind) - set(typed))
    if lacking:
        raise click.UsageError(f"The type {kind} needs {_option(lacking[0])}.")
    settings = kinds.settings_defaults(kind)
    for name, value in typed.items():
        key = kinds.outside(name)
        settings[key] = _secret(name, value) if key in kinds.secret_settings(kind) else value
    return settings


def _secret(name: str, value: str) -> str:
    """A secret on the command line would be seen by everybody who can list processes."""
    if value == HIDDEN_INPUT:
        typed: str = click.prompt(name.replace("_", " "), hide_input=True, err=True)
        return typed
    if not placeholders.is_whole(value):
        raise click.UsageError(f"{_option(name)} takes '${{NAME}}', or - to type it, not the secret itself.")
    return value


def _names(kind: str) -> set[str]:
    return {field.name for field in dataclasses.fields(kinds.config_class(kind))}


def _needed(kind: str) -> set[str]:
    return {
        field.name for field in dataclasses.fields(kinds.config_class(kind)) if field.default is dataclasses.MISSING
    }


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


command.add_command(attach.make(_setting_options, _kind_of, _settings, kinds.names()))

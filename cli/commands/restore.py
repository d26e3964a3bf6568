"""`restore`: brings a restore point back, to a new place, or with --replace in the place of what is there."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import click

from cli import output
from cli.options import confirm, json_option, pass_door
from cli.state import Door

if TYPE_CHECKING:
    from webapp.models import RestorePlan
    from webapp.services.replace_plans import Wish
    from webapp.services.restore_plans import FolderPart, Plan
    from webapp.services.restores import Order


@click.command("restore")
@click.option("--backup", required=True, metavar="ID", help="An id, the beginning of one, or CONFIG@latest.")
@click.option("--to", "targets", multiple=True, metavar="TARGET", help="A folder or postgresql://…/db; repeatable.")
@click.option("--only", "only", multiple=True, metavar="PATH|TABLE", help="/a/path or [database:]schema.table.")
@click.option("--replace", is_flag=True, help="Put it in the place of what is there.")
@click.option("--verify", is_flag=True, help="Compare again with what was backed up.")
@click.option(
    "--jobs", type=click.IntRange(1, 64), default=1, metavar="N", help="Restore a database with N connections at once."
)
@click.option("--dry-run", is_flag=True, help="Say what would happen.")
@click.option("--confirm", "typed", metavar="TARGET", help="The exact target, for --replace without a terminal.")
@click.option("--inline", is_flag=True, help="In this process, whatever runs elsewhere.")
@json_option
@pass_door
def command(
    door: Door,
    backup: str,
    targets: tuple[str, ...],
    only: tuple[str, ...],
    replace: bool,
    verify: bool,
    jobs: int,
    dry_run: bool,
    typed: str | None,
    inline: bool,
) -> int:
    """Restore to a new place: restored-<id>/, and databases named <name>_restored_<id>.

    With --replace one folder or one database takes the place of TARGET, or of what was backed up. What is there becomes
    a restore point first, and is kept beside for three days: `undo` swaps back.
    """
    if typed is not None and not replace:
        raise click.UsageError("--confirm is for --replace.")
    if replace:
        from webapp.services.replace_plans import Wish

        wish = Wish(backup, door.identity, targets=targets, only=only, jobs=jobs)
        return _replace(door, wish, typed=typed, dry_run=dry_run, inline=inline)
    from webapp.services.restores import Order

    order = Order(backup, door.identity, targets=targets, only=only, jobs=jobs, verify=verify)
    return _plan(door, order) if dry_run else run(door, order, inline=inline)


def run(door: Door, order: Order, *, inline: bool = False) -> int:
    """Carries the restore out, tells how it went, and returns the exit code."""
    from cli.queueing import is_served

    if inline or any("${" in target for target in order.targets) or not is_served(door, "restore"):
        return _run_here(door, order)
    return _queue(door, order)


def _replace(door: Door, wish: Wish, *, typed: str | None, dry_run: bool, inline: bool) -> int:
    from cli.queueing import follow, is_served
    from cli.results import tell_restore
    from cli.work import working
    from webapp.services import replace_plans, replacing

    installation = door.installation
    plan = replace_plans.make(installation, wish, cwd=door.cwd, tell=door.tell)
    if dry_run and door.json:
        output.document(door, {"kind": "restore", "dryRun": True, **replace_plans.document(plan)})
        return 0
    for line in _described(plan, door.settings.timezone):
        (output.line if dry_run else door.tell)(line)
    if dry_run:
        output.line("Nothing was touched.")
        return 0
    if typed is not None and wish.targets == (typed,):
        typed = plan.target  # the same place, written as in --to
    confirm(f"{output.visible(plan.target)} would be replaced.", typed=typed, wanted=plan.target)
    plan = replacing.accept(installation, plan.public_id, plan_hash=plan.hash, confirm=plan.target)
    if inline or not is_served(door, "restore"):
        with working(door) as progress:
            finished = replacing.execute(
                installation, door.identity, plan, cwd=door.cwd, progress=progress, tell=progress.say
            )
    else:
        finished = follow(door, replacing.send(installation, door.identity, plan, cwd=door.cwd))
    return tell_restore(door, finished)


def _described(plan: RestorePlan, zone: str) -> list[str]:
    """The plan in lines for people."""
    now, new, before = (plan.document[name] for name in ("current", "incoming", "restorePoint"))
    made = output.when(datetime.fromisoformat(new["madeAt"]), zone)
    if plan.kind == "folder":
        newest = output.when(datetime.fromisoformat(now["newestAt"]), zone)
        there = f"{output.counted(now['items'], 'item')}, newest change {newest}"
        comes = output.counted(new["files"], "file")
    else:
        there, comes = (
            f"{output.counted(each['tables'], 'table')}, {output.counted(each['rows'], 'row')}" for each in (now, new)
        )
    lines = [
        f"The {plan.kind} {output.visible(plan.target)} on {output.visible(plan.host)} would be replaced:",
        f"  there is   {there}, {output.size(now['bytes'])}",
        f"  comes      {output.visible(plan.document['source'])} of {plan.backup_id}, made {made}: {comes}, "
        f"{output.size(new['bytes'])}",
        f"  before it  a restore point of what is there, by {before['configId']}",
        f"  kept       what is there, for {plan.document['keptHours']:g} hours; `backup-cli undo` swaps back",
    ]
    if plan.kind == "database":
        lines.append("Whoever is connected to it is disconnected when the two change names.")
    return [*lines, *(f"Note: {output.visible(text)}" for text in plan.document["warnings"])]


def _queue(door: Door, order: Order) -> int:
    from cli.queueing import follow
    from cli.results import tell_restore
    from webapp.services import repositories, submit
    from webapp.services.runs import NewRun

    backup = repositories.find_backup(door.installation, order.backup)
    arguments = {"only": list(order.only), "jobs": order.jobs, "verify": order.verify}
    new = NewRun(
        "restore",
        order.identity,
        config_id=backup.config_id,
        backup_id=backup.public_id,
        type=backup.type,
        arguments=arguments,
    )
    # Where it was typed is where relative folders lie; a URL may hold a password.
    sealed = {"targets": list(order.targets), "cwd": str(door.cwd)}
    return tell_restore(door, follow(door, submit.submit(door.installation, new, sealed=sealed)))


def _run_here(door: Door, order: Order) -> int:
    from cli.results import tell_restore
    from cli.work import working
    from webapp.services import restores

    installation = door.installation
    with working(door) as progress:
        finished = restores.restore(installation, order, cwd=door.cwd, progress=progress, tell=progress.say)
    return tell_restore(door, finished)


def _plan(door: Door, order: Order) -> int:
    from webapp.services import restores

    made = restores.plan(door.installation, order, cwd=door.cwd, tell=door.tell)
    if door.json:
        output.document(door, _document(made, door.installation.host))
        return 0
    output.line(f"Restoring {made.backup.public_id} would put:")
    if made.folder is not None:
        _print_folder(made.folder)
    for database in made.databases:
        tables = output.counted(database.tables, "table") + ("" if database.selection is None else " of it")
        output.line(
            f"  the database {output.visible(database.root.name)} ({tables}, {output.size(database.bytes)}) "
            f"into {output.visible(database.connection.describe())}"
        )
    for text in made.left_out:
        output.line(f"  not {output.visible(text)}: no --to is for it")
    for text in made.warnings:
        output.line(f"Note: {output.visible(text)}")
    output.line("Nothing was touched.")
    return 0


def _print_folder(part: FolderPart) -> None:
    target = output.visible(str(part.target))
    for root in part.databases:
        output.line(f"  the database {output.visible(root.name)} ({output.size(root.size)}) below {target}")
    if part.roots:
        what = ", ".join(map(output.visible, part.roots))
        output.line(f"  {what} ({output.counted(part.files, 'file')}, {output.size(part.bytes)}) below {target}")


def _document(made: Plan, host: str) -> dict[str, object]:
    folder = made.folder
    targets: list[dict[str, object]] = []
    if folder is not None:
        targets += [
            {
                "kind": "database",
                "target": str(folder.target),
                "database": root.name,
                "tables": len(root.facts["tables"]),
                "bytes": root.size,
            }
            for root in folder.databases
        ]
    if folder is not None and folder.roots:
        targets.append(
            {
                "kind": "folder",
                "target": str(folder.target),
                "paths": list(folder.roots),
                "files": folder.files,
                "bytes": folder.bytes,
            }
        )
    targets += [
        {
            "kind": "database",
            "target": part.connection.describe(),
            "database": part.root.name,
            "tables": part.tables,
            "bytes": part.bytes,
        }
        for part in made.databases
    ]
    return {
        "kind": "restore",
        "dryRun": True,
        "backupId": made.backup.public_id,
        "host": host,
        "targets": targets,
        "leftOut": list(made.left_out),
        "warnings": list(made.warnings),
    }

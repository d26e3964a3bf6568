"""`cleanup`: applies retention, then frees space; says of every restore point what becomes of it, and why."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from cli import exits, output
from cli.options import confirm, json_option, pass_door
from cli.state import Door

if TYPE_CHECKING:
    from webapp.services.cleanup_plans import Part, Place, Plan
    from webapp.services.work import Finished


@click.command("cleanup")
@click.option("--config", "config_id", metavar="ID", help="Only this configuration, also a deleted one.")
@click.option("--dry-run", is_flag=True, help="Say what would happen; nothing is written.")
@click.option("--now", is_flag=True, help="Without trash and grace, where no writer is at work.")
@click.option("--confirm", "confirmed", multiple=True, metavar="CONFIG", help="It is meant, for this one; repeatable.")
@click.option("--inline", is_flag=True, help="In this process, whatever runs elsewhere.")
@json_option
@pass_door
def command(
    door: Door, config_id: str | None, dry_run: bool, now: bool, confirmed: tuple[str, ...], inline: bool
) -> int:
    """Apply retention and free space.

    Restore points that nothing keeps go into the trash, from where `pin` brings them back, and after seven days for
    good. What no restore point needs any more is marked, and deleted by a cleanup a day later.

    Removing more than half of a configuration's restore points, or what frees more than 30 % of the bytes, has to be
    confirmed, and so has --now: type the configuration, or give it with --confirm.
    """
    from cli.queueing import is_served
    from cli.work import working
    from webapp.services import cleanup, cleanup_plans

    installation = door.installation
    order = cleanup_plans.Order(door.identity, config_id=config_id, at_once=now)
    with working(door) as progress:
        plan = cleanup_plans.plan(installation, order, progress=progress, tell=progress.say)
    if not door.json:
        _print_plan(plan)
    if dry_run:
        return _tell_dry_run(door, plan)
    for name in sorted(set(confirmed) - set(plan.questions)):
        door.tell(f"--confirm {output.visible(name)}: there was nothing to confirm for it.")
    agreed = _agreed(plan, confirmed)
    if not inline and is_served(door, "backup"):
        return _tell_end(door, plan, _queued(door, plan, agreed))
    with working(door) as progress:
        finished = cleanup.apply(installation, plan, confirmed=agreed, progress=progress, tell=progress.say)
    return _tell_end(door, plan, finished)


def _queued(door: Door, plan: Plan, agreed: Collection[str]) -> Finished:
    """A worker plans anew, and leaves alone what is to be confirmed by then and was not, or goes beyond this plan."""
    from cli.queueing import follow
    from webapp.services import cleanup_requests, submit
    from webapp.services.runs import NewRun

    arguments = cleanup_requests.arguments(plan, confirmed=agreed)
    new = NewRun("cleanup", plan.order.identity, config_id=plan.order.config_id, arguments=arguments)
    return follow(door, submit.submit(door.installation, new))


def _agreed(plan: Plan, confirmed: Collection[str]) -> set[str]:
    """The configurations whose questions were answered. One that was not does not stop the others."""
    from webapp.errors import ConfirmationNeeded

    agreed = set()
    for name, questions in plan.questions.items():
        try:
            confirm(" ".join(questions), typed=name if name in confirmed else None, wanted=name)
        except ConfirmationNeeded:
            continue
        agreed.add(name)
    return agreed


def _tell_dry_run(door: Door, plan: Plan) -> int:
    failures = plan.failures
    all_failed = bool(failures) and len(failures) == len(plan.places)
    if door.json:
        status = "failed" if all_failed else "warning" if failures else "succeeded"
        output.document(door, _document(plan, {"status": status, "dryRun": True}))
    else:
        for name, questions in plan.questions.items():
            output.line(output.visible(f"{name} has to be confirmed (--confirm {name}). {' '.join(questions)}"))
        output.line("Nothing was touched.")
    if all_failed:
        return exits.report(failures[0], door)
    return exits.WARNINGS if failures else exits.DONE


def _tell_end(door: Door, plan: Plan, finished: Finished) -> int:
    from cli.results import ended

    run, found = finished.run, finished.run.result or {}
    if door.json:
        about = {
            "runId": run.public_id,
            "status": run.state,
            "dryRun": False,
            "startedAt": run.started_at,
            "finishedAt": run.finished_at,
            "durationSeconds": run.duration_seconds,
        }
        problems = [{"kind": kind, "path": path, "reason": reason} for kind, path, reason in finished.problems]
        output.document(door, _document(plan, about, found) | {"problems": problems, "error": run.error})
        return ended(door, finished)
    if not plan.places:
        door.tell("There is nothing to clean up yet. `backup-cli create` makes a backup.")
    for place in found.get("destinations", ()):
        output.line(output.visible(f"{place['name']}: {_did(place, door.settings.timezone)}."))
    return ended(door, finished)


def _did(place: dict[str, Any], zone: str) -> str:
    """What was done at a destination, in words."""
    if place["error"]:
        return f"failed: {place['error']}".rstrip(".")
    parts = [
        f"{output.counted(len(place[key]), 'restore point')} {words}"
        for key, words in (
            ("trashed", "went into the trash"),
            ("recalled", "came back from the trash, because they are pinned"),
            ("removed", "gone for good"),
        )
        if place[key]
    ]
    if place["packsRemoved"] or place["freedBytes"]:
        parts.append(f"{output.size(place['freedBytes'])} freed")
    if place["waiting"]:
        until = output.when(datetime.fromisoformat(place["waiting"]["until"]), zone)
        parts.append(f"a cleanup after {until} frees more ({place['waiting']['why']})")
    return ", ".join(parts) or "nothing to do"


def _print_plan(plan: Plan) -> None:
    for place in plan.places:
        for part in place.parts:
            _print_part(place, part)
        if place.estimate is not None and place.parts:
            freed, stored = output.size(place.estimate.freed_bytes), output.size(place.estimate.stored_bytes)
            output.line(
                f"At {output.visible(place.destination.name)} {freed} of {stored} are needed no more after that."
            )
            output.line()


def _print_part(place: Place, part: Part) -> None:
    from webapp.services import retention

    zone = part.rules.zone.key
    counts = part.rules.document()
    rules = part.rules.why if counts is None else ", ".join(f"{key} {count}" for key, count in counts.items() if count)
    output.line(output.visible(f"{part.configuration.id} at {place.destination.name}: {rules}"))
    freed = {} if place.estimate is None else place.estimate.by_point
    rows = [
        [
            each.backup.public_id,
            output.when(retention.made_at(each.backup), zone),
            "keep" if each.decision.keep else "delete",
            "" if each.decision.keep else output.size(freed.get(each.decision.point.id, 0)),
            ", ".join(each.decision.reasons),
        ]
        for each in part.verdicts
    ]
    for copy in part.trash:
        removed = f"in the trash since {output.when(copy.trashed_at, zone)}: {copy.removal_reason}"
        made = output.when(retention.made_at(copy.backup), zone)
        rows.append(
            [copy.backup.public_id, made, "trash", output.size(freed.get(_id(copy.backup.public_id), 0)), removed]
        )
    output.table(["BACKUP", "MADE", "", "FREES", "WHY"], rows, right=("FREES",))
    output.line()


def _document(plan: Plan, about: dict[str, Any], done: dict[str, Any] | None = None) -> dict[str, Any]:
    """The JSON of `cleanup`."""
    from webapp.services.cleanup_documents import document

    whole = document(plan)
    results = {place["name"]: place for place in (done or {}).get("destinations", ())}
    return {
        "runId": None,
        "kind": "cleanup",
        "now": plan.order.at_once,
        "configId": plan.order.config_id,
        **about,
        "configurations": whole["configurations"],
        "destinations": [place | results.get(place["name"], {}) for place in whole["destinations"]],
    }


def _id(public_id: str) -> bytes:
    from engine import ids

    return ids.parse("bk", public_id)

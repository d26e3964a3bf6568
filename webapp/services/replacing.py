"""Restores that replace a folder or a database: a restore point of what is there first, the new one built beside and
compared, then swapped by rename; what was there is kept for a while, and `undo` swaps back."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from engine.errors import Different, EngineError, TargetError
from engine.progress import Progress
from engine.spool import scratch_folder
from webapp.errors import ConfirmationNeeded, Conflict, ServiceError
from webapp.installation import Installation
from webapp.models import Replacement, RestorePlan, Run
from webapp.models.replacement import FOLDER, REPLACED, SWAPPING, UNDOING, UNDONE
from webapp.models.run import FAILED, SUCCEEDED, UNDO, WARNING
from webapp.queue import RESTORE
from webapp.services import before_replacing, journal, replace_plans, repositories, restores, submit, work
from webapp.services.backups import SPOOL
from webapp.services.heartbeat import Heartbeat
from webapp.services.keyrings import Tell
from webapp.services.replaceable import BUILD, NEW, OLD, DatabasePlace, FolderPlace, Place
from webapp.services.restore_plans import Plan
from webapp.services.runs import NewRun
from webapp.services.work import Ended, Finished


def accept(installation: Installation, plan_id: str, *, plan_hash: str, confirm: str) -> RestorePlan:
    """The plan, when it may be carried out now. Raises NotFound, ConfirmationNeeded unless `confirm` is the target,
    Conflict for another hash or a plan that is used or too old, and Changed when the target is not what it was."""
    plan = replace_plans.find(installation, plan_id)
    if plan_hash != plan.hash:
        raise Conflict(f"The plan {plan_id} has another hash.", hint="Read the plan again and send its planHash.")
    if plan.run_id is not None:
        raise Conflict(f"The plan {plan_id} was used by the run {plan.run_id}.", hint="Make a new one.")
    if plan.expires_at <= installation.clock():
        raise Conflict(f"The plan {plan_id} is too old.", hint="Make a new one.")
    if confirm != plan.target:
        raise ConfirmationNeeded(
            f"{plan.target} would be replaced.", hint="Nothing was done. To go on, type exactly this target."
        )
    replace_plans.compare_state(plan, replace_plans.place_of(installation, plan).look(lambda: None))
    return plan


def send(installation: Installation, identity: str, plan: RestorePlan, *, cwd: Path, reason: str = "") -> Run:
    """An accepted plan for the queue. Raises Busy."""
    new = replace(_new_run(installation, identity, plan), queue=RESTORE)
    arguments = {"planId": plan.public_id, **({"reason": reason} if reason else {})}
    return submit.submit(installation, replace(new, arguments=arguments), sealed={"cwd": str(cwd)})


def execute(
    installation: Installation,
    identity: str,
    plan: RestorePlan,
    *,
    cwd: Path,
    progress: Progress,
    tell: Tell,
    run_id: int | None = None,
) -> Finished:
    """Carries an accepted plan out; how it ended, with its error, is in the answer. When it fails the target is what it
    was. Raises what stops it before it becomes a run."""
    journal.settle(installation, tell=tell)
    new = replace(_new_run(installation, identity, plan), run_id=run_id)

    def carry_out(run: Run, watch: Heartbeat) -> Ended:
        entry = journal.begin(installation, plan, run)
        try:
            return _replaced(installation, plan, entry, run, watch, cwd, tell)
        except BaseException as error:
            _put_right(installation, entry, error, tell)
            raise

    return work.carry_out(installation, new, progress, carry_out)


def undo(
    installation: Installation,
    identity: str,
    restore_id: str,
    *,
    progress: Progress,
    tell: Tell,
    run_id: int | None = None,
) -> Finished:
    """Swaps back to what was there before; what was restored is kept in its turn. Raises NotFound, and Conflict when
    nothing is kept any more."""
    journal.settle(installation, tell=tell)
    entry = undoable(installation, restore_id)

    def carry_out(run: Run, watch: Heartbeat) -> Ended:
        place = replace_plans.place_of(installation, entry.plan)
        assert entry.kept is not None
        names = _names(place, entry.kept, place.beside(UNDONE, entry.public_id))
        if names["new"] != entry.names["keptNumber"]:
            raise TargetError(f"{entry.kept} is not what was kept there.", hint="Was it moved or removed by hand?")
        names["keptNumber"] = names["new"]  # as long as nothing is swapped, that is what is kept
        begun = journal.move(installation, entry, UNDOING, holder=run.public_id, names=names)
        try:
            _swap(place, names)
            done = _noted(installation, begun, UNDONE, names, identity, tell)
        except BaseException as error:
            _put_right(installation, begun, error, tell)
            raise
        return Ended(SUCCEEDED, {"undone": journal.told(done), "targets": [], "databases": []}, entry.plan.backup_id)

    return work.carry_out(installation, _undo_run(installation, identity, entry, run_id), progress, carry_out)


def send_undo(installation: Installation, identity: str, restore_id: str) -> Run:
    """An undo for the queue. Raises NotFound, Conflict."""
    new = _undo_run(installation, identity, undoable(installation, restore_id), None)
    return submit.submit(installation, replace(new, queue=RESTORE))


def undoable(installation: Installation, restore_id: str) -> Replacement:
    """The replacement that can be undone. Raises NotFound, Conflict."""
    entry = journal.find(installation, restore_id)
    if entry.state == REPLACED and entry.kept_until is not None and entry.kept_until > installation.clock():
        return entry
    why = {UNDONE: "was undone already", REPLACED: "is past its time"}.get(entry.state, f"is {entry.state}")
    raise Conflict(
        f"The restore {entry.public_id} {why}: there is nothing to swap back.",
        hint=f"Restore {entry.previous_backup_id}, made before it." if entry.previous_backup_id else "",
    )


def document(entry: Replacement) -> dict[str, Any]:
    """A replacement for people and scripts."""
    return {
        "restoreId": entry.public_id,
        "runId": entry.run_id,
        "backupId": entry.plan.backup_id,
        "kind": entry.plan.kind,
        "target": entry.plan.target,
        "host": entry.plan.host,
        "state": entry.state,
        "previousBackupId": entry.previous_backup_id,
        "keptAs": None if entry.kept is None else journal.shown(entry.kept),
        "keptUntil": entry.kept_until if entry.kept else None,
        "createdAt": entry.created_at,
        "error": entry.error,
    }


def _new_run(installation: Installation, identity: str, plan: RestorePlan) -> NewRun:
    backup = repositories.find_backup(installation, plan.backup_id)
    arguments = {"planId": plan.public_id}
    return NewRun(
        "restore",
        identity,
        config_id=backup.config_id,
        backup_id=backup.public_id,
        type=backup.type,
        arguments=arguments,
    )


def _undo_run(installation: Installation, identity: str, entry: Replacement, run_id: int | None) -> NewRun:
    backup = repositories.find_backup(installation, entry.plan.backup_id)
    return NewRun(
        "restore",
        identity,
        config_id=backup.config_id,
        backup_id=backup.public_id,
        type=UNDO,
        arguments={"undo": entry.public_id},
        run_id=run_id,
    )


def _replaced(
    installation: Installation,
    plan: RestorePlan,
    entry: Replacement,
    run: Run,
    watch: Heartbeat,
    cwd: Path,
    tell: Tell,
) -> Ended:
    """The steps, each written down before it is taken."""
    if plan.host != installation.host and plan.kind == FOLDER:
        raise Conflict(f"{plan.target} is on {plan.host}, and this is {installation.host}.", hint="Plan it here.")
    place = replace_plans.place_of(installation, plan)
    watch.phase(f"looking at {plan.target}")
    replace_plans.compare_state(plan, place.look(watch.checkpoint))
    previous = before_replacing.make(installation, plan, place, cwd=cwd, progress=watch, tell=tell)
    tell(f"{plan.target} as it is now is kept as the restore point {previous}.")
    entry = journal.move(installation, entry, entry.state, previous_backup_id=previous)
    ended, incoming = _built(installation, plan, place, entry, run, watch, tell)
    place.take_over_rights(incoming)
    names = _names(place, incoming, place.beside(OLD, entry.public_id))
    if names["old"] != plan.state["identity"]:
        raise TargetError(f"{plan.target} was replaced by somebody else meanwhile.", hint="Make a new plan.")
    watch.checkpoint()
    entry = journal.move(installation, entry, SWAPPING, names=names)
    _swap(place, names)
    entry = _noted(installation, entry, REPLACED, names, run.identity, tell)
    state = WARNING if watch.counters.problems else SUCCEEDED
    return Ended(state, {**ended.result, "replaced": journal.told(entry)}, plan.backup_id)


def _built(
    installation: Installation,
    plan: RestorePlan,
    place: Place,
    entry: Replacement,
    run: Run,
    watch: Heartbeat,
    tell: Tell,
) -> tuple[Ended, str]:
    """Restores beside the target, and compares; the name of what shall come in. Raises what is not as it was backed up:
    only what is whole takes the target's place."""
    backup = repositories.find_backup(installation, plan.backup_id)
    source: str = plan.document["source"]
    reader, manifest = repositories.reader_for(installation, backup, tell=tell)
    incoming = place.beside(NEW, entry.public_id)
    with closing(reader), scratch_folder(installation.settings.home / SPOOL) as scratch:
        beside = place.beside(BUILD, entry.public_id)
        made = replace_plans.of_source(place, source, backup, reader, manifest, incoming=beside)
        replace_plans.refuse(installation, place, 0 if made.folder is None else made.folder.needed_bytes)
        made = _with_rights(made, place)
        order = restores.Order(plan.backup_id, run.identity, jobs=plan.document["jobs"], verify=True)
        try:
            ended = restores.fill(installation, order, made, reader, manifest, run, watch, scratch, tell)
        except Different as error:
            raise _untouched(error, plan) from None
    if ended.error is not None:
        raise _untouched(ended.error, plan)
    assert ended.state != FAILED
    if isinstance(place, FolderPlace):
        Path(beside).joinpath(*Path(source).parts[1:]).rename(incoming)
        place.remove(beside)
    result = {**ended.result, "targets": [{**each, "target": plan.target} for each in ended.result["targets"]]}
    databases = [
        {**each, "name": place.connection.database if isinstance(place, DatabasePlace) else each["name"]}
        for each in ended.result["databases"]
    ]
    return replace(ended, result={**result, "databases": databases}), incoming


def _with_rights(made: Plan, place: Place) -> Plan:
    """A database is made with the owner and comment of the one that it shall replace, and without settings of the dump:
    those of the live one are taken over at the end."""
    if not isinstance(place, DatabasePlace):
        return made
    from engine.targets.replace_database import properties

    live = properties(place.connection)
    (part,) = made.databases
    facts = part.root.facts
    own = {
        "owner": live["owner"],
        "comment": live["comment"],
        "roles": sorted({*facts["roles"], live["owner"]}),
        "settings": [],
        "acl": None,
        "connectionLimit": -1,
    }
    return replace(made, databases=(replace(part, root=replace(part.root, facts={**facts, **own})),))


def _names(place: Place, incoming: str, outgoing: str) -> dict[str, Any]:
    """Who shall stand where, and how the two are told apart. Raises TargetError when one is not there."""
    numbers = {"new": place.identity(incoming), "old": place.identity()}
    for number, name in zip(numbers.values(), (incoming, place.target), strict=True):
        if number is None:
            raise TargetError(f"{journal.shown(name)} is not there any more.", hint="Was it moved or removed by hand?")
    return {"incoming": incoming, "outgoing": outgoing, **numbers}


def _swap(place: Place, names: dict[str, Any]) -> None:
    """Swaps; one whose answer was lost has happened all the same. Raises TargetError when it has not."""
    try:
        place.swap(names)
    except EngineError:
        if not place.settle(names):
            raise


def _noted(
    installation: Installation, entry: Replacement, step: str, names: dict[str, Any], identity: str, tell: Tell
) -> Replacement:
    """Writes down that the swap has happened. It has, whatever goes wrong here: what could not be written is tried
    once more, and what a tick has written meanwhile is as good."""
    values = journal.kept(installation, names)
    try:
        return journal.move(installation, entry, step, identity=identity, **values)
    except (ServiceError, SQLAlchemyError) as error:
        now = journal.find(installation, entry.public_id)
        if now.state == step:
            return now
        tell(f"{entry.plan.target} is swapped; that is written down once more: {error}")
        return journal.move(installation, entry, step, identity=identity, **values)


def _put_right(installation: Installation, entry: Replacement, error: BaseException, tell: Tell) -> None:
    """Takes back or finishes what was begun, now; where that is not possible, the next tick does."""
    try:
        now = journal.find(installation, entry.public_id)
        if now.holder == entry.holder and now.state not in (REPLACED, UNDONE):
            message, _ = work.words(error) if isinstance(error, Exception) else ("Interrupted.", None)
            journal.settle_one(installation, journal.move(installation, now, now.state, error=message), tell=tell)
    except (EngineError, ServiceError, OSError) as trouble:
        tell(f"{entry.plan.target} will be put in order by the next tick or command: {trouble}")


def _untouched(error: Exception, plan: RestorePlan) -> Exception:
    """What was made beside is removed, so the hint must not say that it is kept."""
    if isinstance(error, EngineError | ServiceError):
        error.hint = f"{plan.target} was not touched."
    return error

"""Restores: to a new place at once; over what exists in two steps, plan and execution, which `undo` takes back."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from webapp.api.backups import started
from webapp.api.endpoint import Answer, Call, Routes
from webapp.api.schemas import COUNT, FLAG, NUMBER, OPEN, RUN, TEXT, TIME, TypedPath, listed, or_null, record
from webapp.errors import Conflict, Fault, Faulty, NotBuilt
from webapp.models import Run
from webapp.schema.fields import Label, Model
from webapp.services import journal, records, replace_plans, replacing, submit
from webapp.services.repositories import silent

ROUTES = Routes()
_LOCATION = ("Location",)
_Target = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
_Id = Annotated[str, StringConstraints(min_length=1, max_length=64)]
_PLAN = record(
    planId=TEXT,
    planHash=TEXT,
    backupId=TEXT,
    kind={"type": "string", "enum": ["folder", "database"]},
    target=TEXT,
    host=TEXT,
    identity=TEXT,
    source=TEXT,
    jobs=COUNT,
    current=OPEN,
    incoming=OPEN,
    restorePoint=record(configId=or_null(TEXT), own=FLAG),
    warnings=listed(TEXT),
    keptHours=NUMBER,
    createdAt=TIME,
    expiresAt=TIME,
)
_REPLACEMENT = record(
    restoreId=TEXT,
    runId=or_null(TEXT),
    backupId=TEXT,
    kind=TEXT,
    target=TEXT,
    host=TEXT,
    state=TEXT,
    previousBackupId=or_null(TEXT),
    keptAs=or_null(TEXT),
    keptUntil=or_null(TIME),
    createdAt=TIME,
    error=or_null(TEXT),
)


class Restore(Model):
    """Where to: a folder, or postgresql://host/database; none: new names beside the old ones. `replace` carries a plan
    out: with its id and hash, and its target typed once more."""

    target: _Target | Annotated[list[_Target], Field(max_length=16)] | None = None
    mode: Literal["new", "replace"] = "new"
    only: Annotated[list[TypedPath], Field(default_factory=list, max_length=1000)]
    verify: bool = False
    dry_run: bool = False
    plan_id: _Id | None = None
    plan_hash: Annotated[str, StringConstraints(min_length=1, max_length=128)] | None = None
    confirm_target: _Target | None = None
    reason: Label | None = None


class NewPlan(Model):
    """What shall replace what: `target` as of a restore, none: where it was; `only` one folder or one whole database
    where there are several."""

    backup_id: _Id
    target: _Target | None = None
    only: Annotated[list[TypedPath], Field(default_factory=list, max_length=1)]


@ROUTES.add(
    "POST",
    "/restore/<backup_id>",
    permission="backups.restore",
    body=Restore,
    answer=RUN,
    status=202,
    errors=(404, 409, 503),
    starts_work=True,
    headers=_LOCATION,
)
def restore_backup(call: Call) -> Answer:
    """Restores to a new place, where nothing that exists is touched; or carries out a plan to replace."""
    asked = call.body
    if asked.dry_run:
        raise NotBuilt(
            "/dryRun: a restore cannot be tried through the API yet.", hint="`backup-cli restore --dry-run`."
        )
    return started(_replace(call) if asked.mode == "replace" else _beside(call))


@ROUTES.add(
    "POST",
    "/restore-plans",
    permission="backups.restore",
    body=NewPlan,
    answer=_PLAN,
    status=201,
    errors=(404, 409, 503),
)
def plan_restore(call: Call) -> Answer:
    """Looks at a restore point and at what it shall replace. The plan counts for half an hour, while the target stays
    as it is; carry it out with `restore` and its hash."""
    asked = call.body
    wish = replace_plans.Wish(
        asked.backup_id, call.actor.identity, () if asked.target is None else (asked.target,), tuple(asked.only)
    )
    made = replace_plans.make(call.installation, wish, cwd=call.installation.settings.home, tell=silent)
    return Answer(replace_plans.document(made), 201)


@ROUTES.add("GET", "/restores/<restore_id>", permission="backups.restore", answer=_REPLACEMENT, errors=(404, 409))
def get_restore(call: Call) -> Answer:
    """A restore that replaced something: its state, and what is kept until when."""
    return Answer(replacing.document(journal.find(call.installation, call.path["restore_id"])))


@ROUTES.add(
    "POST",
    "/restores/<restore_id>/undo",
    permission="backups.restore",
    answer=RUN,
    status=202,
    errors=(404, 409, 503),
    starts_work=True,
    headers=_LOCATION,
)
def undo_restore(call: Call) -> Answer:
    """Swaps back to what was there before, while it is kept."""
    return started(replacing.send_undo(call.installation, call.actor.identity, call.path["restore_id"]))


def _replace(call: Call) -> Run:
    asked = call.body
    needed = {"planId": asked.plan_id, "planHash": asked.plan_hash, "confirmTarget": asked.confirm_target}
    unfit = {"target": asked.target, "only": asked.only, "verify": asked.verify}
    faults = [
        Fault(f"/{name}", "is needed to replace; make a plan first.") for name, given in needed.items() if not given
    ]
    faults += [Fault(f"/{name}", "belongs to the plan; leave it out here.") for name, given in unfit.items() if given]
    if faults:
        raise Faulty("The body does not fit.", faults, hint="POST /api/backup/restore-plans makes a plan.")
    backup = records.find(call.installation, call.path["backup_id"])
    plan = replacing.accept(call.installation, asked.plan_id, plan_hash=asked.plan_hash, confirm=asked.confirm_target)
    if plan.backup_id != backup.public_id:
        raise Conflict(f"The plan {plan.public_id} is of another restore point, {plan.backup_id}.")
    home = call.installation.settings.home
    return replacing.send(call.installation, call.actor.identity, plan, cwd=home, reason=asked.reason or "")


def _beside(call: Call) -> Run:
    asked = call.body
    unfit = {"planId": asked.plan_id, "planHash": asked.plan_hash, "confirmTarget": asked.confirm_target}
    faults = [Fault(f"/{name}", "is for the mode `replace`.") for name, given in unfit.items() if given]
    if faults:
        raise Faulty("The body does not fit.", faults)
    backup = records.find(call.installation, call.path["backup_id"])
    targets = [asked.target] if isinstance(asked.target, str) else list(asked.target or ())
    arguments: dict[str, Any] = {"only": list(asked.only), "verify": asked.verify}
    if asked.reason:
        arguments["reason"] = asked.reason
    return submit.restore(call.installation, call.actor.identity, backup, arguments, {"targets": targets})

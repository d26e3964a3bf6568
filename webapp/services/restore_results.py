"""What became of a restore: where it went, what was compared, and, when it failed, what the target is now."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from webapp.errors import Conflict, NotFound
from webapp.installation import Installation
from webapp.models import Replacement, Run, RunLine, RunProblem
from webapp.models.replacement import CLEARED, CLEARING, PREPARING, REPLACED, REVERTED, UNDONE
from webapp.models.run import CANCELLED, FAILED, INTERRUPTED, UNDO
from webapp.services import journal, records, replacing, run_lines, run_phases, runs
from webapp.services.run_phases import Pace, Step

_TOLD = 200
_NOT_WELL = (FAILED, CANCELLED, INTERRUPTED)


@dataclass(frozen=True)
class Result:
    """A restore. `targets` are {kind, target, compared} of what is there now; `state` a sentence about the target when
    there is something to say; `can_undo` while what it replaced is kept."""

    run: Run
    targets: Sequence[dict[str, Any]]
    replacement: Replacement | None
    state: str
    can_undo: bool
    lines: Sequence[RunLine]
    problems: Sequence[RunProblem]
    steps: Sequence[Step]
    pace: Pace | None


def find(installation: Installation, text: str) -> Result:
    """The restore with this run's id, or that of the replacement (`rs_…`). Raises NotFound, Conflict."""
    if text.startswith("rs_"):
        text = journal.find(installation, text).run_id
    run = runs.find(installation, text)
    if run.kind != "restore":
        raise NotFound(f"The run {run.public_id} is no restore.", hint="The list of runs shows it.")
    entry = None
    with suppress(NotFound, Conflict):
        entry = journal.find(installation, _replaced_by(run))
    can_undo = False
    if entry is not None:
        with suppress(Conflict):
            replacing.undoable(installation, entry.public_id)
            can_undo = True
    phases = run_phases.of(installation, run.id)
    return Result(
        run,
        (run.result or {}).get("targets", ()),
        entry,
        _state(run, entry),
        can_undo,
        run_lines.after(installation, run.id)[-_TOLD:],
        runs.problems(installation, run.id),
        run_phases.steps(installation, run, phases),
        run_phases.pace(run, phases[-1] if phases else None),
    )


def evidence(installation: Installation, found: Result) -> dict[str, Any]:
    """What proves it: who, when, from what, where to, what was compared. It holds no secret. Raises NotFound."""
    run, entry = found.run, found.replacement
    point = None
    if run.backup_id is not None:
        with suppress(NotFound):
            point = records.find(installation, run.backup_id)
    return {
        "runId": run.public_id,
        "status": run.state,
        "identity": run.identity,
        "reason": run.arguments.get("reason"),
        "host": run.host,
        "createdAt": run.created_at.isoformat(),
        "startedAt": run.started_at and run.started_at.isoformat(),
        "finishedAt": run.finished_at and run.finished_at.isoformat(),
        "durationSeconds": run.duration_seconds,
        "restorePoint": None
        if point is None
        else {
            "backupId": point.public_id,
            "configId": point.config_id,
            "madeAt": point.finished_at.isoformat(),
            "manifestHash": point.manifest_hash,
        },
        "result": run.result,
        "problemCount": run.problem_count,
        "problems": [{"kind": each.kind, "path": each.path, "reason": each.reason} for each in found.problems],
        "replacement": None if entry is None else replacing.document(entry),
        "error": run.error,
    }


def _replaced_by(run: Run) -> str:
    """An undo names what it takes back."""
    named = run.arguments.get("undo")
    return str(named) if named else run.public_id


def _state(run: Run, entry: Replacement | None) -> str:
    if run.is_active:
        return ""
    if entry is not None and run.type != UNDO:
        return _of_replacement(entry)
    if run.state not in _NOT_WELL:
        return ""
    if (run.result or {}).get("targets"):
        return "Nothing that existed was changed. What was restored is kept for you to look at."
    return "Nothing that existed was changed. What it began was removed, unless the log names it."


def _of_replacement(entry: Replacement) -> str:
    target = entry.plan.target
    if entry.state in (PREPARING, REVERTED):
        return f"{target} was not changed."
    if entry.state == REPLACED:
        return f"{target} is replaced."
    if entry.state == UNDONE:
        return f"{target} is as it was before: the restore was undone."
    if entry.state in (CLEARING, CLEARED):
        return f"What {target} was before is not kept any more."
    return f"{target} is being swapped; if that was cut short, it is finished or taken back within a minute."

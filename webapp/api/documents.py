"""Rows in the words of the contract."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from webapp.installation import Installation
from webapp.models import ApiToken, Backup, BackupCopy, Configuration, Run, RunProblem, Schedule, User
from webapp.models.backup import LOST
from webapp.services import configurations, restore_points, schedules, trash, work
from webapp.services.access import Actor

_NEXT = 3


def run(row: Run, problems: Sequence[RunProblem] = ()) -> dict[str, Any]:
    """A run: what `create --json` says, and who, where and when."""
    kept = tuple((each.kind, each.path, each.reason) for each in problems)
    document = work.document(row, kept)
    return {
        "runId": row.public_id,
        "kind": row.kind,
        "status": row.state,
        "configId": row.config_id,
        "backupId": row.backup_id,
        "type": document["type"],
        "trigger": row.trigger,
        "afterRun": row.arguments.get("afterRun"),
        "identity": row.identity,
        "host": row.host,
        "createdAt": row.created_at,
        "startedAt": row.started_at,
        "finishedAt": row.finished_at,
        "durationSeconds": row.duration_seconds,
        "items": row.items,
        "files": document["files"],
        "databases": document["databases"],
        "bytes": document["bytes"],
        "destinations": document["destinations"],
        "problems": document["problems"],
        "problemCount": row.problem_count,
        "result": row.result,
        "error": row.error,
        "hint": row.hint,
    }


def configuration(
    installation: Installation, actor: Actor, row: Configuration, schedule: Schedule | None = None
) -> dict[str, Any]:
    """A configuration without its secrets, and when it runs next: by `schedule` when that is not out of date. Who may
    not read destinations learns only of which kind they are."""
    document = configurations.shown(row)
    if not actor.may("destinations.read"):
        kept = ("type", "ref")
        places = [{key: each[key] for key in kept if key in each} for each in document["destinations"]]
        document = {**document, "destinations": places}
    if schedule is not None and schedule.version == row.version:
        next_runs = schedules.following(schedule, installation.clock(), _NEXT)
    else:
        next_runs = schedules.upcoming(installation, row, _NEXT)
    return {
        "id": row.id,
        "version": row.version,
        "createdAt": row.created_at,
        "updatedAt": row.updated_at,
        "configuration": document,
        "nextRuns": next_runs,
    }


def backup(row: Backup) -> dict[str, Any]:
    """A restore point with its copies."""
    hold = row.hold
    return {
        "backupId": row.public_id,
        "configId": row.config_id,
        "type": row.type,
        "status": restore_points.status_of(row),
        "startedAt": row.started_at,
        "finishedAt": row.finished_at,
        "totals": row.totals,
        "databases": row.databases,
        "paths": row.paths,
        "problems": row.problem_count,
        "tags": row.tags,
        "host": row.host,
        "verifiedAt": restore_points.verified_at(row),
        "hold": None if hold is None else {"reason": hold.reason, "by": hold.identity, "until": hold.until_at},
        "destinations": [
            {
                "name": copy.destination.name,
                "type": copy.destination.kind,
                "state": _state(copy),
                "verifiedAt": copy.verified_at,
                "trashedAt": copy.trashed_at,
            }
            for copy in row.copies
        ],
    }


def _state(copy: BackupCopy) -> str:
    """What the command line calls it too: a copy whose loss was accepted is lost, whatever is left of it."""
    if trash.is_given_up(copy.removal_reason):
        return LOST
    return copy.state


def user(row: User) -> dict[str, Any]:
    """An account."""
    return {
        "id": row.public_id,
        "name": row.name,
        "role": row.role,
        "enabled": row.is_enabled,
        "secondFactor": row.has_second_factor,
        "mustChangePassword": row.must_change_password,
        "createdAt": row.created_at,
        "signedInAt": row.signed_in_at,
    }


def token(row: ApiToken) -> dict[str, Any]:
    """A token, without what opens anything."""
    return {
        "id": row.public_id,
        "user": row.user.name,
        "name": row.name,
        "prefix": row.prefix,
        "scope": row.scope,
        "networks": list(row.networks),
        "createdAt": row.created_at,
        "expiresAt": row.expires_at,
        "usedAt": row.used_at,
        "usedFrom": row.used_from,
    }

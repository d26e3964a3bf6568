"""One piece of work from its start to its recorded end, and the document that tells of it (contract: `create` and
`restore`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from engine.errors import NO_MEMORY, NO_MEMORY_HINT, Cancelled, EngineError, lacks_memory
from engine.progress import Progress
from webapp.errors import ServiceError, Unavailable
from webapp.installation import Installation
from webapp.models import Run
from webapp.models.run import CANCELLED, FAILED, INTERRUPTED, SUCCEEDED, WARNING
from webapp.services import runs
from webapp.services.heartbeat import Heartbeat
from webapp.services.runs import NewRun, Outcome

NO_FILES = {"total": 0, "new": 0, "changed": 0, "unchanged": 0, "unreadable": 0}


@dataclass(frozen=True)
class Ended:
    """What the work itself says at its end. `result` is JSON; `error` of a work that ended badly but has a result."""

    state: str
    result: Mapping[str, Any] = field(default_factory=dict)
    backup_id: str | None = None
    error: Exception | None = None


@dataclass(frozen=True)
class Finished:
    """A run that has ended: its row, its kept problems as (kind, path, reason), and the error that ended it."""

    run: Run
    problems: tuple[tuple[str, str, str], ...]
    error: Exception | None = None


Work = Callable[[Run, Heartbeat], Ended]


class Stopped(Cancelled):
    """The service stops: nobody wants the work to be undone, so it may be tried again."""


def carry_out(installation: Installation, new: NewRun, progress: Progress, work: Work) -> Finished:
    """Starts the run, does the work while the run's heart beats, and records how it ended.

    What the work raises is in the answer, not raised; but Ctrl-C pressed twice goes on. Raises Busy before it starts.
    """
    run = runs.start(installation, new)
    with Heartbeat(installation, run.id, progress) as watch:
        try:
            ended = work(run, watch)
        except (KeyboardInterrupt, SystemExit):
            _finish(installation, run, watch, Ended(CANCELLED, error=Cancelled("Interrupted.")))
            raise
        except Stopped as error:
            ended = Ended(INTERRUPTED, error=error)
        except Cancelled as error:
            ended = Ended(CANCELLED, error=error)
        except Exception as error:  # noqa: BLE001 (whatever it is, the run has failed and its row must say so)
            ended = Ended(FAILED, error=error)
    return _finish(installation, run, watch, ended)


def document(run: Run, problems: tuple[tuple[str, str, str], ...]) -> dict[str, Any]:
    """The JSON of `create` and `restore`, from a run's row; times are datetimes."""
    result = run.result or {}
    return {
        "runId": run.public_id,
        "kind": run.kind,
        "status": run.state,
        "configId": run.config_id,
        "backupId": run.backup_id,
        "startedAt": run.started_at,
        "finishedAt": run.finished_at,
        "durationSeconds": run.duration_seconds,
        "type": result.get("type", run.type),
        "files": result.get("files", NO_FILES),
        "databases": result.get("databases", []),
        "bytes": result.get("bytes", {"read": run.bytes_read, "new": 0, "stored": run.bytes_stored}),
        "destinations": result.get("destinations", []),
        "problems": [{"kind": kind, "path": path, "reason": reason} for kind, path, reason in problems],
        "error": run.error,
    }


def _finish(installation: Installation, run: Run, watch: Heartbeat, ended: Ended) -> Finished:
    message, hint = words(ended.error)
    problems = tuple(watch.problems)
    outcome = Outcome(
        ended.state,
        counters=watch.counters,
        result=ended.result or None,
        error=message,
        hint=hint,
        cause=None if ended.error is None else type(ended.error).__name__,
        backup_id=ended.backup_id,
        problems=problems,
    )
    try:
        runs.finish(installation, run.id, outcome)
        run = runs.fetch(installation, run.id)
    except Unavailable as error:
        # What the work did is done; only its row could not be written. The next command puts that right.
        run = _unrecorded(run, outcome, error, at=installation.clock())
    return Finished(run, problems, ended.error)


def _unrecorded(run: Run, outcome: Outcome, error: Unavailable, *, at: datetime) -> Run:
    """The row as it would read, for the answer alone; it is stored nowhere."""
    succeeded = outcome.state == SUCCEEDED
    return Run(
        public_id=run.public_id,
        kind=run.kind,
        state=WARNING if succeeded else outcome.state,
        config_id=run.config_id,
        backup_id=outcome.backup_id or run.backup_id,
        type=run.type,
        host=run.host,
        started_at=run.started_at,
        finished_at=at,
        bytes_read=outcome.counters.bytes_read,
        bytes_stored=outcome.counters.bytes_stored,
        result=None if outcome.result is None else dict(outcome.result),
        error=f"The run could not be recorded: {error.message}" if succeeded else outcome.error,
        hint=error.hint if succeeded else outcome.hint,
    )


def words(error: Exception | None) -> tuple[str | None, str | None]:
    """Message and hint of an error, for its row. What nobody foresaw is named by its kind alone: no secrets."""
    if error is None:
        return None, None
    if isinstance(error, EngineError | ServiceError):
        return error.message, error.hint or None
    if lacks_memory(error):
        return NO_MEMORY, NO_MEMORY_HINT
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}." if error.filename else f"{error.strerror}.", None
    return f"Something happened that this program does not expect ({type(error).__name__}).", "Please report it."

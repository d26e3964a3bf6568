"""Runs: started, kept alive, ended, found. The database row is the truth, and one function alone moves its state."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import CursorResult, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from engine.ids import new_id, spell
from webapp.errors import Busy, Conflict, NotFound
from webapp.installation import Installation
from webapp.models.run import (
    ACTIVE,
    CANCELLED,
    ENDED,
    FAILED,
    INTERRUPTED,
    QUEUED,
    RUNNING,
    SUCCEEDED,
    WARNING,
    Run,
    RunProblem,
)
from webapp.processes import is_gone
from webapp.services import audit
from webapp.services.access import SYSTEM, Actor
from webapp.services.run_ends import tell

KEPT_PROBLEMS = 1000
CLEANUP = "cleanup"
_FROM: Mapping[str, tuple[str, ...]] = {
    RUNNING: (QUEUED,),
    SUCCEEDED: (RUNNING,),
    WARNING: (RUNNING,),
    FAILED: ACTIVE,
    CANCELLED: ACTIVE,
    INTERRUPTED: ACTIVE,
}
_TRIES = 3
_LOOK_SECONDS = 0.25


@dataclass(frozen=True)
class NewRun:
    """What shall run. `identity` is who asks, such as `local:maria`; `arguments` must hold no secret."""

    kind: str
    identity: str
    config_id: str | None = None
    backup_id: str | None = None
    type: str | None = None
    trigger: str = "manual"
    arguments: Mapping[str, Any] = field(default_factory=dict)
    run_id: int | None = None
    """The queued run (its row's id) that this is; None for a run that is started here and now."""
    queue: str | None = None
    scheduled_for: datetime | None = None
    attempt: int = 1
    retry_of: str | None = None
    sealed: bytes | None = None


@dataclass(frozen=True)
class Counters:
    """How far a run is: items finished, plain bytes read, bytes stored, problems so far."""

    items: int = 0
    bytes_read: int = 0
    bytes_stored: int = 0
    problems: int = 0


@dataclass(frozen=True)
class Pulse:
    """The answer to a heartbeat: whether the run is still ours, and whether somebody asked it to stop."""

    alive: bool
    cancel_requested: bool


@dataclass(frozen=True)
class Outcome:
    """How a run ended. `problems` are (kind, path, reason); `cause` is a short word for statistics, such as the name
    of the error's class."""

    state: str
    counters: Counters = Counters()
    result: Mapping[str, Any] | None = None
    error: str | None = None
    hint: str | None = None
    cause: str | None = None
    backup_id: str | None = None
    problems: Sequence[tuple[str, str, str]] = ()


def start(installation: Installation, new: NewRun) -> Run:
    """A run of this process, in the state `running`.

    Runs whose process died are ended first, so they are in nobody's way. Raises Busy, naming the run, when the
    configuration is being backed up already or another cleanup is at work, and NotFound when there is no such
    configuration.
    """
    if new.run_id is not None:
        return _claim(installation, new, new.run_id)
    return _entered(installation, new)


def put(installation: Installation, new: NewRun) -> Run:
    """A run in the state `queued`, committed, for services/submit.py to send. Raises as `start`."""
    if new.queue is None:
        raise ValueError("a run that waits needs a queue to wait in")
    return _entered(installation, new)


def _entered(installation: Installation, new: NewRun) -> Run:
    for _ in range(_TRIES):
        interrupt_dead(installation)
        try:
            with installation.database.transaction() as session:
                return insert_run(session, installation, new)
        except IntegrityError:
            other = _in_the_way(installation, new)
        if other is not None:
            busy = "The destinations are being cleaned up"
            if new.kind != CLEANUP:
                busy = f"{new.config_id} is being backed up"
            raise Busy(
                f"{busy} already by the run {other.public_id} on {other.host}.",
                run_id=other.public_id,
                hint="Wait until it has ended.",
            )
    raise NotFound(f"There is no configuration {new.config_id}.")


def beat(installation: Installation, run_id: int, counters: Counters) -> Pulse:
    """Says that the run lives and how far it is. `run_id` is the row's id."""
    with installation.database.transaction() as session:
        touched = _update(
            session,
            update(Run)
            .where(Run.id == run_id, Run.state == RUNNING)
            .values(heartbeat_at=installation.clock(), **_columns(counters)),
        )
        if not touched:
            return Pulse(alive=False, cancel_requested=False)
        return Pulse(alive=True, cancel_requested=bool(session.scalar(_cancel_flag(run_id))))


def finish(
    installation: Installation, run_id: int, outcome: Outcome, *, only_from: Sequence[str] | None = None
) -> bool:
    """Ends the run. False when somebody else ended it before (it was taken for dead): then nothing is changed."""
    if outcome.state not in ENDED:
        raise ValueError(f"a run does not end as {outcome.state}")
    with installation.database.transaction() as session:
        values: dict[str, Any] = {
            "result": None if outcome.result is None else dict(outcome.result),
            "error": _storable(outcome.error),
            "hint": _storable(outcome.hint),
            "cause": outcome.cause,
            **_columns(outcome.counters),
        }
        if outcome.backup_id is not None:
            values["backup_id"] = outcome.backup_id
        if not _move(session, installation, run_id, outcome.state, only_from=only_from, **values):
            return False
        _add_problems(session, run_id, outcome.problems)
        return True


def interrupt_dead(installation: Installation) -> list[Run]:
    """Ends the runs that nobody works on any more: their process is gone, or silent for too long."""
    silent_since = installation.clock() - timedelta(seconds=installation.expiry_seconds)
    with installation.database.reading() as session:
        dead = [run for run in session.scalars(select(Run).where(Run.state == RUNNING)) if _is_dead(run, silent_since)]
    return [run for run in dead if _declare_dead(installation, run, silent_since=silent_since)]


def request_cancel(installation: Installation, public_id: str, *, actor: Actor | str = SYSTEM) -> Run:
    """Asks a run to stop; a queued one stops at once. Raises NotFound, and Conflict when it has ended."""
    run = find(installation, public_id)
    asks = update(Run).where(Run.id == run.id, Run.state == RUNNING).values(cancel_requested=True)
    with installation.database.transaction() as session:
        if _move(session, installation, run.id, CANCELLED, only_from=(QUEUED,)) or _update(session, asks):
            audit.record(session, installation, actor, "run.cancel_asked", run.public_id)
            return run
    raise Conflict(f"The run {run.public_id} has ended.")


def find(installation: Installation, text: str) -> Run:
    """The run with this public id, or the only one whose id begins so. Raises NotFound and Conflict."""
    wanted = text if text.startswith("run_") else f"run_{text}"
    with installation.database.reading() as session:
        # First the whole id, by its index: no index helps with how an id begins, and 100,000 runs take 20 ms.
        for how in (Run.public_id == wanted, Run.public_id.startswith(wanted, autoescape=True)):
            found = session.scalars(select(Run).where(how).limit(2)).all()
            if found:
                break
    if not found:
        raise NotFound(f"There is no run {text}.", hint="`backup-cli list --runs` shows the runs.")
    if len(found) > 1:
        raise Conflict(f"More than one run begins with {text}.", hint="Type more of the id.")
    return found[0]


def fetch(installation: Installation, run_id: int) -> Run:
    """The run with this row id, as it is now."""
    with installation.database.reading() as session:
        return session.get_one(Run, run_id)


def wait(installation: Installation, public_id: str, seconds: float) -> Run:
    """The run when it has ended, or as it is after `seconds`. Raises NotFound."""
    for _ in range(int(seconds / _LOOK_SECONDS)):
        if not find(installation, public_id).is_active:
            break
        threading.Event().wait(_LOOK_SECONDS)
    return find(installation, public_id)


def listing(
    installation: Installation,
    *,
    config_id: str | None = None,
    kind: str | None = None,
    state: str | None = None,
    since: datetime | None = None,
    limit: int = 50,
) -> list[Run]:
    """Runs, newest first; `since` compares with the time at which a run was asked for."""
    query = select(Run).order_by(Run.id.desc()).limit(limit)
    if config_id is not None:
        query = query.where(Run.config_id == config_id)
    if kind is not None:
        query = query.where(Run.kind == kind)
    if state is not None:
        query = query.where(Run.state == state)
    if since is not None:
        query = query.where(Run.created_at >= since)
    with installation.database.reading() as session:
        return list(session.scalars(query))


def problems(installation: Installation, run_id: int) -> list[RunProblem]:
    """The kept problems of a run, in their order."""
    with installation.database.reading() as session:
        query = select(RunProblem).where(RunProblem.run_id == run_id).order_by(RunProblem.position)
        return list(session.scalars(query))


def insert_run(session: Session, installation: Installation, new: NewRun) -> Run:
    """The row of a new run: queued when it has a queue, else running. For callers that need it in a transaction of
    theirs; IntegrityError when another run is in the way."""
    now = installation.clock()
    run = Run(
        public_id=spell("run", new_id()),
        kind=new.kind,
        state=QUEUED,
        config_id=new.config_id,
        backup_id=new.backup_id,
        type=new.type,
        trigger=new.trigger,
        identity=new.identity,
        host=installation.host,
        process=None if new.queue else installation.process,
        created_at=now,
        arguments=dict(new.arguments),
        queue=new.queue,
        scheduled_for=new.scheduled_for,
        attempt=new.attempt,
        retry_of=new.retry_of,
        sealed=new.sealed,
    )
    session.add(run)
    session.flush()
    if new.queue is None:
        _move(session, installation, run.id, RUNNING)
    session.refresh(run)
    return run


def _claim(installation: Installation, new: NewRun, run_id: int) -> Run:
    """A queued run becomes this process's. Raises Conflict when somebody else has it, or it was cancelled."""
    with installation.database.transaction() as session:
        won = _move(
            session,
            installation,
            run_id,
            RUNNING,
            host=installation.host,
            process=installation.process,
            type=new.type,
            config_id=new.config_id,
            backup_id=new.backup_id,
        )
        run = session.get_one(Run, run_id)
    if not won:
        raise Conflict(f"The run {run.public_id} is {run.state} already.")
    return run


def _move(
    session: Session,
    installation: Installation,
    run_id: int,
    to: str,
    *,
    only_from: Sequence[str] | None = None,
    **values: Any,
) -> bool:
    """The only place where a run's state changes. Whether this call moved it: the row count says who won."""
    at = installation.clock()
    if to == RUNNING:
        values.update(started_at=at, heartbeat_at=at)
    else:
        values.update(finished_at=at, sealed=None)
    allowed = _FROM[to] if only_from is None else only_from
    moved = _update(session, update(Run).where(Run.id == run_id, Run.state.in_(allowed)).values(state=to, **values))
    if moved and to in ENDED:
        tell(session, installation, session.get_one(Run, run_id, populate_existing=True))
    return moved == 1


def _update(session: Session, statement: Any) -> int:
    result = session.execute(statement.execution_options(synchronize_session=False))
    assert isinstance(result, CursorResult)
    return result.rowcount


def _declare_dead(installation: Installation, run: Run, *, silent_since: datetime) -> bool:
    """In a transaction of its own: two that end several runs in one would wait for each other in a circle."""
    with installation.database.transaction() as session:
        # It may have ended, or said that it lives, since it was looked at: look again, now that nobody else can write.
        session.add(run)
        session.refresh(run, with_for_update=True)
        if run.state != RUNNING or not _is_dead(run, silent_since):
            return False
        moved = _move(
            session,
            installation,
            run.id,
            INTERRUPTED,
            error=f"The process that ran this on {run.host} ended without a word.",
            hint="Start it again; what it had committed is safe.",
            cause="interrupted",
        )
        session.refresh(run)
        return moved


def _is_dead(run: Run, silent_since: datetime) -> bool:
    if run.heartbeat_at is None or run.heartbeat_at < silent_since:
        return True
    return run.process is not None and is_gone(run.process)


def _in_the_way(installation: Installation, new: NewRun) -> Run | None:
    """The active run that the database does not allow a second one beside."""
    query = select(Run).where(Run.kind == new.kind, Run.state.in_(ACTIVE))
    if new.kind != CLEANUP:
        query = query.where(Run.config_id == new.config_id)
    with installation.database.reading() as session:
        return session.scalars(query).first()


def _cancel_flag(run_id: int) -> Any:
    return select(Run.cancel_requested).where(Run.id == run_id)


def _columns(counters: Counters) -> dict[str, int]:
    return {
        "items": counters.items,
        "bytes_read": counters.bytes_read,
        "bytes_stored": counters.bytes_stored,
        "problem_count": counters.problems,
    }


def _add_problems(session: Session, run_id: int, found: Sequence[tuple[str, str, str]]) -> None:
    rows = [
        {"run_id": run_id, "position": number, "kind": kind, "path": _storable(path), "reason": _storable(reason)}
        for number, (kind, path, reason) in enumerate(found[:KEPT_PROBLEMS])
    ]
    if rows:
        session.execute(insert(RunProblem), rows)


def _storable(text: str | None) -> str | None:
    """File names of any bytes come with lone surrogates, and PostgreSQL stores no NUL: both are spelled out."""
    if text is None:
        return None
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")

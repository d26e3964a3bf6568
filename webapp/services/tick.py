"""The tick: puts the truth in order and starts what is due. Safe twice at once, after a gap, and after Redis lost all.

Every step is a short transaction of its own with its own condition, so two ticks do each thing once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import aliased

from webapp.errors import Unavailable
from webapp.installation import Installation
from webapp.models import Run
from webapp.models.run import FAILED, INTERRUPTED, QUEUED
from webapp.queue import opened
from webapp.services import figures, overdue, pulses, runs, schedules, submit
from webapp.services.runs import NewRun

ATTEMPTS = 3
# What is older than that was looked at by somebody already, or nobody waits for it any more.
_RETRY_WITHIN = timedelta(hours=24)
_RETRIED = ("schedule", "retry")


@dataclass(frozen=True)
class Ticked:
    """What a tick did, in public ids of runs; `recounted` are configurations whose figures of a day were wrong;
    `queue_error` when Redis did not answer: the next tick tries again."""

    interrupted: tuple[str, ...]
    retried: tuple[str, ...]
    started: tuple[str, ...]
    sent: tuple[str, ...]
    overdue: tuple[str, ...]
    recounted: tuple[str, ...] = ()
    queue_error: str = ""


def tick(installation: Installation) -> Ticked:
    """One look at everything. Raises Unavailable when the database cannot be used."""
    interrupted = runs.interrupt_dead(installation)
    schedules.refresh(installation)
    if _clock_was_set_back(installation):
        schedules.correct(installation)
    retried = _retry(installation)
    started = schedules.start_due(installation)
    missed = overdue.look(installation)
    recounted = figures.check_ended(installation)
    sent: list[Run] = []
    error = ""
    try:
        sent = send_waiting(installation, new=[*retried, *started])
    except Unavailable as unavailable:
        error = str(unavailable)
    pulses.beat(installation)
    return Ticked(_ids(interrupted), _ids(retried), _ids(started), _ids(sent), tuple(missed), tuple(recounted), error)


def _ids(found: list[Run]) -> tuple[str, ...]:
    return tuple(run.public_id for run in found)


def _clock_was_set_back(installation: Installation) -> bool:
    query = select(Run.id).where(Run.created_at > installation.clock()).limit(1)
    with installation.database.reading() as session:
        return session.scalar(query) is not None


def send_waiting(installation: Installation, *, new: Sequence[Run] = (), patience: float | None = None) -> list[Run]:
    """Sends the new runs, and those that wait for longer than `patience` seconds (default: the setting `orphan`) but
    are in no queue: sent never, or lost by Redis or a dying worker. Raises Unavailable."""
    seconds = installation.settings.timing.orphan if patience is None else patience
    before = installation.clock() - timedelta(seconds=seconds)
    query = select(Run).where(Run.state == QUEUED, Run.created_at <= before, Run.queue.is_not(None))
    with installation.database.reading() as session:
        waiting = list(session.scalars(query))
    if waiting:
        with opened(installation.settings) as queue:
            there = queue.waiting({run.queue for run in waiting if run.queue})
        waiting = [run for run in waiting if run.public_id not in there]
    known = {run.id for run in waiting}
    lost = waiting + [run for run in new if run.id not in known]
    submit.send(installation, lost)
    return lost


def _retry(installation: Installation) -> list[Run]:
    """Backups that ran by themselves and were cut short, or whose destination was away, run again as new runs."""
    now = installation.clock()
    later, again = aliased(Run), aliased(Run)
    query = select(Run).where(
        Run.kind == "create",
        Run.state.in_((INTERRUPTED, FAILED)),
        Run.trigger.in_(_RETRIED),
        Run.attempt < ATTEMPTS,
        Run.finished_at > now - _RETRY_WITHIN,
        ~select(later.id).where(later.config_id == Run.config_id, later.id > Run.id, later.kind == "create").exists(),
        ~select(again.id).where(again.retry_of == Run.public_id).exists(),
    )
    with installation.database.reading() as session:
        candidates = [run for run in session.scalars(query) if _may_retry(installation, run, now)]
    made = []
    for run in candidates:
        new = NewRun(
            "create",
            run.identity,
            config_id=run.config_id,
            type=run.type,
            trigger="retry",
            arguments=run.arguments,
            queue=run.queue,
            attempt=run.attempt + 1,
            retry_of=run.public_id,
        )
        try:
            with installation.database.transaction() as session:
                made.append(runs.insert_run(session, installation, new))
        except IntegrityError:
            continue  # another tick was faster, or it is being backed up by hand
    return made


def _may_retry(installation: Installation, run: Run, now: datetime) -> bool:
    if run.queue is None or run.finished_at is None:
        return False
    if run.state == INTERRUPTED:
        return True
    wait = timedelta(seconds=installation.settings.timing.retry) * run.attempt
    return run.cause == "Unavailable" and run.finished_at + wait <= now

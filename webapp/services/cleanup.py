"""`cleanup`: carries a plan out. Points go into the trash, what was there long enough goes for good, then space is
freed in two phases: this call marks what is needed no more, a later one deletes it."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import update

from engine.errors import Busy, Cancelled, EngineError
from engine.keyring import Keyring
from engine.progress import Progress
from engine.repository import prune
from engine.repository.forget import empty_trash, forget, recall
from engine.repository.prune import Freed, Rules, Waiting
from engine.repository.repository import Repository
from webapp.clock import rfc3339
from webapp.errors import ConfirmationNeeded, ServiceError
from webapp.installation import Installation
from webapp.models import Configuration, Destination, Run
from webapp.models.run import FAILED, SUCCEEDED, WARNING
from webapp.services import clocks, pins, records, repositories, retention, trash, work
from webapp.services.cleanup_plans import Order, Part, Place, Plan, points_that_count
from webapp.services.heartbeat import Heartbeat
from webapp.services.keyrings import Tell
from webapp.services.runs import CLEANUP, NewRun
from webapp.services.work import Ended, Finished

TRASH_DELAY = timedelta(days=7)
SPOOL = "spool"


@dataclass
class _Done:
    """What was done at one destination; with `error` it stopped there."""

    destination: Destination
    trashed: list[str] = field(default_factory=list)
    recalled: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    freed: Freed | None = None
    waiting: Waiting | None = None
    error: Exception | None = None

    def note(self, answer: Freed | Waiting) -> None:
        """What freeing space brought. Of several reasons to wait the first is told."""
        if isinstance(answer, Waiting):
            self.waiting = self.waiting or answer
        else:
            self.freed = answer

    def document(self) -> dict[str, Any]:
        """As in the run's result."""
        freed, waiting = self.freed, self.waiting
        return {
            "name": self.destination.name,
            "type": self.destination.kind,
            "status": FAILED if self.error else SUCCEEDED,
            "trashed": self.trashed,
            "recalled": self.recalled,
            "removed": self.removed,
            "freedBytes": 0 if freed is None else freed.bytes,
            "packsRemoved": 0 if freed is None else freed.packs,
            "waiting": None if waiting is None else {"until": rfc3339(waiting.until), "why": waiting.why},
            "error": None if self.error is None else " ".join(part for part in work.words(self.error) if part),
        }


def pruning_rules(installation: Installation) -> Rules:
    """What HOLDFAST_TIMING says of grace and sessions, and the engine's own rules."""
    timing = installation.settings.timing
    return Rules(grace=timedelta(seconds=timing.grace), session_expiry=timedelta(seconds=timing.session))


def apply(
    installation: Installation, plan: Plan, *, confirmed: Collection[str], progress: Progress, tell: Tell
) -> Finished:
    """Removes what the plan says and is still true, and frees space; how it ended is in the answer. Configurations with
    a question are left alone unless they are in `confirmed`; then the error is ConfirmationNeeded.

    Raises Busy when another cleanup of this installation is at work.
    """
    order = plan.order
    arguments = {"now": order.at_once}
    new = NewRun(CLEANUP, order.identity, config_id=order.config_id, arguments=arguments, run_id=order.run_id)

    def carry_out(run: Run, watch: Heartbeat) -> Ended:
        done = []
        keyring = repositories.open_keyring(installation, may_create=False, tell=tell) if plan.places else None
        for place in plan.places:
            watch.checkpoint()
            one = _Done(place.destination, error=place.error)
            done.append(one)
            if keyring is not None and place.error is None:
                _clean(installation, order, place, one, keyring, confirmed, watch)
            if one.error is not None:
                watch.problem("destination", place.destination.name, str(one.error))
        return _ended(plan, done, confirmed, is_clean=not watch.problems)

    return work.carry_out(installation, new, progress, carry_out)


def _clean(
    installation: Installation,
    order: Order,
    place: Place,
    done: _Done,
    keyring: Keyring,
    confirmed: Collection[str],
    watch: Heartbeat,
) -> None:
    agreed = [part for part in place.parts if not part.questions or part.configuration.id in confirmed]
    try:
        repository = repositories.open_repository(installation, place.destination, keyring)
        with closing(repository.storage):
            _recall_held(installation, repository, done)
            for part in agreed:
                _trash(installation, order, part, repository, done, watch)
            # What lay in the trash long enough was agreed to when it got there.
            _empty(installation, order, agreed if order.at_once else place.parts, repository, done)
            watch.phase("Freeing space")
            _free(installation, order, repository, done, watch)
    except Cancelled:
        raise
    except (EngineError, ServiceError) as error:
        done.error = error


def _recall_held(installation: Installation, repository: Repository, done: _Done) -> None:
    """A point that was pinned while its destination was away is still in the trash there."""
    held = pins.held(installation)
    for copy in trash.here(installation, done.destination):
        identity = records.identity(copy.backup)
        if identity in held:
            recall(repository, identity)
            trash.recalled(installation, done.destination, identity)
            done.recalled.append(copy.backup.public_id)


def _trash(
    installation: Installation, order: Order, part: Part, repository: Repository, done: _Done, watch: Heartbeat
) -> None:
    """What the plan removes, unless something keeps it by now: a pin, a changed configuration, a newer verification."""
    planned = {verdict.decision.point.id for verdict in part.going}
    if not planned:
        return
    with installation.database.reading() as session:
        configuration = session.get_one(Configuration, part.configuration.id)
    rules = retention.rules(
        installation, configuration, done.destination, is_asked_for=configuration.id == order.config_id
    )
    there = points_that_count(repository)
    for verdict in retention.verdicts(installation, configuration, done.destination, rules, there=there):
        identity = verdict.decision.point.id
        if verdict.decision.keep or identity not in planned:
            continue
        watch.checkpoint()
        reason = f"retention: {', '.join(verdict.decision.reasons)}"
        note = forget(repository, identity, reason=reason, now=installation.clock())
        trash.trashed(installation, done.destination, note, at=note.removed_at)
        done.trashed.append(verdict.backup.public_id)


def _empty(
    installation: Installation, order: Order, parts: Collection[Part], repository: Repository, done: _Done
) -> None:
    """Deletes the manifests of what may go now; each hold is looked at again right before."""
    names = {part.configuration.id for part in parts}
    delay = timedelta(0) if order.at_once else TRASH_DELAY
    latest = installation.clock() - delay
    waiting = [copy for copy in trash.here(installation, done.destination) if copy.backup.config_id in names]
    ripe = [copy for copy in waiting if copy.trashed_at and copy.trashed_at <= latest]
    since = _doubted(installation, [copy.trashed_at for copy in ripe if copy.trashed_at], delay)
    if since is not None:
        done.note(Waiting(since + delay, clocks.doubt(since)))
        return
    due = {records.identity(copy.backup) for copy in ripe}
    only = due - pins.held(installation)
    if order.at_once:
        only &= _planned(parts)
    notes = empty_trash(repository, only, delay=delay, now=installation.clock())
    trash.removed(installation, done.destination, notes)
    done.removed.extend(records.public_id(note.manifest) for note in notes)


def _doubted(installation: Installation, begun: Collection[datetime], delay: timedelta) -> datetime | None:
    """When delays that began at these times and are over by the clock begin anew, as the clock may have been set."""
    if not begun or not delay:
        return None
    since = clocks.believed_since(installation, min(begun))
    return since if since > min(begun) and since + delay > installation.clock() else None


def _planned(parts: Collection[Part]) -> set[bytes]:
    """All that somebody agreed to: what goes, and what lay in the trash."""
    going = {verdict.decision.point.id for part in parts for verdict in part.going}
    return going | {records.identity(copy.backup) for part in parts for copy in part.trash}


def _free(installation: Installation, order: Order, repository: Repository, done: _Done, watch: Heartbeat) -> None:
    """Completes the mark of an earlier call, then leaves a new one for a later call; or both at once."""
    destination, rules, spool = done.destination, pruning_rules(installation), installation.settings.home / SPOOL
    mark, seen = None if destination.mark_id is None else bytes.fromhex(destination.mark_id), prune.Seen()
    if order.at_once:
        try:
            done.note(
                prune.prune_now(
                    repository, rules=rules, clock=installation.clock, progress=watch, spool=spool, mark_id=mark
                )
            )
        except Busy as error:
            _keep_mark(installation, destination, error.mark)
            raise
        _keep_mark(installation, destination, None)
        return
    if mark is not None:
        begun = [destination.marked_at] if destination.marked_at else []
        since = _doubted(installation, begun, rules.grace)
        if since is not None:
            done.note(Waiting(since + rules.grace, clocks.doubt(since)))
            return
        answer = prune.finish(repository, mark, rules=rules, clock=installation.clock, progress=watch, seen=seen)
        done.note(answer)
        if isinstance(answer, Waiting):
            return
        _keep_mark(installation, destination, None)
    own = prune.begin(repository, rules=rules, clock=installation.clock, progress=watch, spool=spool, seen=seen)
    if own is not None:
        _keep_mark(installation, destination, own.id)
        done.note(Waiting(own.started_at + rules.grace, "what is needed no more is deleted after a time of grace"))


def _keep_mark(installation: Installation, destination: Destination, mark: bytes | None) -> None:
    destination.mark_id = None if mark is None else mark.hex()
    destination.marked_at = None if mark is None else installation.clock()
    values = {"mark_id": destination.mark_id, "marked_at": destination.marked_at}
    with installation.database.transaction() as session:
        session.execute(update(Destination).where(Destination.id == destination.id).values(**values))


def _ended(plan: Plan, done: list[_Done], confirmed: Collection[str], *, is_clean: bool) -> Ended:
    result = {"destinations": [one.document() for one in done]}
    failures = [one.error for one in done if one.error is not None]
    if failures and len(failures) == len(done):
        return Ended(FAILED, result, error=failures[0])
    open_questions = [name for name in plan.questions if name not in confirmed]
    if open_questions:
        first = open_questions[0]
        said = " ".join(f"{name}: {' '.join(plan.questions[name])}" for name in open_questions)
        now = " --now" if plan.order.at_once else ""
        hint = f"Nothing of it was removed. To go on: `backup-cli cleanup{now} --config {first} --confirm {first}`."
        return Ended(WARNING, result, error=ConfirmationNeeded(said, hint=hint))
    return Ended(SUCCEEDED if is_clean else WARNING, result)

"""`destination sync`: brings destinations up to date from each other and, when asked, makes good what is damaged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import select

from engine.errors import Cancelled, EngineError
from engine.keyring import Keyring
from engine.progress import Progress
from engine.repository import guide, layout
from engine.repository.check import CheckReport, Damage, check
from engine.repository.heal import CaughtUp, Source, missed_points, sync
from engine.repository.repair import Order as RepairOrder
from engine.repository.repair import Repaired, mend_description, plan, repair
from engine.repository.repository import Repository
from engine.spool import scratch_folder
from webapp.errors import Difference, Invalid, ServiceError
from webapp.installation import Installation
from webapp.models import Backup, BackupCopy, Destination, Run
from webapp.models.backup import DAMAGED, MISSED, PRESENT
from webapp.models.run import FAILED, SUCCEEDED, WARNING
from webapp.services import (
    configurations,
    destinations,
    keyrings,
    losses,
    records,
    repositories,
    trash,
    witness,
    work,
)
from webapp.services.backups import SPOOL
from webapp.services.heartbeat import Heartbeat
from webapp.services.keyrings import Tell
from webapp.services.runs import NewRun
from webapp.services.work import Ended, Finished
from webapp.version import PROGRAM

KIND = "sync"
_NOTHING_READ = 0
_NO_SOURCE = "No other destination can be read, so there was nothing to copy from."


@dataclass(frozen=True)
class Order:
    """Who wants which destination to be brought up to date (None: every one) from which (None: all others). `config_id`
    names the only configuration whose restore points are copied, whether it uses the destination or not. `accepted` are
    the ids of restore points that are given up at the target if they cannot be made whole (losses.named). `run_id` is
    the row of a run that waits in the queue."""

    identity: str
    target: str | None = None
    source: str | None = None
    config_id: str | None = None
    repair: bool = False
    dry_run: bool = False
    accepted: tuple[str, ...] = ()
    run_id: int | None = None


@dataclass
class _Place:
    """A destination of the run: its repository, or why it cannot be used."""

    destination: Destination
    repository: Repository | None = None
    error: Exception | None = None


@dataclass
class _Result:
    """What became of one destination. `source_error` says why there was no other one to copy from."""

    destination: Destination
    missed: list[str] = field(default_factory=list)
    found: list[tuple[str, str, str]] = field(default_factory=list)
    copied: CaughtUp = field(default_factory=CaughtUp)
    repaired: Repaired = field(default_factory=Repaired)
    lost: list[Damage] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)
    error: Exception | None = None
    source_error: Exception | None = None

    @property
    def failure(self) -> Exception | None:
        """Why nothing could be done."""
        return self.error or self.source_error


def sync_destinations(installation: Installation, order: Order, *, progress: Progress, tell: Tell) -> Finished:
    """Copies what the destinations missed; how it ended, with its error, is in the answer.

    Raises what stops it before it becomes a run: NotFound, Invalid.
    """
    known = [each for each in destinations.listing(installation) if each.repository_id is not None]
    targets = known if order.target is None else [destinations.find(installation, order.target)]
    sources = known if order.source is None else [destinations.find(installation, order.source)]
    if order.config_id is not None:
        configurations.find(installation, order.config_id)
    if order.source is not None and order.source == order.target:
        raise Invalid(f"{order.target} cannot be brought up to date from itself.", hint="Name another --from.")
    if len(known) < 2 and not order.repair:
        raise Invalid(
            "There are not two destinations, so there is nothing to copy.",
            hint="`backup-cli destination add` adds one; --repair mends one alone as far as that can be done.",
        )
    new = NewRun(
        KIND,
        order.identity,
        config_id=order.config_id,
        arguments={
            "target": order.target,
            "source": order.source,
            "repair": order.repair,
            "dryRun": order.dry_run,
            "accepted": list(order.accepted),
        },
        run_id=order.run_id,
    )

    def carry_out(run: Run, watch: Heartbeat) -> Ended:
        keyring = repositories.open_keyring(installation, may_create=False, tell=tell)
        with ExitStack() as opened:
            wanted, usable = _ids(targets), _ids(sources)
            mends = order.repair and not order.dry_run
            places = [
                _open(installation, each, keyring, opened, mends=mends and each.id in wanted)
                for each in _union(targets, sources)
            ]
            _tell_unreadable(order, places, wanted, watch)
            results = []
            for place in places:
                if place.destination.id in wanted:
                    watch.checkpoint()
                    others = [each for each in places if each is not place and each.destination.id in usable]
                    results.append(_bring(installation, order, place, others, watch, tell))
        return _ended(results, is_clean=not watch.problems)

    return work.carry_out(installation, new, progress, carry_out)


def document(finished: Finished) -> dict[str, Any]:
    """The JSON of `destination sync`."""
    run = finished.run
    return {
        "runId": run.public_id,
        "kind": run.kind,
        "status": run.state,
        "dryRun": bool(run.arguments.get("dryRun")),
        "startedAt": run.started_at,
        "finishedAt": run.finished_at,
        "durationSeconds": run.duration_seconds,
        "destinations": (run.result or {}).get("destinations", []),
        "problems": [{"kind": kind, "path": path, "reason": reason} for kind, path, reason in finished.problems],
        "error": run.error,
    }


def mended_packs(installation: Installation) -> dict[tuple[str, bytes], datetime]:
    """When a damaged pack was last put back byte for byte: by the destination's name and the pack's."""
    query = select(Run.result, Run.finished_at).where(Run.kind == KIND, Run.result.is_not(None)).order_by(Run.id)
    with installation.database.reading() as session:
        rows = session.execute(query).all()
    mended: dict[tuple[str, bytes], datetime] = {}
    for result, finished_at in rows:
        for each in result["destinations"]:
            for name in each["repaired"]["putBack"]:
                if name.startswith(layout.PACKS) and finished_at is not None:
                    mended[each["name"], layout.last_part(name)] = finished_at
    return mended


def _union(targets: Sequence[Destination], sources: Sequence[Destination]) -> list[Destination]:
    return list({each.id: each for each in (*targets, *sources)}.values())


def _ids(chosen: Sequence[Destination]) -> set[int]:
    return {each.id for each in chosen}


def _open(
    installation: Installation, destination: Destination, keyring: Keyring, opened: ExitStack, *, mends: bool
) -> _Place:
    try:
        if mends and destination.repository_id is not None:
            with closing(repositories.open_storage(installation, destination)) as storage:
                mend_description(storage, keyring, bytes.fromhex(destination.repository_id), program=PROGRAM)
        repository = repositories.open_repository(installation, destination, keyring)
    except (EngineError, ServiceError) as error:
        return _Place(destination, error=error)
    opened.enter_context(closing(repository.storage))
    return _Place(destination, repository)


def _tell_unreadable(order: Order, places: Sequence[_Place], wanted: set[int], watch: Heartbeat) -> None:
    """Sources that cannot be read, each once: those that are targets too, and a last one, are told as failures."""
    if order.repair or any(each.repository is not None and each.destination.id not in wanted for each in places):
        for place in places:
            if place.error is not None and place.destination.id not in wanted:
                watch.problem("destination", place.destination.name, f"cannot be read from: {place.error}")


def _bring(
    installation: Installation, order: Order, place: _Place, others: Sequence[_Place], watch: Heartbeat, tell: Tell
) -> _Result:
    """One destination; its failure is in the result, and is nobody else's."""
    result = _Result(place.destination)
    if place.repository is None:
        result.error = place.error
        return result
    sources = [(other.destination.name, other.repository) for other in others if other.repository is not None]
    try:
        _work(installation, order, place.repository, sources, result, watch, tell)
        if not sources and not order.repair:
            result.source_error = next(other.error for other in others if other.error is not None)
    except Cancelled:
        raise
    except (EngineError, ServiceError) as error:
        result.error = error
    return result


def _work(
    installation: Installation,
    order: Order,
    target: Repository,
    sources: Sequence[Source],
    result: _Result,
    watch: Heartbeat,
    tell: Tell,
) -> None:
    destination = result.destination
    repositories.adopt(installation, destination, target)
    wanted = {order.config_id} if order.config_id else _configurations(installation, destination)
    buried, held = trash.notes(installation, destination)
    mending = RepairOrder(
        slots=keyrings.current_slots(installation.settings),
        host=installation.host,
        missing=_never_got(installation, destination),
        config_ids=wanted,
        buried=buried,
        held=held,
    )
    report = CheckReport()
    if order.repair:
        memory = witness.remember(installation, destination)
        report = check(target, progress=watch, witness=memory.witness)
        result.found = plan(report, sources, mending)
        for name, kind, what in () if order.dry_run else result.found:
            tell(f"{destination.name}: {name} is {kind}: {what}")
    if order.dry_run:
        missed = missed_points(sources, target, wanted)
        result.missed = [records.public_id(each.manifest.id) for each in missed]
        return
    with scratch_folder(installation.settings.home / SPOOL) as scratch:
        tools: dict[str, Any] = {"clock": installation.clock, "progress": watch, "spool": scratch}
        if order.repair:
            result.repaired = repair(destination.name, target, sources, report, mending, **tools)
            result.copied = result.repaired.copied
        else:
            result.copied = sync(sources, destination.name, target, config_ids=wanted, **tools)
    for identity, error in result.copied.failed.items():
        watch.problem(
            "restore point", records.public_id(identity), f"not copied to {destination.name}: {error.message}"
        )
    _record(installation, order, target, result, watch)
    guide.publish(target.storage)


def _record(installation: Installation, order: Order, target: Repository, result: _Result, watch: Heartbeat) -> None:
    """What is at the destination from now on; after a repair also what is still hit there, but for what is given up."""
    destination = result.destination
    repositories.adopt(installation, destination, target)
    states = dict.fromkeys(result.copied.points, PRESENT)
    if order.repair:
        after = _look(installation, destination, target, watch)
        result.given_up = losses.accept(
            installation, destination, target, order.accepted, after.errors, by=order.identity, watch=watch
        )
        if result.given_up:
            after = _look(installation, destination, target, watch)
        result.lost = after.errors
        known = records.known_copies(installation, destination)
        if not result.repaired.left:  # nobody has read what lies there
            states |= {identity: PRESENT for identity in after.sound if known.get(identity) == DAMAGED}
        _tell_alarms(installation, result, watch)
    records.set_states(installation, destination, states)


def _look(installation: Installation, destination: Destination, target: Repository, watch: Heartbeat) -> CheckReport:
    remembered = witness.remember(installation, destination).witness
    return check(target, read_percent=_NOTHING_READ, progress=watch, witness=remembered)


def _tell_alarms(installation: Installation, result: _Result, watch: Heartbeat) -> None:
    """What was noticed there is told now, so that the next run or verify need not tell of what is mended."""
    alarms = witness.untold(installation, result.destination)
    known = {name for name, _, _ in result.found} | {damage.object for damage in result.lost}
    for alarm in alarms:
        if alarm.object not in known:
            watch.problem("tampering", result.destination.name, alarm.reason)
    witness.told(installation, alarms)


def _configurations(installation: Installation, destination: Destination) -> set[str]:
    """Those that use the destination: their restore points are there, or were missed there."""
    query = select(Backup.config_id).join(BackupCopy, BackupCopy.backup_id == Backup.id).distinct()
    with installation.database.reading() as session:
        return set(session.scalars(query.where(BackupCopy.destination_id == destination.id)))


def _never_got(installation: Installation, destination: Destination) -> Mapping[str, set[int]]:
    """Numbers of restore points that this destination missed, by configuration."""
    query = select(Backup.config_id, Backup.sequence).join(BackupCopy, BackupCopy.backup_id == Backup.id)
    query = query.where(BackupCopy.destination_id == destination.id, BackupCopy.state == MISSED)
    missed: dict[str, set[int]] = {}
    with installation.database.reading() as session:
        for config_id, sequence in session.execute(query):
            missed.setdefault(config_id, set()).add(sequence)
    return missed


def _ended(results: Sequence[_Result], *, is_clean: bool) -> Ended:
    shown = {"destinations": [_shown(result) for result in results]}
    failures = [result.failure for result in results if result.failure is not None]
    if failures and len(failures) == len(results):
        own = [result.error for result in results if result.error is not None]
        return Ended(FAILED, shown, error=(own or failures)[0])
    hit = {backup for result in results for damage in result.lost for backup in damage.backups}
    if hit:
        return Ended(
            FAILED,
            shown,
            error=Difference(
                f"What is damaged could not all be made good: {len(hit)} restore points still lack something.",
                hint="The files are listed above. What is still at the source is stored again by the next backup. "
                "`--accept-loss BACKUP` gives a restore point up.",
            ),
        )
    is_complete = is_clean and all(_is_complete(result) for result in results)
    return Ended(SUCCEEDED if is_complete else WARNING, shown)


def _is_complete(result: _Result) -> bool:
    """Whether nothing is left to be done."""
    return result.failure is None and not result.copied.failed and not result.lost


def _shown(result: _Result) -> dict[str, Any]:
    copied, repaired = result.copied, result.repaired
    return {
        "name": result.destination.name,
        "type": result.destination.kind,
        "status": "failed" if result.failure else "succeeded" if _is_complete(result) else "warning",
        "missing": result.missed,
        "copied": {
            "restorePoints": [records.public_id(each) for each in copied.points],
            "packs": copied.packs,
            "blobs": copied.blobs,
            "bytes": copied.stored,
        },
        "found": [{"object": name, "kind": kind, "action": what} for name, kind, what in result.found],
        "repaired": {
            "putBack": repaired.put_back,
            "madeAnew": repaired.made_anew,
            "setAside": [{"object": name, "as": place} for name, place in repaired.set_aside.items()],
            "readAgain": sorted(_text(path) for path in repaired.read_again),
        },
        "lost": [
            {
                "object": damage.object,
                "kind": damage.kind,
                "reason": damage.reason,
                "backups": sorted(damage.backups),
                "files": sorted(damage.files),
            }
            for damage in result.lost
        ],
        "givenUp": result.given_up,
        "error": str(result.error) if result.error else _NO_SOURCE if result.source_error else None,
    }


def _text(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")

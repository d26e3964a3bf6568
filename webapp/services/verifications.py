"""`verify`: reads restore points back at every destination that has them, and records what was found."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select, update

from engine.errors import Corrupt, EngineError, NotARepository, WrongKey
from engine.progress import Progress
from engine.repository import layout
from engine.repository.check import CORRUPT, TRUNCATED, WRONG_KEY, CheckReport, check
from engine.repository.history import DELETED, MISSING, ROLLED_BACK, UNEXPECTED
from engine.repository.repository import Repository
from webapp.errors import Difference, NotFound, ServiceError
from webapp.installation import Installation
from webapp.models import Alarm, Backup, BackupCopy, Destination, Run, Verification
from webapp.models.backup import DAMAGED, LOST, PRESENT
from webapp.models.run import FAILED, SUCCEEDED
from webapp.models.verification import FAILED as NOT_DONE
from webapp.models.verification import FOUND, GOOD
from webapp.services import configurations, keyrings, records, repositories, trash, witness, work
from webapp.services.heartbeat import Heartbeat
from webapp.services.keyrings import Tell
from webapp.services.runs import NewRun
from webapp.services.work import Ended, Finished

WHOLE = 100
_BAD_PACKS = (CORRUPT, TRUNCATED, WRONG_KEY)
_GONE = (DELETED, ROLLED_BACK)
# Words about the history of a destination: they say nothing of the bytes of a restore point that is there.
_HISTORY = (*_GONE, UNEXPECTED)
# What keeps a destination from being looked at at all.
_KINDS: Mapping[type[Exception], str] = {NotARepository: MISSING, WrongKey: WRONG_KEY}


@dataclass(frozen=True)
class Order:
    """Who wants what to be verified: one restore point, all of one configuration, or (neither) everything."""

    identity: str
    backup: str | None = None
    config_id: str | None = None
    read_percent: int = WHOLE
    run_id: int | None = None
    trigger: str = "manual"
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class _Look:
    """What was found at one destination. `failure`: it could not be looked at."""

    destination: Destination
    report: CheckReport = field(default_factory=CheckReport)
    errors: list[dict[str, Any]] = field(default_factory=list)
    checked: set[str] = field(default_factory=set)
    alarms: list[Alarm] = field(default_factory=list)
    failure: Exception | None = None

    def add(self, name: str, kind: str, reason: str, backups: Collection[str], files: Collection[str] = ()) -> None:
        self.errors.append(
            {
                "destination": self.destination.name,
                "object": name,
                "kind": kind,
                "reason": reason,
                "backups": sorted(backups),
                "files": sorted(files),
            }
        )


def verify(installation: Installation, order: Order, *, progress: Progress, tell: Tell) -> Finished:
    """Reads back `read_percent` of the data; how it ended is in the answer, whose run's result is the contract's
    document. The error is Difference when damage was found.

    Raises what stops it before it becomes a run: NotFound, Invalid.
    """
    backups = _chosen(installation, order)
    destinations = _destinations(installation, backups)
    if not destinations:
        raise NotFound("There is nothing to verify yet.", hint="`backup-cli create` makes a backup.")
    config_id = order.config_id or (backups[0].config_id if backups else None)
    backup_id = backups[0].public_id if backups and order.backup is not None else None
    new = NewRun(
        "verify",
        order.identity,
        config_id=config_id,
        backup_id=backup_id,
        run_id=order.run_id,
        trigger=order.trigger,
        arguments=order.arguments,
    )

    def carry_out(run: Run, watch: Heartbeat) -> Ended:
        keyring = repositories.open_keyring(installation, may_create=False, tell=tell)
        looks = []
        for destination in destinations:
            watch.checkpoint()
            look = _Look(destination)
            looks.append(look)
            try:
                repository = repositories.open_repository(installation, destination, keyring)
                with closing(repository.storage):
                    _look_at(installation, look, repository, backups, order.read_percent, watch)
            except (NotARepository, WrongKey, Corrupt) as error:
                look.failure = error
                name = error.name if isinstance(error, Corrupt) else layout.DESCRIPTION
                look.add(name, _KINDS.get(type(error), CORRUPT), str(error), ())
            except (EngineError, ServiceError) as error:
                look.failure = error
                if len(destinations) > 1:
                    tell(f"Warning: {destination.name} could not be verified: {error}")
            _record(installation, run, look, backups, order.read_percent)
        _tell_sound(looks, tell)
        return _ended(looks)

    return work.carry_out(installation, new, progress, carry_out)


def document(finished: Finished) -> dict[str, Any]:
    """The JSON of `verify`."""
    nothing = {"backupsChecked": 0, "objectsChecked": 0, "bytesRead": 0, "errors": []}
    return {"status": finished.run.state, **nothing, **(finished.run.result or {})}


def damaged_packs(installation: Installation) -> dict[str, set[bytes]]:
    """For each destination by name the packs that a verification once found damaged. They are not leant on again, even
    if they read well by now: a disk that lies sometimes is no better. Packs that were put back since then are good."""
    from webapp.services import healing  # which needs this module

    query = (
        select(Destination.name, Verification.errors, Verification.finished_at)
        .join(Destination, Destination.id == Verification.destination_id)
        .where(Verification.state == FOUND)
    )
    with installation.database.reading() as session:
        rows = session.execute(query).all()
    mended = healing.mended_packs(installation)
    found: dict[str, set[bytes]] = {}
    for name, errors, found_at in rows:
        objects = {error["object"] for error in errors if error["kind"] in _BAD_PACKS}
        packs = {layout.last_part(each) for each in objects if each.startswith(layout.PACKS)}
        still = {pack for pack in packs if (name, pack) not in mended or mended[name, pack] < found_at}
        found.setdefault(name, set()).update(still)
    return found


def _chosen(installation: Installation, order: Order) -> list[Backup] | None:
    """The restore points to verify; None for everything. Raises NotFound, Invalid."""
    if order.backup is not None:
        return [_not_given_up(repositories.find_backup(installation, order.backup))]
    repositories.adopt_all(installation)
    if order.config_id is None:
        return None
    found = records.of_configuration(installation, order.config_id)
    if not found:
        configurations.find(installation, order.config_id)
        raise NotFound(f"The configuration {order.config_id} has no restore point yet.", hint="`backup-cli create`")
    return found


def _not_given_up(backup: Backup) -> Backup:
    """Raises Difference for one whose loss was accepted wherever it was."""
    reasons = [copy.removal_reason or "" for copy in backup.copies if copy.state in (PRESENT, DAMAGED, LOST)]
    if reasons and all(map(trash.is_given_up, reasons)):
        raise Difference(f"{backup.public_id} was given up: {reasons[0]}.")
    return backup


def _destinations(installation: Installation, backups: list[Backup] | None) -> list[Destination]:
    used = [each for each in repositories.used_destinations(installation) if each.deleted_at is None]
    if backups is None:
        return used
    held = {copy.destination_id for each in backups for copy in each.copies if copy.state in (PRESENT, DAMAGED, LOST)}
    return [destination for destination in used if destination.id in held]


def _look_at(
    installation: Installation,
    look: _Look,
    repository: Repository,
    backups: list[Backup] | None,
    read_percent: int,
    watch: Heartbeat,
) -> None:
    destination = look.destination
    repositories.adopt(installation, destination, repository)
    chosen = None if backups is None else {records.identity(each) for each in backups}
    memory = witness.remember(installation, destination)
    report = check(repository, only=chosen, read_percent=read_percent, progress=watch, witness=memory.witness)
    look.report = report
    gone = {name for damage in report.errors if damage.kind in _GONE for name in damage.backups}
    there = memory.witness.held.keys() if chosen is None else chosen
    look.checked = {records.public_id(identity) for identity in set(there) - set(report.given_up)} - gone
    for damage in report.errors:
        look.add(damage.object, damage.kind, damage.reason, damage.backups, damage.files)
    if chosen is None:
        _look_for_slots(installation, look, repository)
        _look_at_alarms(installation, look)


def _look_for_slots(installation: Installation, look: _Look, repository: Repository) -> None:
    """Without all slots of this home at the destination, the recovery code may open nothing there."""
    there = {item.name for item in repository.storage.list(layout.KEYS)}
    for name in keyrings.local_slots(installation.settings):
        if name not in there and there:
            look.add(name, MISSING, "A key slot of this installation is gone; the next backup puts it back.", ())


def _look_at_alarms(installation: Installation, look: _Look) -> None:
    """What was noticed since the last run, even if it looks right again."""
    look.alarms = witness.untold(installation, look.destination)
    known = {error["object"] for error in look.errors}
    for alarm in look.alarms:
        if alarm.object not in known:
            look.add(alarm.object, alarm.kind, alarm.reason, [alarm.backup] if alarm.backup else ())


def _record(installation: Installation, run: Run, look: _Look, backups: list[Backup] | None, read_percent: int) -> None:
    """What is known from now on of the copies at this destination."""
    now = installation.clock()
    sound = {records.public_id(identity) for identity in look.report.sound}
    hit = {name for error in look.errors if error["kind"] not in _HISTORY for name in error["backups"]}
    with installation.database.transaction() as session:
        ids = dict(session.execute(select(Backup.public_id, Backup.id).where(Backup.public_id.in_(sound | hit))).all())
        here = update(BackupCopy).where(BackupCopy.destination_id == look.destination.id)
        damaged = [ids[name] for name in hit if name in ids]
        kept = here.where(BackupCopy.state.in_((PRESENT, DAMAGED)))
        session.execute(kept.where(BackupCopy.backup_id.in_(damaged)).values(state=DAMAGED))
        if read_percent == WHOLE:
            good = [ids[name] for name in sound - hit if name in ids]
            session.execute(here.where(BackupCopy.backup_id.in_(good)).values(state=PRESENT, verified_at=now))
        for backup_id in [None] if backups is None else [each.id for each in backups]:
            session.add(_verification(run, look, backup_id, read_percent, now))
    witness.told(installation, look.alarms)


def _tell_sound(looks: Sequence[_Look], tell: Tell) -> None:
    """Which of the destinations are sound, where another is not: that is what one wants to know then."""
    sound = [look for look in looks if look.failure is None and not look.errors]
    for look in sound if len(sound) < len(looks) else ():
        tell(f"{look.destination.name} is sound; restore points checked there: {len(look.checked)}.")


def _verification(run: Run, look: _Look, backup_id: int | None, read_percent: int, now: Any) -> Verification:
    state = NOT_DONE if look.failure is not None else FOUND if look.errors else GOOD
    return Verification(
        run_id=run.id,
        backup_id=backup_id,
        destination_id=look.destination.id,
        state=state,
        read_percent=read_percent,
        objects_checked=look.report.objects_checked,
        bytes_read=look.report.bytes_read,
        errors=look.errors,
        finished_at=now,
    )


def _ended(looks: list[_Look]) -> Ended:
    errors = [error for look in looks for error in look.errors]
    result: Mapping[str, Any] = {
        "backupsChecked": len(set().union(*(look.checked for look in looks))),
        "objectsChecked": sum(look.report.objects_checked for look in looks),
        "bytesRead": sum(look.report.bytes_read for look in looks),
        "errors": errors,
    }
    found = sum(look.failure is None and bool(look.errors) for look in looks)
    failures = [look.failure for look in looks if look.failure is not None]
    if not found and not failures:
        return Ended(SUCCEEDED, result)
    if not found:
        return Ended(FAILED, result, error=failures[0])
    hit = len({name for error in errors for name in error["backups"]})
    return Ended(
        FAILED,
        result,
        error=Difference(
            f"Damage was found: {len(errors)} objects, {hit} restore points are hit.",
            hint=(
                "The restore points that are not named are sound. `backup-cli destination sync --repair` makes good "
                "what another destination or the source still has."
                if hit
                else "No restore point needs what is damaged: everything restores."
            ),
        ),
    )

"""`create`: one run of a configuration, from its sources to one restore point at all of its destinations."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine import compress, crypto
from engine.backup import Request, Result, backup
from engine.errors import EngineError, StorageError
from engine.ids import parse
from engine.keyring import Keyring
from engine.model.manifest import StreamRoot
from engine.progress import Progress
from engine.repository import guide
from engine.repository.repository import Head, Repository
from engine.repository.session import end_dead
from engine.spool import scratch_folder
from engine.storage.local import LocalStorage
from webapp.errors import Invalid, ServiceError, Unavailable
from webapp.installation import Installation
from webapp.models import Alarm, Backup, Configuration, Destination, Run
from webapp.models.backup import MISSED, PRESENT
from webapp.models.run import SUCCEEDED, WARNING
from webapp.notify.words import size
from webapp.processes import is_gone
from webapp.schema.resolve import Resolved
from webapp.services import (
    configurations,
    destinations,
    keyring_copies,
    keys,
    parents,
    records,
    repositories,
    sources,
    unbuilt,
    verifications,
    witness,
    work,
)
from webapp.services.heartbeat import Heartbeat
from webapp.services.keyrings import Tell
from webapp.services.parents import Parent
from webapp.services.runs import NewRun
from webapp.services.work import Ended, Finished
from webapp.version import PROGRAM

SPOOL = "spool"
BASES = "cache"


@dataclass(frozen=True)
class Order:
    """Who wants which configuration to be backed up. `as_type` is the type of this run alone, `run_id` the row of the
    queued run that this is."""

    config_id: str
    identity: str
    as_type: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    trigger: str = "manual"
    run_id: int | None = None


@dataclass
class _Place:
    """A destination of the run: its repository, or why it misses this restore point. `alarms` are what was deleted,
    put back or replaced there, and nobody was told of yet."""

    destination: Destination
    repository: Repository | None = None
    error: Exception | None = None
    alarms: list[Alarm] = field(default_factory=list)


def create(installation: Installation, order: Order, *, cwd: Path, progress: Progress, tell: Tell) -> Finished:
    """Makes one restore point; how the run ended, with its error, is in the answer.

    Raises what stops it before it becomes a run: NotFound, ConfigurationInvalid, NotBuilt, Busy.
    """
    configuration = configurations.find(installation, order.config_id)
    resolved = configurations.ready(installation, configuration, cwd=cwd, as_type=order.as_type)
    unbuilt.refuse(resolved)
    new = NewRun(
        "create",
        order.identity,
        config_id=resolved.config_id,
        type=resolved.type,
        trigger=order.trigger,
        arguments={"tags": dict(order.tags)},
        run_id=order.run_id,
    )

    def carry_out(run: Run, watch: Heartbeat) -> Ended:
        with ExitStack() as storages:
            places = _open_places(installation, resolved, tell, storages)
            return _back_up(installation, configuration, resolved, order, places, run, watch, tell)

    return work.carry_out(installation, new, progress, carry_out)


def _back_up(
    installation: Installation,
    configuration: Configuration,
    resolved: Resolved,
    order: Order,
    places: list[_Place],
    run: Run,
    watch: Heartbeat,
    tell: Tell,
) -> Ended:
    with suppress(EngineError, ServiceError):  # what cannot end now is no reason to make no backup
        keys.settle(installation)
    parent = parents.choose(installation, configuration, resolved)
    if parent.reason:
        tell(parent.reason)
    opened = [(place.destination.name, place.repository) for place in places if place.repository is not None]
    spool, bases = installation.settings.home / SPOOL, installation.settings.home / BASES
    watch.checkpoint()
    alarms = [alarm for place in places for alarm in _sound_alarms(place, watch)]
    with scratch_folder(spool) as scratch:
        own = [spool, bases, *_own_folders(places)]
        request = _request(installation, resolved, order, parent, scratch, watch, skip=own)
        result = backup(
            opened,
            request,
            clock=installation.clock,
            progress=watch,
            spool=spool,
            cache=bases,
            cache_bytes=installation.settings.cache_bytes,
        )
    for place in places:
        place.error = place.error or result.copies.get(place.destination.name)
    _tell_notes(result, places, tell)
    good = result.is_complete and not alarms and not any(place.error for place in places)
    state = SUCCEEDED if good else WARNING
    ended = Ended(state, _document(result, places), records.public_id(result.manifest.id))
    try:
        _record(installation, resolved, run, result, places)
        witness.told(installation, alarms)
    except Unavailable as error:
        # The restore point exists; the next command that looks at the destination takes it on record.
        tell(f"The restore point was made, but it is not on record yet: {error}")
        return Ended(WARNING, ended.result, ended.backup_id)
    return ended


def _open_places(installation: Installation, resolved: Resolved, tell: Tell, storages: ExitStack) -> list[_Place]:
    """The destinations with their repositories, each failing alone; what is opened is closed by `storages`.

    Raises the first error when too few are left."""
    places: list[_Place] = []
    try:
        for plan in resolved.destinations:
            places.append(_Place(destinations.for_plan(installation, plan, tell=tell)))
        _refuse_twins(places)
        keyring = _keyring(installation, places, tell, storages)
        for place in places:
            if place.error is None:
                _open_place(installation, resolved, place, keyring, tell)
            if place.repository is not None:
                storages.callback(place.repository.storage.close)
        failures = [place.error for place in places if place.error is not None]
        if len(places) - len(failures) < resolved.min_copies:
            raise failures[0]
    except (EngineError, ServiceError):
        destinations.forget_unused(installation, [place.destination for place in places])
        raise
    for failed in places:
        if failed.error is not None:
            tell(f"Warning: the destination {failed.destination.name} is left out: {failed.error}")
    return places


def _refuse_twins(places: list[_Place]) -> None:
    seen: dict[int, int] = {}
    for number, place in enumerate(places):
        if (first := seen.setdefault(place.destination.id, number)) != number:
            raise Invalid(f"/destinations/{number} and /destinations/{first} are the same place.", hint="Remove one.")


def _keyring(installation: Installation, places: list[_Place], tell: Tell, opened: ExitStack) -> Keyring:
    """The keyring, perhaps from a repository that one of the places holds already."""
    storages = []
    for place in places:
        try:
            storages.append(repositories.open_storage(installation, place.destination))
            opened.callback(storages[-1].close)
        except (EngineError, ServiceError) as error:
            place.error = error
    return repositories.open_keyring(installation, may_create=True, tell=tell, places=storages)


def _open_place(installation: Installation, resolved: Resolved, place: _Place, keyring: Keyring, tell: Tell) -> None:
    try:
        repository = repositories.open_repository(
            installation, place.destination, keyring, may_create=True, suite=crypto.SUITES[resolved.cipher]
        )
        if isinstance(repository.storage, LocalStorage):
            repository.storage.sweep()
        # Without our slots, and without this home, nothing there could be opened.
        keyring_copies.place(installation.settings, repository, always=True)
        _publish_guide(repository, tell)
        adopted = repositories.adopt(installation, place.destination, repository)
        # After that: what a killed run committed is on record, and nobody needs to wait for it any more.
        end_dead(repository, resolved.config_id, is_gone=is_gone, now=installation.clock())
    except (EngineError, ServiceError) as error:
        place.error = error
        return
    place.repository = repository
    place.alarms = witness.untold(installation, place.destination)
    if adopted.new:
        tell(f"Found at {place.destination.name} and taken on record: {', '.join(adopted.new)}.")


def _publish_guide(repository: Repository, tell: Tell) -> None:
    """How to get everything back lies beside the data. A backup without it is better than none."""
    try:
        guide.publish(repository.storage)
    except StorageError as error:
        tell(f"Warning: RECOVER.md could not be brought up to date: {error}")


def _sound_alarms(place: _Place, watch: Heartbeat) -> list[Alarm]:
    """Tampering is a problem of the run, which goes on: the data that is there now is worth the more.

    The restore point need not be a full one: what it takes over lies in packs that were listed just now, and a pack's
    bytes are checked against its name, not against any history."""
    for alarm in place.alarms:
        watch.problem("tampering", place.destination.name, alarm.reason)
    return place.alarms


def _own_folders(places: list[_Place]) -> list[Path]:
    """The folders that this run writes to; a source that holds them must not back them up into themselves."""
    storages = [place.repository.storage for place in places if place.repository is not None]
    return [storage.root for storage in storages if isinstance(storage, LocalStorage)]


def _request(
    installation: Installation,
    resolved: Resolved,
    order: Order,
    parent: Parent,
    scratch: Path,
    watch: Heartbeat,
    *,
    skip: list[Path],
) -> Request:
    newest = records.newest(installation, resolved.config_id)
    return Request(
        config_id=resolved.config_id,
        config=resolved.document,
        type=parent.type,
        streams=[
            sources.database(each, installation.settings, scratch=scratch, look=watch.checkpoint)
            for each in resolved.databases
        ],
        folders=[sources.folder(each, skip=skip) for each in resolved.folders],
        suite=crypto.SUITES[resolved.cipher] if resolved.encryption else crypto.NONE,
        codec=compress.CODECS[resolved.compression],
        tags=dict(order.tags),
        program=PROGRAM,
        host=installation.host,
        parent=None if parent.backup is None else records.identity(parent.backup),
        known=None if newest is None else _head(newest),
        known_ids=records.known_ids(installation),
        held=records.numbers_held(installation, resolved.config_id),
        distrusted=verifications.damaged_packs(installation),
        min_copies=resolved.min_copies,
        process=installation.process,
    )


def _head(newest: Backup) -> Head:
    return Head(
        newest.config_id, newest.sequence, parse(records.PREFIX, newest.public_id), bytes.fromhex(newest.manifest_hash)
    )


def _record(installation: Installation, resolved: Resolved, run: Run, result: Result, places: list[_Place]) -> None:
    copies = {place.destination.id: MISSED if place.error else PRESENT for place in places}
    records.record(installation, result.manifest, result.hash, copies, run_id=run.id)
    if resolved.folders:
        configurations.remember_sources(installation, resolved)


def _tell_notes(result: Result, places: list[_Place], tell: Tell) -> None:
    for place in places:
        if place.repository is not None and place.error is not None:
            tell(f"Warning: the destination {place.destination.name} missed this restore point: {place.error}")
    for root in result.manifest.roots:
        if isinstance(root, StreamRoot):
            for warning in root.facts.get("warnings", ()):
                tell(f"Note on the database {root.name}: {warning}")
    fetched = result.manifest.totals["bytesFetched"]
    if fetched:
        tell(f"Note: {size(fetched)} were fetched to store changes as differences to what is there.")


def _document(result: Result, places: list[_Place]) -> dict[str, Any]:
    manifest = result.manifest
    totals = manifest.totals
    backup_id = records.public_id(manifest.id)
    return {
        "type": manifest.type,
        "files": {
            "total": totals["files"],
            "new": totals["filesNew"],
            "changed": totals["filesChanged"],
            "unchanged": totals["filesUnchanged"],
            "unreadable": totals["unreadable"],
        },
        "databases": [records.database(root) for root in manifest.roots if isinstance(root, StreamRoot)],
        "bytes": {"read": totals["bytesRead"], "new": totals["bytesNew"], "stored": totals["bytesStored"]},
        "destinations": [
            {
                "name": place.destination.name,
                "type": place.destination.kind,
                "status": "failed" if place.error else "succeeded",
                "backupId": None if place.error else backup_id,
                "error": str(place.error) if place.error else None,
            }
            for place in places
        ],
    }

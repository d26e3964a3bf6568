"""What other services stand on: the keyring, a destination's repository, and what lies there but is not on record."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from engine import crypto
from engine.errors import (
    AlreadyExists,
    Corrupt,
    EngineError,
    NotARepository,
    RepositoryError,
    StorageError,
    Unavailable,
)
from engine.errors import NotFound as StorageNotFound
from engine.keyring import Keyring
from engine.model.manifest import Manifest
from engine.repository import repository as engine
from engine.repository.failover import FailoverReader, Spare
from engine.repository.reader import BlobReader, open_reader
from engine.repository.repository import Repository
from engine.storage import KINDS
from engine.storage.base import Storage
from webapp.errors import Conflict, NotFound, ServiceError
from webapp.installation import Installation
from webapp.models import Backup, Destination
from webapp.models.backup import DAMAGED, LOST, MISSED, PRESENT
from webapp.schema import kinds, placeholders
from webapp.services import keyring_copies, keyrings, records, secrets, trash, witness
from webapp.services.keyrings import Tell
from webapp.version import PROGRAM

__all__ = [
    "Adopted",
    "adopt",
    "adopt_all",
    "find_backup",
    "is_repository",
    "open_keyring",
    "open_repository",
    "open_storage",
    "reader_for",
    "silent",
    "used_destinations",
]


def silent(message: str) -> None:
    """A `tell` for callers that have nobody to talk to."""


@dataclass(frozen=True)
class Adopted:
    """What a look at a destination brought: restore points that were not on record, ids of manifests that cannot be
    read, restore points on record whose manifest is gone there, and those that were removed lawfully meanwhile."""

    new: tuple[str, ...] = ()
    unreadable: tuple[bytes, ...] = ()
    lost: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


def open_keyring(
    installation: Installation, *, may_create: bool, tell: Tell, places: Sequence[Storage] = ()
) -> Keyring:
    """The keyring of this installation. With `may_create` it is made when there is none and never was; the recovery
    code is told then, once. `places` are looked at for a repository of this installation whose home was lost.

    Raises WrongKey, KeyMissing, SettingsInvalid, and NotFound when there is none and none may be made.
    """
    settings = installation.settings
    if keyrings.is_there(settings):
        return keyrings.unlock(settings, keyrings.readable(keyrings.local_slots(settings)), tell=tell)
    known = used_destinations(installation)
    with ExitStack() as opened:
        storages = [opened.enter_context(closing(each)) for each in _storages(installation, known)]
        return keyrings.open_or_make(
            settings, used=bool(known), may_create=may_create, places=[*storages, *places], tell=tell
        )


def used_destinations(installation: Installation) -> list[Destination]:
    """Destinations that hold a repository, also those that were removed from the list."""
    with installation.database.reading() as session:
        query = select(Destination).where(Destination.repository_id.is_not(None)).order_by(Destination.id)
        return list(session.scalars(query))


def open_storage(installation: Installation, destination: Destination) -> Storage:
    """The place of a destination; nothing is read yet. Raises Unavailable for settings that cannot work, AccessDenied,
    and WrongKey or KeyMissing when its credentials cannot be unsealed."""
    settings = dict(destination.settings)
    environment = installation.settings.environment
    for name, typed in settings.items():
        try:
            settings[name] = placeholders.substitute(typed, environment) if isinstance(typed, str) else typed
        except KeyError as error:
            raise Unavailable(
                f"The destination {destination.name} names ${{{error.args[0]}}}, but that variable is not set.",
                hint="Set it, then try again.",
            ) from None
    if destination.sealed is not None:
        settings |= secrets.unseal(installation.settings, destination.sealed, bound=destination.place, tell=silent)
    try:
        config = kinds.configure(destination.kind, settings)
    except (TypeError, ValueError) as error:
        raise Unavailable(f"The settings of the destination {destination.name} do not fit: {error}.") from None
    storage: Storage = KINDS[destination.kind].open_storage(
        config, home=installation.settings.home, environment=environment
    )
    return storage


def open_repository(
    installation: Installation,
    destination: Destination,
    keyring: Keyring,
    *,
    may_create: bool = False,
    suite: int = crypto.AES_256_GCM,
) -> Repository:
    """The repository at a destination; with `may_create` it is made at the destination's first use. `suite` seals what
    is written but is no data.

    Raises NotARepository for one that vanished, was emptied or replaced, WrongKey, Corrupt, UnsupportedVersion,
    StorageError, and Conflict when the place holds the repository of another destination. Its storage is to be closed.
    """
    storage = open_storage(installation, destination)
    try:
        return _open(installation, destination, storage, keyring, may_create=may_create, suite=suite)
    except BaseException:
        storage.close()
        raise


def _open(
    installation: Installation,
    destination: Destination,
    storage: Storage,
    keyring: Keyring,
    *,
    may_create: bool,
    suite: int,
) -> Repository:
    if destination.repository_id is not None:
        expected = bytes.fromhex(destination.repository_id)
        repository = engine.open_repository(storage, keyring, expected=expected, suite=suite)
        with suppress(StorageError):  # a place that may only be read is good enough for reading
            keyring_copies.place(installation.settings, repository)
        return repository
    if is_repository(storage):
        repository = engine.open_repository(storage, keyring, expected=None, suite=suite)
    elif not may_create:
        raise NotARepository(
            f"The destination {destination.name} holds no repository yet.", hint="Back up to it first."
        )
    else:
        slots = keyrings.current_slots(installation.settings)
        try:
            repository = engine.create(storage, keyring, slots, program=PROGRAM, suite=suite)
        except AlreadyExists:
            if not is_repository(storage):
                raise
            # Another first backup to this place was faster.
            repository = engine.open_repository(storage, keyring, expected=None, suite=suite)
    _remember(installation, destination, repository)
    keyring_copies.place(installation.settings, repository)
    return repository


def adopt(installation: Installation, destination: Destination, repository: Repository) -> Adopted:
    """Takes restore points that lie at a destination but are not on record on record: those of a run that was killed
    after its commit, or of a database that was lost. Notes copies that are gone, and by the tombstones those that were
    removed or brought back by another installation. Only new manifests and tombstones are read.

    Raises StorageError.
    """
    memory = witness.remember(installation, destination)
    items = witness.listed(repository)
    found, known = set(items), records.known_copies(installation, destination)
    new, unreadable = [], []
    fenced = repository.fenced_sessions()
    for identity in found - memory.stamps.keys():
        try:
            stored = repository.read_manifest(identity)
        except (RepositoryError, StorageNotFound):
            unreadable.append(identity)
            continue
        if stored.manifest.session in fenced:
            continue  # its run failed, whatever it committed
        recorded = records.record(installation, stored.manifest, stored.hash, {destination.id: PRESENT})
        if identity not in known:
            new.append(recorded)
    witness.compare(installation, destination, repository, memory, items)
    removed = trash.sync(installation, destination, repository, found)
    known = records.known_copies(installation, destination)
    back = [identity for identity, state in known.items() if state in (LOST, MISSED) and identity in found]
    # What is on record only since the destination was listed is not gone.
    held = memory.witness.held.keys() - found
    gone = [identity for identity, state in known.items() if state in (PRESENT, DAMAGED) and identity in held]
    if back or gone:
        records.set_states(installation, destination, {**dict.fromkeys(gone, LOST), **dict.fromkeys(back, PRESENT)})
    return Adopted(
        tuple(backup.public_id for backup in new),
        tuple(unreadable),
        tuple(records.public_id(each) for each in gone),
        tuple(removed),
    )


def adopt_all(installation: Installation, *, tell: Tell = silent) -> dict[int, Adopted | Exception]:
    """`adopt` for every destination in use that answers: its row's id with what was found, or why it was not read.

    Raises WrongKey and KeyMissing, since then no destination can be read.
    """
    destinations = [each for each in used_destinations(installation) if each.deleted_at is None]
    if not destinations:
        return {}
    keyring = open_keyring(installation, may_create=False, tell=tell)
    answers: dict[int, Adopted | Exception] = {}
    for destination in destinations:
        try:
            repository = open_repository(installation, destination, keyring)
            with closing(repository.storage):
                answers[destination.id] = adopt(installation, destination, repository)
        except (EngineError, ServiceError) as error:
            answers[destination.id] = error
    return answers


def find_backup(installation: Installation, text: str) -> Backup:
    """The restore point with this id (`bk_…`), or the only one whose id begins so, or `CONFIG@latest`; its copies
    with their destinations are loaded. Destinations are asked when it is not on record.

    Raises NotFound, and Invalid naming the candidates when several begin so.
    """
    if records.note_dead_runs(installation):
        _adopt_quietly(installation)
    try:
        return records.find(installation, text)
    except NotFound:
        if not any(_adopt_quietly(installation)):
            raise
    return records.find(installation, text)


def reader_for(installation: Installation, backup: Backup, *, tell: Tell = silent) -> tuple[FailoverReader, Manifest]:
    """A reader and the manifest of a restore point, from the first destination that has it and can be opened: local
    ones first, copies known to be damaged last. What cannot be read there is taken from any other destination; `tell`
    hears of that. To be closed.

    Raises WrongKey, KeyMissing, and the first destination's error when none can be used.
    """
    keyring = open_keyring(installation, may_create=False, tell=tell)
    copies = [copy.destination for copy in records.usable_copies(installation, backup)]
    failed: list[Spare] = []
    failure: EngineError | ServiceError | None = None
    for number, destination in enumerate(copies):
        try:
            first, manifest = _open_copy(installation, backup, destination, keyring)
        except (EngineError, ServiceError) as error:
            failure = failure or error
            failed.append(_spare(installation, destination, keyring, failure=Unavailable(error.message)))
            continue
        held = {each.id for each in copies}
        others = [each for each in used_destinations(installation) if each.id not in held and each.deleted_at is None]
        spares = [_spare(installation, each, keyring) for each in (*copies[number + 1 :], *others)]
        return FailoverReader(first, [*spares, *failed], tell), manifest
    if failure is not None:
        raise failure
    raise NotFound(
        f"{backup.public_id} is at no destination any more.", hint="`backup-cli list` shows where restore points are."
    )


def _open_copy(
    installation: Installation, backup: Backup, destination: Destination, keyring: Keyring
) -> tuple[Spare, Manifest]:
    repository = open_repository(installation, destination, keyring)
    try:
        stored = repository.read_manifest(records.identity(backup))
        if stored.hash.hex() != backup.manifest_hash:
            raise Corrupt(f"The manifest of {backup.public_id} at {destination.name} is not the recorded one.")
        return Spare.of(destination.name, open_reader(repository)), stored.manifest
    except BaseException:
        repository.storage.close()
        raise


def _spare(
    installation: Installation, destination: Destination, keyring: Keyring, *, failure: EngineError | None = None
) -> Spare:
    """A destination that is opened when another one fails."""

    def open_() -> BlobReader:
        try:
            return open_reader(open_repository(installation, destination, keyring))
        except ServiceError as error:
            raise Unavailable(error.message, hint=error.hint) from error

    return Spare(destination.name, open_, failure=failure)


def _storages(installation: Installation, destinations: Sequence[Destination]) -> list[Storage]:
    found = []
    for destination in destinations:
        try:
            found.append(open_storage(installation, destination))
        except (EngineError, ServiceError):
            continue
    return found


def is_repository(storage: Storage) -> bool:
    """A folder that is not there yet holds none; whether it can be made is found out when it is."""
    try:
        return engine.exists(storage)
    except Unavailable:
        return False


def _remember(installation: Installation, destination: Destination, repository: Repository) -> None:
    """The destination is recognised by this repository from now on."""
    statement = (
        update(Destination)
        .where(Destination.id == destination.id, Destination.repository_id.is_(None))
        .values(repository_id=repository.id.hex(), checked_at=installation.clock())
    )
    try:
        with installation.database.transaction() as session:
            session.execute(statement)
    except IntegrityError:
        raise Conflict(
            f"{repository.describe()} holds the repository of another destination.",
            hint="`backup-cli list --destinations` shows which; use that one.",
        ) from None
    destination.repository_id = repository.id.hex()


def _adopt_quietly(installation: Installation) -> list[str]:
    """The restore points that were new."""
    try:
        answers = adopt_all(installation)
    except (EngineError, ServiceError):
        return []
    return [new for answer in answers.values() if isinstance(answer, Adopted) for new in answer.new]

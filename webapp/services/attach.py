"""`destination attach`: takes over what lies at a destination, also into a new home: keyring, configurations, restore
points. A lost installation is rebuilt by it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select

from engine.errors import Corrupt, EngineError, WrongKey
from engine.repository import repository as engine
from engine.repository.repository import Repository
from webapp.errors import ConfigurationInvalid, KeyMissing, NotFound, ServiceError
from webapp.installation import Installation
from webapp.keyfile import encryption_key
from webapp.models import Configuration, Destination
from webapp.schema import kinds, placeholders
from webapp.schema.redact import HIDDEN
from webapp.services import configurations, destinations, keyrings, records, repositories, secrets
from webapp.services.keyrings import Tell


@dataclass(frozen=True)
class Brought:
    """A configuration that came back: the number of its restore points, and what is to be done before it runs."""

    config_id: str
    points: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Attached:
    """A destination that was taken over. `found` are restore points that are on record now."""

    destination: Destination
    repository_id: str
    found: tuple[str, ...]
    configurations: tuple[Brought, ...]


def attach(
    installation: Installation,
    name: str,
    kind: str,
    typed: Mapping[str, Any],
    *,
    code: str | None,
    cwd: Path,
    tell: Tell,
) -> Attached:
    """Takes over the repository at a place. Its keyring is opened with our key or, with `code`, with the recovery code;
    then our key gets a slot of its own there.

    Raises NotARepository where there is none, WrongKey (also for a repository of another keyring than ours),
    KeyMissing, Invalid, Conflict, StorageError; then nothing was taken over."""
    place = destinations.unstored(installation, name, kind, typed)
    _bring_keyring(installation, place, code, tell)
    before = _configuration_ids(installation)
    known = _known(installation, place)
    if known is None:
        added = destinations.add(installation, name, kind, typed, tell=tell)
        destination, found = added.destination, added.found
    else:
        destination = _again(installation, known, kind, typed)
    keyring = repositories.open_keyring(installation, may_create=False, tell=tell)
    repository = repositories.open_repository(installation, destination, keyring)
    with closing(repository.storage):
        if known is not None:
            found = repositories.adopt(installation, destination, repository).new
        brought = [
            _bring(installation, config_id, repository, cwd)
            for config_id in sorted(_configuration_ids(installation) - before)
        ]
    return Attached(destination, repository.id.hex(), found, tuple(brought))


def _bring_keyring(installation: Installation, place: Destination, code: str | None, tell: Tell) -> None:
    settings = installation.settings
    with closing(repositories.open_storage(installation, place)) as storage:
        _, vault = engine.read_identity(storage)
        ours = {slot.vault for slot in keyrings.readable(keyrings.local_slots(settings))}
        if ours and vault not in ours:
            raise WrongKey(
                f"{storage.describe()} belongs to another installation: its keyring is not the one of this home.",
                hint="Give it a home of its own: set HOLDFAST_HOME to a new folder, then attach it there.",
            )
        if code is not None:
            keyrings.take_over_with_code(settings, storage, code, tell)
        elif not keyrings.is_there(settings):
            with keyrings.locked(settings):
                if keyrings.take_over(settings, [storage], tell) is None:
                    raise Corrupt(
                        f"No key slot at {storage.describe()} can be read.", hint="Attach another destination first."
                    )


def _configuration_ids(installation: Installation) -> set[str]:
    with installation.database.reading() as session:
        return set(session.scalars(select(Configuration.id)))


def _known(installation: Installation, place: Destination) -> Destination | None:
    with installation.database.reading() as session:
        return session.scalars(select(Destination).where(Destination.place == place.place)).first()


def _again(installation: Installation, known: Destination, kind: str, typed: Mapping[str, Any]) -> Destination:
    """A destination that is known already: its credentials are those that were typed now."""
    names = [key for key in kinds.secret_settings(kind) if typed.get(key) is not None]
    values = {key: str(typed[key]) for key in names if not placeholders.is_whole(str(typed[key]))}
    with installation.database.transaction() as session:
        row = session.get_one(Destination, known.id)
        if names:
            key = encryption_key(installation.settings, may_generate=False, tell=repositories.silent)
            row.settings = {key: value for key, value in typed.items() if key not in values}
            row.sealed = secrets.reseal(values, [key], bound=row.place) if values else None
        row.deleted_at = None
        return row


def _bring(installation: Installation, config_id: str, repository: Repository, cwd: Path) -> Brought:
    """The configuration as its newest restore point has it. Where that cannot be, it stays on record as deleted."""
    points = records.of_configuration(installation, config_id)
    try:
        document = _newest_document(points, repository)
        hidden = HIDDEN in json.dumps(document, ensure_ascii=False)
        stored = configurations.bring_back(installation, document).configuration
    except ConfigurationInvalid as error:
        return Brought(config_id, len(points), (f"It cannot be brought back: {error}",))
    except (EngineError, ServiceError) as error:
        return Brought(config_id, len(points), (f"It could not be read: {error}",))
    notes = []
    if hidden:
        notes.append(
            f"Secrets are not part of backups: put them in for {HIDDEN}, then enable it "
            f"(`config export {config_id} -o FILE`, edit, `config import FILE`)."
        )
    notes += _lacking(installation, stored, cwd)
    return Brought(config_id, len(points), tuple(notes))


def _newest_document(points: list[Any], repository: Repository) -> dict[str, Any]:
    failure: EngineError | None = None
    for point in points:
        try:
            return dict(repository.read_manifest(records.identity(point)).manifest.config)
        except EngineError as error:
            failure = failure or error
    raise failure or NotFound("It has no restore point here.")


def _lacking(installation: Installation, configuration: Configuration, cwd: Path) -> list[str]:
    """What the configuration needs and this machine does not have: variables, destinations."""
    try:
        resolved = configurations.ready(installation, configuration, cwd=cwd)
    except ConfigurationInvalid as error:
        return [str(fault) for fault in error.faults] or [error.message]
    notes = []
    for plan in resolved.destinations:
        try:
            is_known = destinations.peek(installation, plan).id is not None
        except (EngineError, ServiceError, KeyMissing):
            is_known = False
        if not is_known:
            named = plan.ref or json.dumps(dict(plan.typed), ensure_ascii=False)
            then = "No run begins before that." if plan.ref else "Else the next run starts a new repository there."
            notes.append(f"{plan.pointer} is not attached: {named}. Attach it by `destination attach`. {then}")
    return notes

"""Configurations: stored as typed, found, listed, deleted, made ready to run. What is stored was checked before."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from webapp.errors import Busy, ConfigurationInvalid, Conflict, Fault, NotFound, Outdated
from webapp.installation import Installation
from webapp.models import Backup, Configuration, Run
from webapp.models.run import ACTIVE
from webapp.schema.defaults import CONFIGURATION, Document
from webapp.schema.redact import without_secrets
from webapp.schema.resolve import Resolved, resolve
from webapp.services import audit, hidden, records, sealed, unbuilt
from webapp.services.access import Actor

_SEALED = "document"


@dataclass(frozen=True)
class Stored:
    """What storing a document did: `created`, else `changed`, else neither (it was there, the same)."""

    configuration: Configuration
    created: bool
    changed: bool


@dataclass(frozen=True)
class Deleted:
    """A deleted configuration and the number of its restore points, which stay."""

    configuration: Configuration
    backups: int


def store(installation: Installation, document: Mapping[str, Any], *, actor: Actor | None = None) -> Stored:
    """Checks the document and stores it under its id: a new configuration, or a new version of the one that is there
    (a deleted one comes back, with its restore points). Raises ConfigurationInvalid."""
    return _stored(installation, check(installation, document), actor=actor)


def bring_back(installation: Installation, document: Document) -> Stored:
    """Stores a document that a restore point holds. What reads (hidden) in it stays so, and no run begins before it has
    a value again; it is disabled then. Raises ConfigurationInvalid."""
    from webapp.schema.document import validate

    checked = validate(document)
    if hidden.places(checked):
        checked["enabled"] = False
    return _stored(installation, checked)


def create(installation: Installation, actor: Actor, document: Mapping[str, Any]) -> Configuration:
    """Stores a new configuration. Raises ConfigurationInvalid, and Conflict when there is one with this id."""
    typed = check(installation, document)
    try:
        return _store(installation, typed, actor=actor, must_be_new=True).configuration
    except IntegrityError:
        raise _taken(typed["id"]) from None


def replace(
    installation: Installation,
    actor: Actor,
    config_id: str,
    document: Mapping[str, Any],
    *,
    version: int | None = None,
) -> Configuration:
    """Changes a configuration; what reads (hidden) stays as it was. With `version`, only when that is the present one.

    Raises NotFound, ConfigurationInvalid, Outdated."""
    checked = check(installation, document, config_id=config_id)
    return _store(installation, checked, actor=actor, version=version).configuration


def check(installation: Installation, document: Mapping[str, Any], *, config_id: str | None = None) -> Document:
    """The document as it would be stored: new, or in place of this configuration, whose secrets it keeps where it reads
    (hidden). Nothing is stored. Raises NotFound, ConfigurationInvalid."""
    from webapp.schema.document import validate

    merged: Any = document
    if config_id is not None:
        present = find(installation, config_id)
        merged = hidden.filled_in(document, shown(present), typed(installation, present))
    checked = validate(merged)
    hidden.refuse(checked)
    if config_id is not None and checked["id"] != config_id:
        raise ConfigurationInvalid("The configuration was not changed.", [Fault("/id", "never changes.")])
    return checked


def typed(installation: Installation, configuration: Configuration) -> Document:
    """The document with its secrets, as typed: for runs and for those who send. Never show it, never log it.

    Raises KeyMissing, SettingsInvalid, WrongKey."""
    bound = sealed.of_configuration(configuration.id)
    found = sealed.opened(installation, configuration.sealed, bound=bound)
    if not found:
        return configuration.document
    document: Document = json.loads(found[_SEALED])
    return document


def store_to_run(
    installation: Installation,
    document: Document,
    *,
    cwd: Path,
    as_type: str | None = None,
    actor: Actor | None = None,
) -> Stored:
    """Stores a checked document, or one that this program made, if it can run in this environment; else nothing is
    stored. Raises ConfigurationInvalid, NotBuilt."""
    settings = installation.settings
    unbuilt.refuse(resolve(document, settings.environment, cwd=cwd, home=settings.home, as_type=as_type))
    return _stored(installation, document, actor=actor)


def withdraw(installation: Installation, config_id: str) -> None:
    """Deletes a configuration that has no restore point."""
    if records.newest(installation, config_id) is None:
        with suppress(NotFound, Busy):
            delete(installation, config_id)


def find(installation: Installation, config_id: str) -> Configuration:
    """The configuration with this id. Raises NotFound."""
    with installation.database.reading() as session:
        return _find(session, config_id)


def listing(installation: Installation) -> list[Configuration]:
    """All configurations that are not deleted, by id."""
    with installation.database.reading() as session:
        query = select(Configuration).where(Configuration.deleted_at.is_(None)).order_by(Configuration.id)
        return list(session.scalars(query))


def delete(
    installation: Installation, config_id: str, *, actor: Actor | None = None, version: int | None = None
) -> Deleted:
    """Marks the configuration deleted; its restore points stay. Raises NotFound, Busy while it is backed up, and
    Outdated when `version` is not the present one."""
    with installation.database.transaction() as session:
        configuration = _find(session, config_id)
        _refuse_outdated(configuration, version)
        active = session.scalars(select(Run).where(Run.config_id == config_id, Run.state.in_(ACTIVE))).first()
        if active is not None:
            raise Busy(
                f"{config_id} is in use by the run {active.public_id}.", run_id=active.public_id, hint="Wait for it."
            )
        configuration.deleted_at = installation.clock()
        query = select(func.count(Backup.id)).where(Backup.config_id == config_id, Backup.deleted_at.is_(None))
        deleted = Deleted(configuration, session.scalar(query) or 0)
        if actor is not None:
            audit.record(session, installation, actor, "configuration.deleted", config_id, before=shown(configuration))
        return deleted


def undelete(installation: Installation, actor: Actor, config_id: str) -> Configuration:
    """Brings a deleted configuration back as it was; one that is there stays as it is. Raises NotFound."""
    with installation.database.transaction() as session:
        configuration = session.get(Configuration, config_id, with_for_update=True)
        if configuration is None:
            raise NotFound(f"There is no configuration {config_id}.", hint="It was never stored here.")
        if configuration.deleted_at is not None:
            configuration.deleted_at = None
            configuration.version += 1
            configuration.updated_at = installation.clock()
            audit.record(session, installation, actor, "configuration.created", config_id, after=shown(configuration))
        return configuration


def shown(configuration: Configuration) -> Document:
    """The document for people and exports: as typed, without secrets."""
    return without_secrets(configuration.document)


def ready(
    installation: Installation, configuration: Configuration, *, cwd: Path, as_type: str | None = None
) -> Resolved:
    """The configuration with the environment's values, for a run; `as_type` is the type of this run alone.

    Raises ConfigurationInvalid. Never store it.
    """
    settings = installation.settings
    document = typed(installation, configuration)
    hidden.refuse(document, f"{configuration.id} cannot run.")
    return resolve(document, settings.environment, cwd=cwd, home=settings.home, as_type=as_type)


def remember_sources(installation: Installation, resolved: Resolved) -> None:
    """After a run that succeeded: its sources are those that the next run is compared with."""
    with installation.database.transaction() as session:
        session.get_one(Configuration, resolved.config_id).source_fingerprint = resolved.source_fingerprint


def _stored(installation: Installation, document: Document, *, actor: Actor | None = None) -> Stored:
    try:
        return _store(installation, document, actor=actor)
    except IntegrityError:  # another process stored the same id for the first time: now it is there
        return _store(installation, document, actor=actor)


def _store(
    installation: Installation,
    document: Document,
    *,
    actor: Actor | None = None,
    version: int | None = None,
    must_be_new: bool = False,
) -> Stored:
    now, config_id = installation.clock(), document["id"]
    clean = without_secrets(document)
    kept = None
    if clean != document:
        bound = sealed.of_configuration(config_id)
        kept = sealed.seal(installation, {_SEALED: json.dumps(document)}, bound=bound)
    with installation.database.transaction() as session:
        configuration = session.get(Configuration, config_id, with_for_update=True)
        before = None
        if configuration is None:
            configuration = Configuration(id=config_id, version=0, created_at=now)
            session.add(configuration)
            created = changed = True
        else:
            created = configuration.deleted_at is not None
            if must_be_new and not created:
                raise _taken(config_id)
            _refuse_outdated(configuration, version)
            before = None if created else shown(configuration)
            changed = created or typed(installation, configuration) != document
        if changed:
            configuration.name = document["name"]
            configuration.document, configuration.sealed = clean, kept
            configuration.enabled = bool(document.get("enabled", CONFIGURATION["enabled"]))
            configuration.version += 1
            configuration.updated_at = now
            configuration.deleted_at = None
            if actor is not None:
                action = "configuration.created" if created else "configuration.changed"
                audit.record(session, installation, actor, action, config_id, before=before, after=clean)
        return Stored(configuration, created=created, changed=changed and not created)


def _refuse_outdated(configuration: Configuration, version: int | None) -> None:
    if version is not None and configuration.version != version:
        raise Outdated(
            f"{configuration.id} was changed by somebody else: it is at version {configuration.version}.",
            version=configuration.version,
            hint="Read it again, and make your change in what it says now.",
        )


def _taken(config_id: str) -> Conflict:
    return Conflict(f"There is a configuration {config_id} already.", hint="Change that one, or choose another id.")


def _find(session: Session, config_id: str) -> Configuration:
    configuration = session.get(Configuration, config_id)
    if configuration is None or configuration.deleted_at is not None:
        known = session.scalars(select(Configuration.id).where(Configuration.deleted_at.is_(None))).all()
        near = difflib.get_close_matches(config_id, known, n=1)
        hint = f"Did you mean {near[0]}?" if near else "`backup-cli config list` shows what there is."
        raise NotFound(f"There is no configuration {config_id}.", hint=hint)
    return configuration

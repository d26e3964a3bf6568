"""Configurations: stored as typed, found, listed, deleted, made ready to run. What is stored was checked before."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from webapp.errors import Busy, NotFound
from webapp.installation import Installation
from webapp.models import Backup, Configuration, Run
from webapp.models.run import ACTIVE
from webapp.schema.defaults import CONFIGURATION, Document
from webapp.schema.redact import without_secrets
from webapp.schema.resolve import Resolved, resolve
from webapp.services import records, unbuilt


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


def store(installation: Installation, document: Mapping[str, Any]) -> Stored:
    """Checks the document and stores it under its id: a new configuration, or a new version of the one that is there
    (a deleted one comes back, with its restore points). Raises ConfigurationInvalid."""
    from webapp.schema.document import validate

    return _stored(installation, validate(document))


def store_to_run(installation: Installation, document: Document, *, cwd: Path, as_type: str | None = None) -> Stored:
    """Stores a checked document, or one that this program made, if it can run in this environment; else nothing is
    stored. Raises ConfigurationInvalid, NotBuilt."""
    settings = installation.settings
    unbuilt.refuse(resolve(document, settings.environment, cwd=cwd, home=settings.home, as_type=as_type))
    return _stored(installation, document)


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


def delete(installation: Installation, config_id: str) -> Deleted:
    """Marks the configuration deleted; its restore points stay. Raises NotFound, and Busy while it is backed up."""
    with installation.database.transaction() as session:
        configuration = _find(session, config_id)
        active = session.scalars(select(Run).where(Run.config_id == config_id, Run.state.in_(ACTIVE))).first()
        if active is not None:
            raise Busy(
                f"{config_id} is in use by the run {active.public_id}.", run_id=active.public_id, hint="Wait for it."
            )
        configuration.deleted_at = installation.clock()
        query = select(func.count(Backup.id)).where(Backup.config_id == config_id, Backup.deleted_at.is_(None))
        return Deleted(configuration, session.scalar(query) or 0)


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
    return resolve(configuration.document, settings.environment, cwd=cwd, home=settings.home, as_type=as_type)


def remember_sources(installation: Installation, resolved: Resolved) -> None:
    """After a run that succeeded: its sources are those that the next run is compared with."""
    with installation.database.transaction() as session:
        session.get_one(Configuration, resolved.config_id).source_fingerprint = resolved.source_fingerprint


def _stored(installation: Installation, typed: Document) -> Stored:
    try:
        return _store(installation, typed)
    except IntegrityError:  # another process stored the same id for the first time: now it is there
        return _store(installation, typed)


def _store(installation: Installation, typed: Document) -> Stored:
    now = installation.clock()
    with installation.database.transaction() as session:
        configuration = session.get(Configuration, typed["id"], with_for_update=True)
        if configuration is None:
            configuration = Configuration(id=typed["id"], version=0, created_at=now)
            session.add(configuration)
            created = changed = True
        else:
            created = configuration.deleted_at is not None
            changed = created or configuration.document != typed
        if changed:
            configuration.name = typed["name"]
            configuration.document = typed
            configuration.enabled = bool(typed.get("enabled", CONFIGURATION["enabled"]))
            configuration.version += 1
            configuration.updated_at = now
            configuration.deleted_at = None
        return Stored(configuration, created=created, changed=changed and not created)


def _find(session: Session, config_id: str) -> Configuration:
    configuration = session.get(Configuration, config_id)
    if configuration is None or configuration.deleted_at is not None:
        known = session.scalars(select(Configuration.id).where(Configuration.deleted_at.is_(None))).all()
        near = difflib.get_close_matches(config_id, known, n=1)
        hint = f"Did you mean {near[0]}?" if near else "`backup-cli config list` shows what there is."
        raise NotFound(f"There is no configuration {config_id}.", hint=hint)
    return configuration

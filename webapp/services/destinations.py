"""Destinations: found by name or by place, added, tested. One is recognised by its repository's id, not by its path."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from engine.errors import EngineError, NotARepository
from engine.repository import repository as engine
from engine.storage.base import BadSetting, Storage
from engine.storage.local import folder_of
from engine.storage.probe import ProbeReport, probe
from webapp.errors import Conflict, Fault, Faulty, Invalid, NotFound, ServiceError
from webapp.installation import Installation
from webapp.models import BackupCopy, Destination
from webapp.schema import kinds, placeholders
from webapp.schema.resolve import DestinationPlan
from webapp.services import destination_names, keyrings, secrets
from webapp.services.keyrings import Tell
from webapp.services.repositories import (
    adopt,
    open_keyring,
    open_repository,
    open_storage,
    silent,
    used_destinations,
)

_SAME_NAME = 100


@dataclass(frozen=True)
class Added:
    """A destination that was added. `found` are restore points of this installation that lay there already."""

    destination: Destination
    repository_id: str
    found: tuple[str, ...]


def listing(installation: Installation) -> list[Destination]:
    """All destinations that are not removed, by name."""
    with installation.database.reading() as session:
        query = select(Destination).where(Destination.deleted_at.is_(None)).order_by(Destination.name)
        return list(session.scalars(query))


def find(installation: Installation, name: str) -> Destination:
    """The destination of this name. Raises NotFound."""
    known = {destination.name: destination for destination in listing(installation)}
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {near[0]}?" if near else "`backup-cli destination list` shows what there is."
    raise NotFound(f"There is no destination {name}.", hint=hint)


def for_plan(installation: Installation, plan: DestinationPlan, *, tell: Tell) -> Destination:
    """The row of a configuration's destination: the stored one that it names, or that of its place, made when it is
    met for the first time. A repository that was moved keeps its row. Raises NotFound, Conflict, and KeyMissing when
    its credentials cannot be sealed."""
    if plan.ref is not None:
        return find(installation, plan.ref)
    assert plan.kind is not None
    place = place_of(installation, plan.kind, plan.settings)
    new = _row(installation, destination_names.title(plan.kind, plan.typed), plan.kind, plan.typed, place, tell)
    with installation.database.reading() as session:
        known = session.scalars(select(Destination).where(Destination.place == place)).first()
    if known is not None:
        return _brought_up_to_date(installation, known, new)
    return _moved(installation, new) or _insert(installation, new)


def peek(installation: Installation, plan: DestinationPlan) -> Destination:
    """As `for_plan`, but nothing is stored: the row of a place that is new lives in memory alone. Raises NotFound."""
    if plan.ref is not None:
        return find(installation, plan.ref)
    assert plan.kind is not None
    place = place_of(installation, plan.kind, plan.settings)
    with installation.database.reading() as session:
        known = session.scalars(select(Destination).where(Destination.place == place)).first()
    # Resolved settings, secrets among them: this row is never stored.
    return known or Destination(
        name=destination_names.title(plan.kind, plan.typed), kind=plan.kind, settings=dict(plan.settings), place=place
    )


def unstored(installation: Installation, name: str, kind: str, typed: Mapping[str, Any]) -> Destination:
    """The row of a place, with resolved settings, secrets among them: it is never stored. Raises Invalid."""
    if not name.strip() or len(name) > destination_names.LONGEST or not name.isprintable():
        raise Invalid("The name of a destination must be 1 to 200 printable characters.")
    resolved = _resolved(installation, typed)
    try:
        kinds.configure(kind, resolved)
    except BadSetting as error:
        fault = Fault(f"/config/{kinds.outside(error.setting)}", f"{error.sentence}.")
        raise Faulty(f"The settings of {name} do not fit.", [fault]) from None
    except TypeError as error:
        raise Invalid(f"The settings of {name} do not fit: {error}.") from None
    return Destination(name=name, kind=kind, settings=resolved, place=place_of(installation, kind, resolved))


def add(installation: Installation, name: str, kind: str, typed: Mapping[str, Any], *, tell: Tell) -> Added:
    """A new destination, ready for use: its repository is made, or the one of this installation that is there is taken
    over. Raises Invalid, Conflict when name or place are taken, and what opening raises; then nothing is stored."""
    place = unstored(installation, name, kind, typed).place
    _refuse_taken(installation, name, place)
    new = _row(installation, name, kind, typed, place, tell)
    with closing(open_storage(installation, new)) as storage:
        keyring = open_keyring(installation, may_create=True, tell=tell, places=[storage])
    moved = _moved(installation, new)
    destination = _rename(installation, moved, name) if moved else _insert(installation, new)
    try:
        repository = open_repository(installation, destination, keyring, may_create=True)
    except (EngineError, ServiceError):
        if moved is None:
            forget_unused(installation, [destination])
        raise
    with closing(repository.storage):
        return Added(destination, repository.id.hex(), adopt(installation, destination, repository).new)


def test(installation: Installation, destination: Destination) -> ProbeReport:
    """Whether the place keeps the promises that backups rely on; nothing of the repository is touched. What was found
    is kept on record, also that it could not be reached.

    Raises NotARepository for a destination that vanished, was emptied or replaced, and what opening its place raises.
    """
    try:
        report = _probed(installation, destination)
    except (EngineError, ServiceError) as error:
        _remember(installation, destination, {"ok": False, "error": error.message, "hint": error.hint, "steps": []})
        raise
    _remember(installation, destination, described(report))
    return report


def described(report: ProbeReport) -> dict[str, Any]:
    """What a test found, as it is kept and shown."""
    failed = next((step for step in report.steps if step.is_needed and not step.ok), None)
    return {
        "ok": report.is_usable,
        "error": "" if failed is None else f"{failed.name}: {failed.detail}",
        "hint": "",
        "latencySeconds": report.latency,
        "clockSkewSeconds": None if report.clock_skew is None else report.clock_skew.total_seconds(),
        "versioning": report.versioning,
        "objectLock": report.object_lock,
        "steps": [
            {
                "name": step.name,
                "ok": step.ok,
                "needed": step.is_needed,
                "detail": step.detail,
                "seconds": round(step.seconds, 4),
            }
            for step in report.steps
        ],
    }


def _probed(installation: Installation, destination: Destination) -> ProbeReport:
    with closing(open_storage(installation, destination)) as storage:
        if destination.repository_id is None:
            storage.initialise()
        elif engine.read_identity(storage)[0].hex() != destination.repository_id:
            raise NotARepository(
                f"{storage.describe()} holds another repository than it did before.",
                hint="Is the right disk mounted, the right bucket named?",
            )
        return probe(storage, clock=installation.clock)


def _remember(installation: Installation, destination: Destination, found: dict[str, Any]) -> None:
    with installation.database.transaction() as session:
        row = session.get_one(Destination, destination.id)
        row.probe, row.checked_at = found, installation.clock()


def place_of(installation: Installation, kind: str, settings: Mapping[str, Any]) -> str:
    """The fingerprint of a place, from resolved settings without their secrets: two spellings of one folder agree."""
    stated = {key: value for key, value in settings.items() if key not in kinds.secret_settings(kind)}
    if "path" in stated:
        stated["path"] = os.path.normpath(folder_of(stated["path"], home=installation.settings.home))
    text = json.dumps([kind, stated], sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def secret_values(kind: str, settings: Mapping[str, Any]) -> dict[str, str]:
    """The settings of which only a sealed form may be kept: a placeholder for a secret is none."""
    return {
        key: str(value)
        for key, value in settings.items()
        if key in kinds.secret_settings(kind) and value is not None and not placeholders.is_whole(str(value))
    }


def _row(
    installation: Installation, name: str, kind: str, typed: Mapping[str, Any], place: str, tell: Tell
) -> Destination:
    """A row that is not stored yet. Secrets are sealed; placeholders for them stay as typed."""
    settings = installation.settings
    secret = secret_values(kind, typed)
    sealed = None
    if secret:
        is_new = not keyrings.local_slots(settings) and not used_destinations(installation)
        sealed = secrets.seal(settings, secret, bound=place, may_generate=is_new, tell=tell)
    kept = {key: value for key, value in typed.items() if key not in secret}
    return Destination(name=name, kind=kind, settings=kept, sealed=sealed, place=place, created_at=installation.clock())


def _brought_up_to_date(installation: Installation, known: Destination, new: Destination) -> Destination:
    """What was typed anew for a place that is known: other credentials, or a destination that had been removed."""
    same_secrets = (known.sealed is None) == (new.sealed is None)
    if known.sealed is not None and new.sealed is not None:
        settings = installation.settings
        values = (secrets.unseal(settings, each, bound=new.place, tell=silent) for each in (known.sealed, new.sealed))
        same_secrets = next(values) == next(values)
    if known.deleted_at is None and known.settings == new.settings and same_secrets:
        return known
    with installation.database.transaction() as session:
        row = session.get_one(Destination, known.id)
        row.settings, row.sealed, row.deleted_at = new.settings, new.sealed, None
        return row


def _insert(installation: Installation, new: Destination) -> Destination:
    """Stored under its name or, when that is taken, the next one."""
    for number in range(1, _SAME_NAME):
        row = Destination(
            name=new.name if number == 1 else f"{new.name} ({number})",
            kind=new.kind,
            settings=new.settings,
            sealed=new.sealed,
            place=new.place,
            created_at=new.created_at,
        )
        try:
            with installation.database.transaction() as session:
                known = session.scalars(select(Destination).where(Destination.place == new.place)).first()
                if known is not None:  # another process was faster
                    return known
                session.add(row)
            return row
        except IntegrityError:
            continue
    raise Conflict(f"There are too many destinations named {new.name}.", hint="Use `destination add` with a name.")


def _moved(installation: Installation, new: Destination) -> Destination | None:
    """The row of the repository that lies at a new place, moved there; None when it is none that is known."""
    try:
        with closing(open_storage(installation, new)) as storage:
            identity = engine.read_identity(storage)[0].hex()
    except (EngineError, ServiceError):
        return None
    with installation.database.reading() as session:
        known = session.scalars(select(Destination).where(Destination.repository_id == identity)).first()
    if known is None:
        return None
    if _still_there(installation, known, identity) and not _same_folder(storage, open_storage(installation, known)):
        raise Conflict(
            f"{storage.describe()} is a copy of the repository of the destination {known.name}, which is still there.",
            hint="Use an empty place for another destination, or remove one of the two.",
        )
    with installation.database.transaction() as session:
        row = session.get_one(Destination, known.id)
        row.settings, row.sealed, row.place, row.kind = new.settings, new.sealed, new.place, new.kind
        row.deleted_at = None
        return row


def _still_there(installation: Installation, destination: Destination, identity: str) -> bool:
    try:
        with closing(open_storage(installation, destination)) as storage:
            return engine.read_identity(storage)[0].hex() == identity
    except (EngineError, ServiceError):
        return False


def _same_folder(one: Storage, other: Storage) -> bool:
    roots = getattr(one, "root", None), getattr(other, "root", None)
    return isinstance(roots[0], Path) and isinstance(roots[1], Path) and roots[0].samefile(roots[1])


def _rename(installation: Installation, destination: Destination, name: str) -> Destination:
    with installation.database.transaction() as session:
        row = session.get_one(Destination, destination.id)
        row.name = name
        return row


def forget_unused(installation: Installation, destinations: Iterable[Destination]) -> None:
    """Removes those that never held anything: a first use that failed leaves no trace."""
    copies = select(BackupCopy.id).where(BackupCopy.destination_id == Destination.id)
    unused = delete(Destination).where(
        Destination.id.in_([each.id for each in destinations]),
        Destination.repository_id.is_(None),
        ~copies.exists(),
    )
    with installation.database.transaction() as session:
        session.execute(unused.execution_options(synchronize_session=False))


def _refuse_taken(installation: Installation, name: str, place: str) -> None:
    with installation.database.reading() as session:
        if _exists(session, Destination.name == name):
            raise Conflict(f"There is a destination {name} already.", hint="Choose another name.")
        known = session.scalars(select(Destination).where(Destination.place == place)).first()
        if known is not None:
            raise Conflict(f"This place is the destination {known.name} already.", hint="Use that one.")


def _exists(session: Session, condition: Any) -> bool:
    return session.scalars(select(Destination.id).where(condition)).first() is not None


def _resolved(installation: Installation, typed: Mapping[str, Any]) -> dict[str, Any]:
    environment = installation.settings.environment
    resolved = {}
    for key, value in typed.items():
        try:
            resolved[key] = placeholders.substitute(value, environment) if isinstance(value, str) else value
        except KeyError as error:
            detail = f"names ${{{error.args[0]}}}, but that variable is not set."
            raise Invalid(str(Fault(f"/config/{key}", detail))) from None
    return resolved

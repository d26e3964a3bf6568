"""Destinations: found by name or by place, added, tested. One is recognised by its repository's id, not by its path."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from engine.errors import EngineError, StorageError
from engine.ids import new_id
from engine.repository import repository as engine
from engine.storage.base import Storage
from webapp.errors import Conflict, Fault, Invalid, NotFound, ServiceError
from webapp.installation import Installation
from webapp.models import Destination
from webapp.schema import kinds, placeholders
from webapp.schema.resolve import DestinationPlan
from webapp.services.keyrings import Tell
from webapp.services.repositories import Adopted, adopt, open_keyring, open_repository, open_storage

_PROBE = b"Holdfast wrote this to see whether it can."
_NAME = 200


@dataclass(frozen=True)
class Added:
    """A destination that was added. `found` are restore points of this installation that lay there already."""

    destination: Destination
    repository_id: str
    found: tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """One thing that a test of a destination tried. `detail` says what went wrong, or what was seen."""

    name: str
    ok: bool
    detail: str


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


def for_plan(installation: Installation, plan: DestinationPlan) -> Destination:
    """The row of a configuration's destination: the stored one that it names, or that of its place, made when it is
    met for the first time. A repository that was moved keeps its row. Raises NotFound, Conflict."""
    if plan.ref is not None:
        return find(installation, plan.ref)
    assert plan.kind is not None
    place = place_of(installation, plan.kind, plan.settings)
    with installation.database.reading() as session:
        known = session.scalars(select(Destination).where(Destination.place == place)).first()
    if known is not None:
        return _revived(installation, known)
    new = _row(installation, _title(plan.kind, plan.typed), plan.kind, plan.typed, place)
    return _moved(installation, new) or _insert(installation, new)


def add(installation: Installation, name: str, kind: str, typed: Mapping[str, Any], *, tell: Tell) -> Added:
    """A new destination, ready for use: its repository is made, or the one of this installation that is there is taken
    over. Raises Invalid, Conflict when name or place are taken, and what opening raises; then nothing is stored."""
    if not name.strip() or len(name) > _NAME or not name.isprintable():
        raise Invalid("The name of a destination must be 1 to 200 printable characters.")
    resolved = _resolved(installation, typed)
    try:
        kinds.configure(kind, resolved)
    except (TypeError, ValueError) as error:
        raise Invalid(f"The settings of {name} do not fit: {error}.") from None
    place = place_of(installation, kind, resolved)
    _refuse_taken(installation, name, place)
    new = _row(installation, name, kind, typed, place)
    storage = open_storage(installation, new)
    keyring = open_keyring(installation, may_create=True, tell=tell, places=[storage])
    moved = _moved(installation, new)
    destination = _rename(installation, moved, name) if moved else _insert(installation, new)
    try:
        repository = open_repository(installation, destination, keyring, may_create=True)
    except (EngineError, ServiceError):
        if moved is None:
            _remove(installation, destination)
        raise
    found: Adopted = adopt(installation, destination, repository)
    return Added(destination, repository.id.hex(), found.new)


def test(installation: Installation, destination: Destination) -> list[Step]:
    """Writes, reads back, lists and deletes a small object; nothing of the repository is touched."""
    try:
        storage = open_storage(installation, destination)
    except (EngineError, ServiceError) as error:
        return [Step("open", ok=False, detail=str(error))]
    name = f"tmp/probe-{new_id().hex()}"
    steps: list[Step] = []

    def attempt(step: str, action: Any) -> bool:
        try:
            detail = action() or ""
        except StorageError as error:
            steps.append(Step(step, ok=False, detail=str(error)))
            return False
        steps.append(Step(step, ok=True, detail=detail))
        return True

    try:
        if attempt("repository", lambda: _repository_there(storage, destination)) and attempt(
            "write", lambda: storage.put(name, _PROBE)
        ):
            attempt("read back", lambda: _expect(storage.get(name) == _PROBE, "other bytes came back"))
            attempt("read a part", lambda: _expect(storage.get(name, 9, 5) == _PROBE[9:14], "other bytes came back"))
            attempt("list", lambda: _expect(name in {item.name for item in storage.list("tmp/")}, "it is not listed"))
            attempt("delete", lambda: storage.delete(name))
    finally:
        with suppress(StorageError):
            storage.delete(name)
        storage.close()
    return steps


def place_of(installation: Installation, kind: str, settings: Mapping[str, Any]) -> str:
    """The fingerprint of a place, from resolved settings without their secrets: two spellings of one folder agree."""
    stated = {key: value for key, value in settings.items() if key not in kinds.secret_settings(kind)}
    if "path" in stated:
        stated["path"] = os.path.normpath(installation.settings.home / Path(stated["path"]).expanduser())
    text = json.dumps([kind, stated], sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _row(
    installation: Installation, name: str, kind: str, typed: Mapping[str, Any], place: str
) -> Destination:
    """A row that is not stored yet. Typed secrets stay out of it; placeholders for them are kept."""
    secret = kinds.secret_settings(kind)
    kept = {
        key: value for key, value in typed.items() if key not in secret or placeholders.is_whole(str(value))
    }
    return Destination(name=name, kind=kind, settings=kept, place=place, created_at=installation.clock())


def _insert(installation: Installation, new: Destination) -> Destination:
    """Stored under its name or, when that is taken, the next one."""
    for number in range(1, 100):
        row = _row(installation, _numbered(new.name, number), new.kind, new.settings, new.place)
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
        storage = open_storage(installation, new)
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
        row.settings, row.place, row.kind, row.deleted_at = new.settings, new.place, new.kind, None
        return row


def _still_there(installation: Installation, destination: Destination, identity: str) -> bool:
    try:
        return engine.read_identity(open_storage(installation, destination))[0].hex() == identity
    except (EngineError, ServiceError):
        return False


def _same_folder(one: Storage, other: Storage) -> bool:
    roots = getattr(one, "root", None), getattr(other, "root", None)
    return isinstance(roots[0], Path) and isinstance(roots[1], Path) and roots[0].samefile(roots[1])


def _revived(installation: Installation, known: Destination) -> Destination:
    if known.deleted_at is None:
        return known
    with installation.database.transaction() as session:
        row = session.get_one(Destination, known.id)
        row.deleted_at = None
        return row


def _rename(installation: Installation, destination: Destination, name: str) -> Destination:
    with installation.database.transaction() as session:
        row = session.get_one(Destination, destination.id)
        row.name = name
        return row


def _remove(installation: Installation, destination: Destination) -> None:
    with installation.database.transaction() as session:
        session.delete(session.get_one(Destination, destination.id))


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


def _repository_there(storage: Storage, destination: Destination) -> str:
    if destination.repository_id is None:
        return "none yet: the first backup makes it"
    identity = engine.read_identity(storage)[0].hex()
    _expect(identity == destination.repository_id, "it holds another repository than before")
    return identity


def _expect(ok: bool, reason: str) -> None:  # noqa: FBT001 (reads as a sentence)
    if not ok:
        raise StorageError(f"It did not work as it must: {reason}.")


def _title(kind: str, typed: Mapping[str, Any]) -> str:
    """How people are told of a destination that has no name: its path or its bucket."""
    main = str(typed.get("path") or typed.get("bucket") or kind)
    prefix = str(typed.get("prefix") or "").strip("/")
    text = main if kind == "local" else f"{kind}://{main}" + (f"/{prefix}" if prefix else "")
    return text[: _NAME - 5]


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name} ({number})"

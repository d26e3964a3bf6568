"""The plan of a restore that replaces something: what stands there now, what would come, and a hash over both. It is
looked at again before anything is done: a target that changed meanwhile is not replaced unseen."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import socket
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select

from engine.errors import EngineError
from engine.ids import new_id, spell
from engine.model import tree
from engine.model.manifest import FilesRoot, Manifest, StreamRoot
from engine.postgres.connection import parse_url
from engine.repository.failover import FailoverReader
from engine.restore import find as find_node
from engine.sources.sqlite import KIND as SQLITE
from engine.storage.local import LocalStorage
from webapp.errors import Conflict, Invalid, NotFound, ServiceError
from webapp.installation import Installation
from webapp.models import Backup, RestorePlan
from webapp.models.replacement import FOLDER
from webapp.services import before_replacing, replaceable, repositories, restore_plans, sealed
from webapp.services.keyrings import Tell
from webapp.services.replaceable import DatabasePlace, FolderPlace, Place
from webapp.services.restore_plans import DatabasePart, FolderPart, Plan, Typed

VALID = timedelta(minutes=30)
_UNSEEN = ("digest", "identity")
_WORDS = {"items": "Items", "newestAt": "Newest change", "bytes": "Bytes", "tables": "Tables", "rows": "Rows"}


@dataclass(frozen=True)
class Wish:
    """Who wants to replace what by what of which restore point. `targets` holds one `--to` or none: then it is what the
    restore point was made of; `only` chooses one folder or one whole database (`NAME:`) where there are several; `jobs`
    restore a database side by side."""

    backup: str
    identity: str
    targets: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    jobs: int = 1


class Changed(Conflict):
    """The target is not any more what the plan says; `differences` are sentences."""

    def __init__(self, target: str, differences: tuple[str, ...]) -> None:
        super().__init__(
            f"{target} has changed since the plan was made: {' '.join(differences)}", hint="Make a new plan."
        )
        self.differences = differences


def make(installation: Installation, wish: Wish, *, cwd: Path, tell: Tell) -> RestorePlan:
    """Looks at restore point and target, and stores the plan; nothing else is touched. Raises NotFound, Invalid,
    TargetError, and what opening the repository raises."""
    environment = installation.settings.environment
    typed = restore_plans.read_typed(wish.targets, wish.only, cwd=cwd, environment=environment)
    backup = repositories.find_backup(installation, wish.backup)
    reader, manifest = repositories.reader_for(installation, backup, tell=tell)
    with closing(reader):
        place, source = _chosen(installation, typed, backup, manifest, cwd)
        part = of_source(place, source, backup, reader, manifest, incoming="")
    refuse(installation, place, _size(part))
    before = before_replacing.choose(installation, backup, place, cwd=cwd)
    state = place.look(lambda: None)
    document = {
        "source": source,
        "jobs": wish.jobs,
        "current": {name: value for name, value in state.items() if name not in _UNSEEN},
        "incoming": _incoming(part),
        "restorePoint": {"configId": before.config_id, "own": before.own},
        "warnings": list(before.warnings),
        "keptHours": installation.settings.timing.kept / 3600,
    }
    return _stored(installation, wish, backup, place, state, document)


def find(installation: Installation, public_id: str) -> RestorePlan:
    """The plan with this id. Raises NotFound."""
    with installation.database.reading() as session:
        plan = session.scalars(select(RestorePlan).where(RestorePlan.public_id == public_id)).first()
    if plan is None:
        raise NotFound(f"There is no plan {public_id}.", hint="Plans are kept for half an hour; make a new one.")
    return plan


def document(plan: RestorePlan) -> dict[str, Any]:
    """The plan for people and scripts; it holds no secret."""
    return {
        "planId": plan.public_id,
        "planHash": plan.hash,
        "backupId": plan.backup_id,
        "kind": plan.kind,
        "target": plan.target,
        "host": plan.host,
        "identity": plan.identity,
        **plan.document,
        "createdAt": plan.created_at,
        "expiresAt": plan.expires_at,
    }


def place_of(installation: Installation, plan: RestorePlan) -> Place:
    """Where the plan's target is. Raises KeyMissing, WrongKey."""
    if plan.kind == FOLDER:
        return FolderPlace(Path(plan.place["path"]))
    opened = sealed.opened(installation, plan.sealed, bound=sealed.of_plan(plan.public_id))
    return replaceable.of_url(opened["url"])


def compare_state(plan: RestorePlan, now: dict[str, Any]) -> None:
    """Raises Changed when the target is not what it was when the plan was made."""
    if all(now[name] == plan.state[name] for name in _UNSEEN):
        return
    found = [
        f"{_WORDS[name]}: {plan.state[name]} then, {now[name]} now."
        for name in now
        if name in _WORDS and now[name] != plan.state[name]
    ]
    if now["identity"] != plan.state["identity"]:
        found.insert(0, f"It is another {plan.kind} of the same name.")
    raise Changed(plan.target, tuple(found or ["What is in it has changed, though not how much."]))


def of_source(
    place: Place, source: str, backup: Backup, reader: FailoverReader, manifest: Manifest, *, incoming: str
) -> Plan:
    """The restore of `source`, and nothing else, to what is called `incoming`. Raises NotFound, Invalid."""
    streams = [root for root in manifest.roots if isinstance(root, StreamRoot)]
    if isinstance(place, DatabasePlace):
        root = next(each for each in streams if each.name == source)
        to = place.connection.with_database(incoming or place.beside(replaceable.NEW, new_label()))
        return Plan(backup, None, (DatabasePart(root, to, None),), ())
    path = os.fsencode(source)
    files, size = restore_plans.measure(reader, manifest, path)
    if find_node(reader, manifest, path).kind != tree.DIRECTORY:
        raise Invalid(
            f"--replace takes whole folders, and {source} is none.", hint="Restore it beside, without --replace."
        )
    below = f"{source.rstrip('/')}/"
    sqlite = tuple(root for root in streams if root.kind == SQLITE and root.name.startswith(below))
    return Plan(backup, FolderPart(Path(incoming or "."), (path,), (source,), files, size, sqlite), (), ())


def new_label() -> str:
    """A new id of a replacement."""
    return spell("rs", new_id())


def refuse(installation: Installation, place: Place, needed_bytes: int) -> None:
    """Raises Invalid for what Holdfast itself needs, TargetError for what cannot be replaced."""
    if isinstance(place, FolderPlace):
        _refuse_own_folders(installation, place.path)
    elif isinstance(place, DatabasePlace):
        _refuse_own_database(installation, place)
    place.refuse(needed_bytes)


def _chosen(
    installation: Installation, typed: Typed, backup: Backup, manifest: Manifest, cwd: Path
) -> tuple[Place, str]:
    """The one thing to replace, and what of the restore point comes there. Raises Invalid, NotFound."""
    folders = [os.fsdecode(root.path) for root in manifest.roots if isinstance(root, FilesRoot)]
    dumps = [root for root in manifest.roots if isinstance(root, StreamRoot) and root.kind != SQLITE]
    if typed.folder is not None and typed.server is not None:
        raise Invalid("--replace replaces one thing at a time.", hint="Give one --to.")
    wanted = [os.fsdecode(path) for path in typed.paths] + list(typed.tables)
    if not typed.is_part:
        wanted = [] if typed.server else folders
        wanted += [] if typed.folder else [f"{root.name}:" for root in dumps]
    if len(wanted) != 1:
        names = ", ".join(wanted) or "nothing that fits"
        raise Invalid(
            f"--replace replaces one folder or one database at a time; here it could be {names}.",
            hint="Choose with --only /a/path or --only DATABASE:",
        )
    chosen = wanted[0]
    if chosen.startswith("/"):
        if typed.server is not None:
            raise Invalid(f"--to names a database, but {chosen} is a folder.", hint="Give the folder to replace.")
        return FolderPlace(_real(typed.folder or Path(chosen))), chosen
    root = next((each for each in dumps if f"{each.name}:" == chosen), None)
    if root is None:
        raise Invalid(
            f"--replace takes whole databases, and {chosen} is none of {backup.public_id}.",
            hint="Write --only DATABASE:, or restore single tables beside, without --replace.",
        )
    if typed.folder is not None:
        raise Invalid(f"--to names a folder, but {root.name} is a database.", hint="Give --to postgresql://host/name.")
    server = typed.server or restore_plans.source_server(installation, backup, manifest, root, cwd)
    return DatabasePlace(server if server.database else server.with_database(root.name)), root.name


def _real(path: Path) -> Path:
    """The same place without links above it; a link at the place itself is refused later."""
    return path.parent.resolve() / path.name


def _size(part: Plan) -> int:
    return part.folder.needed_bytes if part.folder is not None else 0


def _incoming(part: Plan) -> dict[str, Any]:
    if part.folder is not None:
        return {"madeAt": part.backup.finished_at.isoformat(), "files": part.folder.files, "bytes": part.folder.bytes}
    (database,) = part.databases
    rows = sum(table["rows"] or 0 for table in database.root.facts.get("tables", ()))
    made = part.backup.finished_at.isoformat()
    return {"madeAt": made, "tables": database.tables, "rows": rows, "bytes": database.bytes}


def _stored(
    installation: Installation,
    wish: Wish,
    backup: Backup,
    place: Place,
    state: dict[str, Any],
    document: dict[str, Any],
) -> RestorePlan:
    now, public_id = installation.clock(), spell("pl", new_id())
    kept = None
    if isinstance(place, DatabasePlace):
        url = {"url": replaceable.url_of(place.connection)}
        kept = sealed.seal(installation, url, bound=sealed.of_plan(public_id))
    plan = RestorePlan(
        public_id=public_id,
        backup_id=backup.public_id,
        identity=wish.identity,
        host=installation.host,
        kind=place.kind,
        target=_shown(place.target),
        key=replaceable.key_of(place, installation.host),
        place={"path": place.target} if place.kind == FOLDER else {},
        sealed=kept,
        state=state,
        document=document,
        hash=_hash(backup, place, state, document),
        created_at=now,
        expires_at=now + VALID,
    )
    with installation.database.transaction() as session:
        session.add(plan)
        session.flush()
        session.refresh(plan)
    return plan


def _hash(backup: Backup, place: Place, state: dict[str, Any], document: dict[str, Any]) -> str:
    said = [backup.public_id, backup.manifest_hash, place.kind, place.target, state, document]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _shown(text: str) -> str:
    """Names of any bytes, for rows and people."""
    return text.encode("utf-8", "backslashreplace").decode()


def _refuse_own_folders(installation: Installation, path: Path) -> None:
    """Raises Invalid for what holds, or lies in, the home or a destination: it would take the backups away."""
    own = {installation.settings.home: "HOLDFAST_HOME"}
    for destination in repositories.used_destinations(installation):
        with suppress(EngineError, ServiceError):
            storage = repositories.open_storage(installation, destination)
            if isinstance(storage, LocalStorage):
                own[storage.root] = f"the backup destination {destination.name}"
            storage.close()
    for root, what in own.items():
        real = root.resolve()
        if path == real or real in path.parents or path in real.parents:
            raise Invalid(f"{path} cannot be replaced: {what} is {real}.", hint="Restore to a new place.")


def _refuse_own_database(installation: Installation, place: DatabasePlace) -> None:
    url = installation.settings.database_url
    if not url.startswith("postgresql"):
        return
    own, to = parse_url(url), place.connection
    is_same = (own.port, own.database) == (to.port, to.database)
    if is_same and (own.host == to.host or (_is_here(own.host) and _is_here(to.host))):
        raise Invalid(f"{place.target} cannot be replaced: Holdfast keeps its own records there.")


def _is_here(host: str | None) -> bool:
    """Whether a host is this machine, however it is called: a socket, or an address that leads back."""
    if not host or host.startswith("/"):
        return True
    try:
        return all(ipaddress.ip_address(found[4][0]).is_loopback for found in socket.getaddrinfo(host, None))
    except (OSError, ValueError):
        return False

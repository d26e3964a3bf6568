"""The restore point of what is about to be replaced: by the configuration that it belongs to, else by one that is made
for it alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import selectinload

from engine.errors import EngineError
from engine.postgres.connection import Connection, parse_url
from engine.progress import Progress
from webapp.errors import Conflict, ServiceError
from webapp.installation import Installation
from webapp.models import Backup, BackupCopy, RestorePlan
from webapp.models.backup import PRESENT
from webapp.models.run import SUCCEEDED, WARNING
from webapp.schema.resolve import Resolved
from webapp.services import backups, configurations
from webapp.services.keyrings import Tell
from webapp.services.replaceable import DatabasePlace, FolderPlace, Place, key_of, url_of

_KEPT = 10
PREFIX = "before-replacing-"


@dataclass(frozen=True)
class Before:
    """Which configuration makes the restore point; `own` when it is one that exists for this alone."""

    config_id: str
    own: bool
    warnings: tuple[str, ...] = ()


def choose(installation: Installation, backup: Backup, place: Place, *, cwd: Path) -> Before:
    """The configuration of the restore point, when the target is one of its sources; else one of the target's own."""
    try:
        configuration = configurations.find(installation, backup.config_id)
        resolved = configurations.ready(installation, configuration, cwd=cwd)
    except (EngineError, ServiceError):  # deleted, or not to be run here
        return Before(own_id(installation, place), own=True)
    left_out = _left_out(resolved, place)
    if left_out is None:
        return Before(own_id(installation, place), own=True)
    return Before(backup.config_id, own=False, warnings=left_out)


def own_id(installation: Installation, place: Place) -> str:
    """The id of the target's own configuration, the same each time."""
    return f"{PREFIX}{key_of(place, installation.host)[:12]}"


def make(
    installation: Installation, plan: RestorePlan, place: Place, *, cwd: Path, progress: Progress, tell: Tell
) -> str:
    """Makes the restore point; its public id. Raises what stops it, and Conflict when it failed."""
    config_id = plan.document["restorePoint"]["configId"]
    if plan.document["restorePoint"]["own"]:
        configurations.store(installation, _document(installation, plan, place, config_id))
    order = backups.Order(config_id, plan.identity, tags={"before": plan.public_id}, trigger="restore-point")
    done = backups.create(installation, order, cwd=cwd, progress=progress, tell=tell)
    if (done.run.result or {}).get("files", {}).get("unreadable"):
        raise Conflict(f"Not all of {plan.target} could be read and kept, so nothing was replaced.")
    if done.run.state in (SUCCEEDED, WARNING) and done.run.backup_id:
        return done.run.backup_id
    if done.error is not None:
        raise done.error
    raise Conflict(f"No restore point of {plan.target} could be made: {done.run.error}")


def _document(installation: Installation, plan: RestorePlan, place: Place, config_id: str) -> dict[str, Any]:
    """A configuration of this target alone, kept where the restore point is kept that it gets."""
    with installation.database.reading() as session:
        query = (
            select(Backup)
            .where(Backup.public_id == plan.backup_id)
            .options(selectinload(Backup.copies).selectinload(BackupCopy.destination))
        )
        backup = session.scalars(query).one()
        names = [
            copy.destination.name
            for copy in backup.copies
            if copy.state == PRESENT and copy.destination.deleted_at is None
        ]
    if not names:
        raise Conflict(
            f"No destination is left for a restore point of {plan.target}.", hint="Add one: `destination add`."
        )
    return {
        "id": config_id,
        "name": f"Before replacing {plan.target}"[:200],
        "type": "database" if isinstance(place, DatabasePlace) else "files",
        "sources": _sources(place),
        "retention": {"last": _KEPT},
        "destinations": [{"ref": name} for name in names],
    }


def _sources(place: Place) -> dict[str, Any]:
    if isinstance(place, DatabasePlace):
        return {"databases": [{"url": url_of(place.connection)}]}
    return {"paths": [{"path": place.target}]}


def _left_out(resolved: Resolved, place: Place) -> tuple[str, ...] | None:
    """None when the target is no source of the configuration; else what its backups of the target leave out."""
    if isinstance(place, FolderPlace):
        for folder in resolved.folders:
            if folder.path.resolve() == place.path:
                if not folder.exclude and folder.exclude_file is None:
                    return ()
                return (f"What {resolved.config_id} leaves out of its backups is gone from {place.target} then.",)
    if isinstance(place, DatabasePlace):
        for each in resolved.databases:
            if each.sqlite_path is None and _is_same(parse_url(each.url), place.connection):
                if not each.exclude_tables and not each.exclude_table_data:
                    return ()
                return (f"The tables that {resolved.config_id} leaves out of its backups are gone or empty then.",)
    return None


def _is_same(source: Connection, target: Connection) -> bool:
    """Whether the source is this database, or the whole server that it is on."""
    same_server = (source.host, source.port) == (target.host, target.port)
    return same_server and source.database in ("", target.database)

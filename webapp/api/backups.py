"""Backups made, looked at, verified, restored."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from webapp.api import documents
from webapp.api.endpoint import Answer, Call, Query, Routes
from webapp.api.schemas import BACKUP, OPEN, RUN, Age, Page, page, page_of, read_age, read_cursor
from webapp.clock import rfc3339
from webapp.errors import NotBuilt
from webapp.models import Run
from webapp.schema.configuration import BackupType
from webapp.schema.fields import Id, Label, Model
from webapp.services import configurations, history, records, stats, submit
from webapp.services.history import Wanted
from webapp.services.runs import NewRun

ROUTES = Routes()
_LOCATION = ("Location",)


class Create(Model):
    """What shall be backed up; `type` is that of this run alone."""

    config_id: Id
    type: BackupType | None = None
    tags: Annotated[dict[Label, Label], Field(default_factory=dict, max_length=64)]


class RestorePoint(Model):
    """A restore point on demand, with a name."""

    config_id: Id
    name: Label = "on demand"


class Verify(Model):
    """How much of the data is read back, in percent."""

    read_percent: Annotated[int, Field(ge=1, le=100)] = 100


_Target = Annotated[str, StringConstraints(min_length=1, max_length=4096)]


class Restore(Model):
    """Where to: a folder, or postgresql://host/database; none: new names beside the old ones."""

    target: _Target | Annotated[list[_Target], Field(max_length=16)] | None = None
    mode: Literal["new", "replace"] = "new"
    only: Annotated[list[_Target], Field(default_factory=list, max_length=1000)]
    verify: bool = False
    reason: Label | None = None


class Which(Page):
    """Which restore points."""

    config_id: Annotated[str, StringConstraints(max_length=64)] | None = None
    since: Age | None = None


class Period(Query):
    """How far back, and for which configuration."""

    since: Age = "30d"
    config_id: Annotated[str, StringConstraints(max_length=64)] | None = None


@ROUTES.add(
    "POST",
    "/create",
    permission="backups.create",
    body=Create,
    answer=RUN,
    status=202,
    errors=(404, 409),
    starts_work=True,
    headers=_LOCATION,
)
def create_backup(call: Call) -> Answer:
    """Starts a backup."""
    asked = call.body
    configurations.find(call.installation, asked.config_id)
    arguments: dict[str, Any] = {"tags": dict(asked.tags)}
    if asked.type is not None:
        arguments["type"] = asked.type
    new = NewRun("create", call.actor.identity, config_id=asked.config_id, type=asked.type, arguments=arguments)
    return started(submit.submit(call.installation, new))


@ROUTES.add(
    "POST",
    "/restore-point",
    permission="backups.create",
    body=RestorePoint,
    answer=RUN,
    status=202,
    errors=(404, 409),
    starts_work=True,
    headers=_LOCATION,
)
def create_restore_point(call: Call) -> Answer:
    """Makes a restore point now, before something big; its name is kept as the tag `name`."""
    asked = call.body
    configurations.find(call.installation, asked.config_id)
    arguments = {"tags": {"name": asked.name}}
    new = NewRun("create", call.actor.identity, config_id=asked.config_id, arguments=arguments, trigger="restore-point")
    return started(submit.submit(call.installation, new))


@ROUTES.add(
    "POST",
    "/verify/<backup_id>",
    permission="backups.verify",
    body=Verify,
    answer=RUN,
    status=202,
    errors=(404, 409),
    starts_work=True,
    headers=_LOCATION,
)
def verify_backup(call: Call) -> Answer:
    """Reads a restore point back, everywhere it is."""
    backup = records.find(call.installation, call.path["backup_id"])
    arguments = {"readPercent": call.body.read_percent}
    new = NewRun(
        "verify", call.actor.identity, config_id=backup.config_id, backup_id=backup.public_id, arguments=arguments
    )
    return started(submit.submit(call.installation, new))


@ROUTES.add(
    "POST",
    "/restore/<backup_id>",
    permission="backups.restore",
    body=Restore,
    answer=RUN,
    status=202,
    errors=(404, 409),
    starts_work=True,
    headers=_LOCATION,
)
def restore_backup(call: Call) -> Answer:
    """Restores to a new place. Nothing that exists is touched."""
    asked = call.body
    if asked.mode == "replace":
        raise NotBuilt("/mode: restores that replace are not built yet.")
    backup = records.find(call.installation, call.path["backup_id"])
    targets = [asked.target] if isinstance(asked.target, str) else list(asked.target or ())
    new = NewRun(
        "restore",
        call.actor.identity,
        config_id=backup.config_id,
        backup_id=backup.public_id,
        type=backup.type,
        arguments={"only": list(asked.only), "jobs": 1, "verify": asked.verify},
    )
    return started(submit.submit(call.installation, new, sealed={"targets": targets}))


@ROUTES.add("GET", "/backups", permission="overview.read", query=Which, answer=page_of(BACKUP), errors=(404,))
def list_backups(call: Call) -> Answer:
    """Restore points, newest first."""
    asked = call.query
    since = None if asked.since is None else call.installation.clock() - read_age(asked.since)
    wanted = Wanted(asked.config_id, since=since, before=read_cursor(asked.cursor), limit=asked.limit)
    found = page(history.backups(call.installation, wanted), asked.limit, lambda row: row.id)
    return Answer({**found, "items": [documents.backup(row) for row in found["items"]]})


@ROUTES.add("GET", "/backups/<backup_id>", permission="overview.read", answer=BACKUP, errors=(404,))
def get_backup(call: Call) -> Answer:
    """One restore point with its copies."""
    return Answer(documents.backup(records.find(call.installation, call.path["backup_id"])))


@ROUTES.add("GET", "/stats", permission="overview.read", query=Period, answer=OPEN, errors=(404,))
def get_stats(call: Call) -> Answer:
    """Figures of a period: success, duration, sizes."""
    asked = call.query
    found = stats.stats(call.installation, period=read_age(asked.since), config_id=asked.config_id)
    runs, sizes = found.runs, found.bytes
    return Answer(
        {
            "since": rfc3339(found.since),
            "configId": asked.config_id,
            "runs": {
                "total": sum(runs.by_status.values()),
                "byStatus": runs.by_status,
                "successRate": runs.success_rate,
                "durationSeconds": {"p50": runs.duration_p50, "p95": runs.duration_p95},
            },
            "bytes": {
                "backups": sizes.backups,
                "total": sizes.total,
                "read": sizes.read,
                "new": sizes.new,
                "stored": sizes.stored,
            },
        }
    )


def started(run: Run) -> Answer:
    """The answer of everything that takes long: the run, and where to look after it."""
    return Answer(documents.run(run), 202, {"Location": f"/api/backup/runs/{run.public_id}"})

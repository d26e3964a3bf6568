"""Backups made, looked at, verified, kept."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from webapp.api import documents
from webapp.api.endpoint import Answer, Call, Query, Routes
from webapp.api.schemas import (
    BACKUP,
    OPEN,
    RUN,
    Age,
    Moment,
    Page,
    page,
    page_of,
    read_age,
    read_cursor,
    read_moment,
)
from webapp.models import Run
from webapp.schema.configuration import BackupType
from webapp.schema.fields import Id, Label, Model
from webapp.services import audit, history, pins, records, stats, submit
from webapp.services.access import require
from webapp.services.history import Wanted
from webapp.services.repositories import silent

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


class Pin(Model):
    """Why it stays, and until when (RFC 3339; none: until the pin is taken away)."""

    reason: Label = pins.PINNED
    until_at: Moment | None = None


class Which(Page):
    """Which restore points."""

    config_id: Annotated[str, StringConstraints(max_length=64)] | None = None
    since: Age | None = None


class Period(Query):
    """How far back, and for which configuration. `destinations`: also what lies where now, which asks each of them and
    takes as long as they do; for admins."""

    since: Age = "30d"
    destinations: bool = False
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
    run = submit.backup(call.installation, call.actor.identity, asked.config_id, as_type=asked.type, tags=asked.tags)
    return started(run)


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
    tags, who = {"name": asked.name}, call.actor.identity
    return started(submit.backup(call.installation, who, asked.config_id, tags=tags, trigger="restore-point"))


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
    who, percent = call.actor.identity, call.body.read_percent
    return started(submit.verification(call.installation, who, backup, read_percent=percent))


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


@ROUTES.add(
    "POST",
    "/backups/<backup_id>/pin",
    permission="backups.hold",
    body=Pin,
    answer=BACKUP,
    errors=(404, 409, 503),
)
def pin_backup(call: Call) -> Answer:
    """Keeps a restore point whatever the retention says; one in the trash is brought back."""
    asked, actor = call.body, call.actor
    until_at = read_moment(asked.until_at, "/untilAt")
    made = pins.pin(
        call.installation,
        call.path["backup_id"],
        identity=actor.identity,
        reason=asked.reason,
        until_at=until_at,
        tell=silent,
    )
    public_id = made.backup.public_id
    after = {"reason": asked.reason, "untilAt": until_at}
    audit.add(call.installation, actor, "backup.pinned", public_id, after=after)
    return Answer(documents.backup(records.find(call.installation, public_id)))


@ROUTES.add("DELETE", "/backups/<backup_id>/pin", permission="backups.hold", answer=None, status=204, errors=(404,))
def unpin_backup(call: Call) -> Answer:
    """Takes the pin away: the retention decides again."""
    backup, hold = pins.unpin(call.installation, call.path["backup_id"])
    before = {"reason": hold.reason, "untilAt": hold.until_at}
    audit.add(call.installation, call.actor, "backup.unpinned", backup.public_id, before=before)
    return Answer(None, 204)


@ROUTES.add("GET", "/stats", permission="overview.read", query=Period, answer=OPEN, errors=(404,))
def get_stats(call: Call) -> Answer:
    """Figures of a period: success, duration, sizes, days, destinations."""
    asked = call.query
    if asked.destinations:
        require(call.actor, "destinations.read")
    period = read_age(asked.since)
    found = stats.stats(call.installation, period=period, config_id=asked.config_id, look=asked.destinations)
    return Answer(stats.document(found, asked.config_id))


def started(run: Run) -> Answer:
    """The answer of everything that takes long: the run, and where to look after it."""
    return Answer(documents.run(run), 202, {"Location": f"/api/backup/runs/{run.public_id}"})

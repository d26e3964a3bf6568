"""Destinations: who knows where backups are kept may read their settings, which hold no secrets."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from webapp.api.backups import started
from webapp.api.endpoint import Answer, Call, Routes
from webapp.api.schemas import FLAG, OPEN, RUN, TEXT, TIME, listed, or_null, record
from webapp.errors import Fault, Faulty, NotFound
from webapp.models import Destination
from webapp.schema import kinds
from webapp.schema.fields import Label, Model
from webapp.schema.redact import settings_without_secrets
from webapp.services import audit, destinations, submit
from webapp.services.repositories import silent
from webapp.services.runs import NewRun

ROUTES = Routes()
DESTINATION = record(
    id=TEXT, name=TEXT, type=TEXT, settings=OPEN, sealed=FLAG, repositoryId=or_null(TEXT), createdAt=TIME
)


class NewDestination(Model):
    """A place to keep backups. `config` depends on the type; its secrets are sealed and never shown."""

    name: Label
    type: Label
    config: Annotated[dict[str, Any], Field(max_length=50)]


class Sync(Model):
    """Whether everything there is read back first, and what is damaged made good."""

    repair: bool = False


@ROUTES.add(
    "GET",
    "/destinations",
    permission="overview.read",
    answer=record(items=listed(record(id=TEXT, name=TEXT, type=TEXT)), nextCursor=or_null(TEXT)),
)
def list_destinations(call: Call) -> Answer:
    """All destinations: their names and types."""
    found = destinations.listing(call.installation)
    items = [{"id": str(each.id), "name": each.name, "type": each.kind} for each in found]
    return Answer({"items": items, "nextCursor": None})


@ROUTES.add(
    "POST",
    "/destinations",
    permission="destinations.edit",
    body=NewDestination,
    answer=DESTINATION,
    status=201,
    errors=(404, 409, 503),
    headers=("Location",),
)
def add_destination(call: Call) -> Answer:
    """Adds a destination and makes its repository, or takes over the one of this installation that is there."""
    asked = call.body
    if asked.type not in kinds.names():
        raise Faulty("The body does not fit.", [Fault("/type", f"must be one of {', '.join(kinds.names())}.")])
    known = kinds.field_types(asked.type)
    unknown = [key for key in asked.config if kinds.inside(key) not in known]
    if unknown:
        raise Faulty("The body does not fit.", [Fault(f"/config/{key}", "is not known here.") for key in unknown])
    added = destinations.add(call.installation, asked.name, asked.type, asked.config, tell=silent)
    made = added.destination
    after = {"name": made.name, "type": made.kind}
    audit.add(call.installation, call.actor, "destination.added", str(made.id), after=after)
    found = destinations.find(call.installation, made.name)
    return Answer(_document(found), 201, {"Location": f"/api/backup/destinations/{found.id}"})


@ROUTES.add("GET", "/destinations/<destination_id>", permission="destinations.read", answer=DESTINATION, errors=(404,))
def get_destination(call: Call) -> Answer:
    """One destination with its settings, without secrets."""
    return Answer(_document(_find(call)))


@ROUTES.add(
    "POST",
    "/destinations/<destination_id>/test",
    permission="destinations.read",
    answer=record(ok=FLAG, steps=listed(record(ok=FLAG, needed=FLAG, detail=TEXT)), warnings=listed(TEXT)),
    errors=(404, 409, 503),
)
def test_destination(call: Call) -> Answer:
    """Whether the place keeps the promises that backups rely on; nothing of the repository is touched."""
    report = destinations.test(call.installation, _find(call))
    steps = [{"ok": step.ok, "needed": step.is_needed, "detail": step.detail or ""} for step in report.steps]
    good = all(step["ok"] for step in steps if step["needed"])
    return Answer({"ok": good, "steps": steps, "warnings": list(report.warnings)})


@ROUTES.add(
    "POST",
    "/destinations/<destination_id>/sync",
    permission="destinations.edit",
    body=Sync,
    answer=RUN,
    status=202,
    errors=(404, 409),
    starts_work=True,
    headers=("Location",),
)
def sync_destination(call: Call) -> Answer:
    """Copies there the restore points that it missed; with `repair` also makes good what is damaged there."""
    arguments = {"target": _find(call).name, "repair": call.body.repair}
    return started(submit.submit(call.installation, NewRun("sync", call.actor.identity, arguments=arguments)))


def _find(call: Call) -> Destination:
    wanted = call.path["destination_id"]
    for each in destinations.listing(call.installation):
        if str(each.id) == wanted:
            return each
    raise NotFound(f"There is no destination {wanted}.", hint="GET /api/backup/destinations lists them.")


def _document(row: Destination) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "name": row.name,
        "type": row.kind,
        "settings": settings_without_secrets(row.kind, row.settings),
        "sealed": row.sealed is not None,
        "repositoryId": row.repository_id,
        "createdAt": row.created_at,
    }

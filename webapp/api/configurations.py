"""Configurations: read, made, changed, deleted, tried."""

from __future__ import annotations

import re
from typing import Annotated, Any

from flask import request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from webapp.api import documents
from webapp.api.endpoint import Answer, Call, Query, Routes
from webapp.api.schemas import (
    CONFIGURATION,
    COUNT,
    FLAG,
    OPEN,
    TEXT,
    TIME,
    Page,
    listed,
    or_null,
    page,
    read_cursor,
    record,
)
from webapp.errors import Fault, Faulty
from webapp.schema import times
from webapp.schema.fields import Id, Model
from webapp.services import configurations, history, schedules, trials
from webapp.services.repositories import silent

ROUTES = Routes()
_VERSION = re.compile(r'(?:W/)?"(\d{1,9})"')
_LISTED = record(items=listed(CONFIGURATION), nextCursor=or_null(TEXT))


class Document(BaseModel):
    """A backup configuration; configs/schema.json says all of it, and it is checked against that."""

    model_config = ConfigDict(extra="allow")
    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
    name: str


class WhichConfiguration(Model):
    """A stored configuration."""

    config_id: Id


class Expression(Query):
    """A schedule to look at."""

    cron: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    timezone: Annotated[str, StringConstraints(min_length=1, max_length=100)] = "UTC"
    count: Annotated[int, Field(ge=1, le=50)] = 5


@ROUTES.add("GET", "/configs", permission="overview.read", query=Page, answer=_LISTED)
def list_configs(call: Call) -> Answer:
    """All configurations, by id, without their secrets."""
    first, limit = read_cursor(call.query.cursor) or 0, call.query.limit
    numbered = list(enumerate(configurations.listing(call.installation), 1))[first : first + limit + 1]
    found = page(numbered, limit, lambda each: each[0])
    known = history.schedules(call.installation)
    items = [
        documents.configuration(call.installation, call.actor, each, known.get(each.id)) for _, each in found["items"]
    ]
    return Answer({**found, "items": items})


@ROUTES.add(
    "POST",
    "/configs",
    permission="configurations.edit",
    body=Document,
    answer=CONFIGURATION,
    status=201,
    errors=(409,),
    headers=("Location", "ETag"),
)
def create_config(call: Call) -> Answer:
    """Stores a new configuration."""
    made = configurations.create(call.installation, call.actor, call.document)
    return _answer(call, made, 201, {"Location": f"/api/backup/configs/{made.id}"})


@ROUTES.add(
    "GET",
    "/configs/<config_id>",
    permission="overview.read",
    answer=CONFIGURATION,
    errors=(404,),
    headers=("ETag",),
)
def get_config(call: Call) -> Answer:
    """One configuration, without its secrets."""
    return _answer(call, configurations.find(call.installation, call.path["config_id"]))


@ROUTES.add(
    "PUT",
    "/configs/<config_id>",
    permission="configurations.edit",
    body=Document,
    answer=CONFIGURATION,
    errors=(404, 409, 412),
    headers=("ETag",),
)
def change_config(call: Call) -> Answer:
    """Changes a configuration. With If-Match only while nobody else has; what reads (hidden) stays as it was."""
    version = _expected_version()
    changed = configurations.replace(
        call.installation, call.actor, call.path["config_id"], call.document, version=version
    )
    return _answer(call, changed)


@ROUTES.add(
    "DELETE",
    "/configs/<config_id>",
    permission="configurations.edit",
    answer=record(configId=TEXT, result=TEXT, backupsKept=COUNT),
    errors=(404, 409, 412),
)
def delete_config(call: Call) -> Answer:
    """Deletes a configuration. Its restore points stay; the answer counts them."""
    config_id = call.path["config_id"]
    deleted = configurations.delete(call.installation, config_id, actor=call.actor, version=_expected_version())
    return Answer({"configId": config_id, "result": "deleted", "backupsKept": deleted.backups})


@ROUTES.add("GET", "/configs/<config_id>/export", permission="destinations.read", answer=OPEN, errors=(404,))
def export_config(call: Call) -> Answer:
    """The document alone, without its secrets, to be imported elsewhere."""
    return Answer(configurations.shown(configurations.find(call.installation, call.path["config_id"])))


@ROUTES.add(
    "POST",
    "/configs/import",
    permission="configurations.edit",
    body=Document,
    answer=record(configId=TEXT, result={"type": "string", "enum": ["created", "updated", "unchanged"]}),
    errors=(409,),
)
def import_config(call: Call) -> Answer:
    """Stores a document under its id: a new configuration, or a new version of the one that is there."""
    stored = configurations.store(call.installation, call.document, actor=call.actor)
    result = "created" if stored.created else "updated" if stored.changed else "unchanged"
    return Answer({"configId": stored.configuration.id, "result": result})


@ROUTES.add(
    "POST",
    "/configs/test",
    permission="configurations.test",
    body=WhichConfiguration,
    answer=record(
        ok=FLAG,
        findings=listed(
            record(pointer=TEXT, what=TEXT, ok=FLAG, detail=TEXT, error=or_null(TEXT), warnings=listed(TEXT))
        ),
    ),
    errors=(404, 503),
)
def test_config(call: Call) -> Answer:
    """Connects to the sources and destinations of a stored configuration; nothing is backed up."""
    home = call.installation.settings.home
    found = trials.trial(call.installation, call.body.config_id, cwd=home, tell=silent)
    findings: list[dict[str, Any]] = [
        {
            "pointer": each.pointer,
            "what": each.what,
            "ok": each.error is None,
            "detail": each.detail,
            "error": each.error,
            "warnings": list(each.warnings),
        }
        for each in found
    ]
    return Answer({"ok": all(each["ok"] for each in findings), "findings": findings})


@ROUTES.add("GET", "/schedule/preview", permission="overview.read", query=Expression, answer=record(times=listed(TIME)))
def preview_schedule(call: Call) -> Answer:
    """When a schedule would run next."""
    asked = call.query
    faults = [("/cron", times.cron_fault(asked.cron)), ("/timezone", times.zone_fault(asked.timezone))]
    wrong = [Fault(pointer, detail) for pointer, detail in faults if detail]
    if wrong:
        raise Faulty("The query does not fit.", wrong)
    now = call.installation.clock()
    return Answer({"times": schedules.preview(asked.cron, asked.timezone, now, asked.count)})


def _answer(call: Call, found: Any, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    tag = {"ETag": f'"{found.version}"'}
    return Answer(documents.configuration(call.installation, call.actor, found), status, {**tag, **(headers or {})})


def _expected_version() -> int | None:
    typed = request.headers.get("If-Match", "").strip()
    if typed in ("", "*"):
        return None
    match = _VERSION.fullmatch(typed)
    if match is None:
        raise Faulty("The request does not fit.", [Fault("/If-Match", "is not an ETag that was given.")])
    return int(match[1])

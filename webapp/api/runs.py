"""Runs: followed, listed, stopped; and what applies retention."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from engine.progress import Silent
from webapp.api import documents
from webapp.api.backups import started
from webapp.api.endpoint import Answer, Call, Query, Routes
from webapp.api.schemas import (
    COUNT,
    OPEN,
    RUN,
    TEXT,
    TIME,
    Age,
    Page,
    listed,
    or_null,
    page,
    page_of,
    read_age,
    read_cursor,
    record,
)
from webapp.errors import Forbidden
from webapp.models import Run
from webapp.schema.fields import Id, Model
from webapp.services import (
    cleanup_documents,
    cleanup_plans,
    cleanup_requests,
    history,
    restore_points,
    run_lines,
    runs,
    submit,
)
from webapp.services.history import Wanted
from webapp.services.repositories import silent
from webapp.services.runs import NewRun

ROUTES = Routes()
LONGEST_WAIT = 30
Status = Literal["queued", "running", "succeeded", "warning", "failed", "cancelled", "interrupted"]
Kind = Literal["create", "restore", "verify", "cleanup", "sync", "restore-point", "export"]


class Which(Page):
    """Which runs."""

    status: Status | None = None
    kind: Kind | None = None
    since: Age | None = None


class Wait(Query):
    """How many seconds to wait for the end."""

    wait: Annotated[int, Field(ge=0, le=LONGEST_WAIT)] = 0


class After(Query):
    """The number of the last line that is known."""

    after: Annotated[int, Field(ge=0, le=1 << 31)] = 0


class Cleanup(Model):
    """Which configuration (none: all); `confirm` are those whose questions were seen; `now` waits for nothing."""

    config_id: Id | None = None
    now: bool = False
    confirm: Annotated[
        list[Annotated[str, StringConstraints(max_length=64)]], Field(default_factory=list, max_length=1000)
    ]


class OneConfiguration(Query):
    """Which configuration; none: all."""

    config_id: Annotated[str, StringConstraints(max_length=64)] | None = None


@ROUTES.add("GET", "/history", permission="overview.read", query=Which, answer=page_of(RUN))
def list_history(call: Call) -> Answer:
    """Runs, newest first."""
    return _history(call, None)


@ROUTES.add("GET", "/history/<config_id>", permission="overview.read", query=Which, answer=page_of(RUN), errors=(404,))
def list_history_of(call: Call) -> Answer:
    """Runs of a configuration, newest first."""
    return _history(call, call.path["config_id"])


@ROUTES.add("GET", "/runs/<run_id>", permission="overview.read", query=Wait, answer=RUN, errors=(404, 409))
def get_run(call: Call) -> Answer:
    """One run; with ?wait it answers when the run has ended, or after so many seconds."""
    run = runs.find(call.installation, call.path["run_id"])
    if call.query.wait:
        run = runs.wait(call.installation, run.public_id, call.query.wait)
    return Answer(_whole(call, run))


@ROUTES.add("POST", "/runs/<run_id>/cancel", permission="runs.cancel", answer=RUN, status=202, errors=(404, 409))
def cancel_run(call: Call) -> Answer:
    """Asks a run to stop."""
    run = runs.request_cancel(call.installation, call.path["run_id"], actor=call.actor)
    return Answer(_whole(call, runs.fetch(call.installation, run.id)), 202)


@ROUTES.add(
    "GET",
    "/runs/<run_id>/log",
    permission="overview.read",
    query=After,
    answer=record(lines=listed(record(number=COUNT, at=TIME, text=TEXT))),
    errors=(404, 409),
)
def get_log(call: Call) -> Answer:
    """What a run told."""
    run = runs.find(call.installation, call.path["run_id"])
    found = run_lines.after(call.installation, run.id, call.query.after)
    return Answer({"lines": [{"number": each.position, "at": each.at, "text": each.text} for each in found]})


@ROUTES.add(
    "POST",
    "/retention/apply",
    permission="retention.apply",
    body=Cleanup,
    answer=RUN,
    status=202,
    errors=(404, 409, 503),
    starts_work=True,
    headers=("Location",),
)
def apply_retention(call: Call) -> Answer:
    """Applies retention, then frees space. Deleting at once needs a super_admin. A confirmation is for what would go
    now: if more would go when the run begins, nothing of that configuration is removed."""
    asked = call.body
    if asked.now and not call.actor.may("retention.delete_now"):
        raise Forbidden("The role super_admin is needed to delete at once.", hint="Leave `now` out.")
    if asked.config_id is not None:
        restore_points.require_series(call.installation, asked.config_id)
    order = cleanup_plans.Order(call.actor.identity, asked.config_id, at_once=asked.now)
    plan = cleanup_plans.Plan(order)
    if asked.confirm:
        plan = cleanup_plans.plan(call.installation, order, progress=Silent(), tell=silent)
    arguments = cleanup_requests.arguments(plan, confirmed=asked.confirm)
    new = NewRun("cleanup", call.actor.identity, config_id=asked.config_id, arguments=arguments)
    return started(submit.submit(call.installation, new))


@ROUTES.add(
    "GET",
    "/retention/preview",
    permission="overview.read",
    query=OneConfiguration,
    answer=record(configId=or_null(TEXT), configurations=listed(OPEN), destinations=listed(OPEN)),
    errors=(404, 409, 503),
)
def preview_retention(call: Call) -> Answer:
    """What applying retention would do: each restore point at each destination, kept or not, why, and the bytes."""
    order = cleanup_plans.Order(call.actor.identity, call.query.config_id)
    plan = cleanup_plans.plan(call.installation, order, progress=Silent(), tell=silent)
    return Answer(cleanup_documents.document(plan))


def _history(call: Call, config_id: str | None) -> Answer:
    asked = call.query
    since = None if asked.since is None else call.installation.clock() - read_age(asked.since)
    wanted = Wanted(config_id, asked.kind, asked.status, since, read_cursor(asked.cursor), asked.limit)
    found = page(history.runs(call.installation, wanted), asked.limit, lambda row: row.id)
    return Answer({**found, "items": [documents.run(row) for row in found["items"]]})


def _whole(call: Call, run: Run) -> dict[str, object]:
    return documents.run(run, runs.problems(call.installation, run.id))

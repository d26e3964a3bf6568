"""Runs: what failed, and one of them while it works."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

from flask import Blueprint, Response, abort, flash, g, redirect, render_template, request, url_for

from webapp.errors import Busy, NotFound
from webapp.extensions import installation
from webapp.models import Run
from webapp.models.run import KINDS, QUEUED, STATES
from webapp.security import needs
from webapp.services import history, retries, run_exports, run_lines, run_phases, runs, waiting
from webapp.services.access import require
from webapp.views import run_filters
from webapp.views.frame import undo
from webapp.views.run_filters import FAILED_FIRST, TRIGGERS, TYPES, Filters
from webapp.views.streams import as_file, fragment

pages = Blueprint("runs", __name__, url_prefix="/runs")
_SHOWN = 50
_COUNTED = 10_000
_LINES = 100


@pages.get("")
@needs("overview.read")
def index() -> Any:
    """Runs, newest first; the filters are in the address, and the same address gives CSV and JSON."""
    own = installation()
    asked = run_filters.read(request.args, own.settings.timezone)
    found: list[Run] = []
    total = 0
    if not asked.faults:
        try:
            found = history.runs(own, asked.wanted(limit=_SHOWN))
        except NotFound as error:
            asked.faults["backup"] = f"{error.message}"
    if asked.faults:
        return _list(asked, found, total), 400
    if request.args.get("format"):
        return _exported(asked, request.args["format"])
    total = history.count_runs(own, asked.wanted(limit=_SHOWN), at_most=_COUNTED + 1)
    return _list(asked, found, total)


@pages.get("/<run_id>")
@needs("overview.read")
def show(run_id: str) -> Any:
    """One run with its steps and its log."""
    run = runs.find(installation(), run_id)
    if request.args.get("level", run_lines.INFO) not in run_lines.LEVELS or not _is_line(request.args.get("line")):
        abort(400, f"There is no such part of the log. Levels: {', '.join(run_lines.LEVELS)}.")
    return render_template("dashboard/run.html", **_details(run))


@pages.get("/<run_id>/live")
@needs("overview.read")
def live(run_id: str) -> Response:
    """The part of the page that changes; 304 when it did not, 286 when the run has ended."""
    run = runs.find(installation(), run_id)
    if not _is_line(request.args.get("line")):
        abort(400, "There is no such line.")
    return fragment(render_template("dashboard/_run.html", **_details(run)), is_over=not run.is_active)


@pages.get("/<run_id>/log")
@needs("overview.read")
def log(run_id: str) -> Response:
    """Every line of the log, and the error, as a text."""
    run = runs.find(installation(), run_id)
    return as_file(_text(run), f"{run.public_id}.log", "text/plain")


@pages.post("/<run_id>/cancel")
@needs("runs.cancel")
def cancel(run_id: str) -> Any:
    """Asks it to stop. One that waits is cancelled at once, which can be undone by asking again."""
    run = runs.request_cancel(installation(), run_id, actor=g.actor)
    here = url_for("runs.show", run_id=run.public_id)
    if run.state == QUEUED and run.kind in retries.NEEDED:
        undo("The run was taken out of the queue; it had not begun.", url_for("runs.retry", run_id=run.public_id))
        return redirect(here)
    flash(f"It was asked to stop, and does so within seconds. {waiting.what_stays(run)}".strip())
    return redirect(here)


@pages.post("/<run_id>/retry")
@needs("backups.create")
def retry(run_id: str) -> Any:
    """The same once more."""
    own = installation()
    require(g.actor, retries.NEEDED.get(runs.find(own, run_id).kind, "backups.create"))
    try:
        started = retries.repeat(own, g.actor.identity, run_id)
    except Busy as busy:
        flash(str(busy))
        return redirect(url_for("runs.show", run_id=busy.run_id))
    return redirect(url_for("runs.show", run_id=started.public_id))


def _list(asked: Filters, found: list[Run], total: int) -> str:
    shown = found[:_SHOWN]
    following = None
    if len(found) > _SHOWN:
        following = {**asked.values, "before": found[_SHOWN - 1].id, "first": asked.first + _SHOWN}
    own = installation()
    today = own.clock().astimezone(ZoneInfo(own.settings.timezone)).date()
    return render_template(
        "dashboard/runs.html",
        runs=shown,
        asked=asked,
        following=following,
        total=total,
        counted=_COUNTED,
        choices={"status": STATES, "kind": KINDS, "type": TYPES, "trigger": TRIGGERS},
        views=(
            ("All", {}),
            ("Failed first", {"sort": FAILED_FIRST}),
            ("Restores", {"kind": "restore"}),
            ("Today", {"from": today.isoformat()}),
            ("Last 7 days", {"from": (today - timedelta(days=6)).isoformat()}),
        ),
    )


def _exported(asked: Filters, form: str) -> Response:
    rows = (run_exports.values(run) for run in history.every_run(installation(), asked.wanted(limit=_SHOWN)))
    if form not in ("csv", "json"):
        abort(400, "The list comes as csv or json.")
    if form == "csv":
        return as_file(run_exports.csv_of(rows, run_exports.COLUMNS), "runs.csv", "text/csv")
    return as_file(run_exports.json_of(rows, run_exports.COLUMNS), "runs.json", "application/json")


def _details(run: Run) -> dict[str, Any]:
    own = installation()
    phases = run_phases.of(own, run.id)
    level, line = request.args.get("level", run_lines.INFO), request.args.get("line")
    first = max(1, int(line) - _LINES // 2) if line else None
    return {
        "run": run,
        "steps": run_phases.steps(own, run, phases),
        "pace": run_phases.pace(run, phases[-1] if phases else None),
        "phase": phases[-1] if phases else None,
        "lines": run_lines.tail(own, run.id, count=_LINES, wanted=level, first=first),
        "level": level,
        "level_of": run_lines.level,
        "line": line,
        "queue": waiting.place(own, run),
        "repeated": retries.repeated_by(own, run) if retries.can_repeat(run) else None,
        "can_repeat": retries.can_repeat(run) and g.actor.may(retries.NEEDED[run.kind]),
        "problems": runs.problems(own, run.id) if run.problem_count else [],
        "now": own.clock(),
    }


def _is_line(text: str | None) -> bool:
    return text is None or (text.isascii() and text.isdecimal() and 0 < int(text[:9]) <= run_lines.KEPT_LINES)


def _text(run: Run) -> Iterator[str]:
    for line in run_lines.after(installation(), run.id):
        yield f"{line.at:%Y-%m-%dT%H:%M:%SZ} {line.text}\n"
    if run.error:
        yield f"{run.error} {run.hint or ''}".rstrip() + "\n"

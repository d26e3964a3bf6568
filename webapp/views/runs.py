"""Runs: what failed, and one of them while it works."""

from __future__ import annotations

import hashlib
from typing import Any

from flask import Blueprint, Response, abort, flash, g, make_response, redirect, render_template, request, url_for

from webapp.extensions import installation
from webapp.models.run import KINDS, STATES
from webapp.security import needs
from webapp.services import history, run_lines, runs
from webapp.services.history import Wanted

pages = Blueprint("runs", __name__, url_prefix="/runs")
_SHOWN = 50
_STOP = 286
"""The status by which a fragment says that it changes no more."""


@pages.get("")
@needs("overview.read")
def index() -> str:
    """Runs, newest first; the filters are in the address."""
    asked = {name: request.args.get(name) or None for name in ("status", "kind", "backup")}
    before = request.args.get("before")
    if asked["status"] not in (None, *STATES) or asked["kind"] not in (None, *KINDS):
        abort(400, f"There is no such filter. States: {', '.join(STATES)}. Kinds: {', '.join(KINDS)}.")
    if before is not None and not (before.isdecimal() and len(before) < 19):
        abort(400, "The page to go on from is not one. Begin at the first page.")
    wanted = Wanted(
        asked["backup"], asked["kind"], asked["status"], before=int(before) if before else None, limit=_SHOWN
    )
    found = history.runs(installation(), wanted)
    following = found[_SHOWN - 1].id if len(found) > _SHOWN else None
    return render_template(
        "dashboard/runs.html", runs=found[:_SHOWN], following=following, asked=asked, states=STATES, kinds=KINDS
    )


@pages.get("/<run_id>")
@needs("overview.read")
def show(run_id: str) -> str:
    """One run with its log."""
    run = runs.find(installation(), run_id)
    return render_template("dashboard/run.html", run=run, **_details(run))


@pages.get("/<run_id>/live")
@needs("overview.read")
def live(run_id: str) -> Response:
    """The part of the page that changes; 304 when it did not, 286 when the run has ended."""
    run = runs.find(installation(), run_id)
    response = make_response(render_template("dashboard/_run.html", run=run, **_details(run)))
    response.set_etag(hashlib.sha256(response.get_data()).hexdigest()[:32])
    response.headers["Cache-Control"] = "no-cache"
    if not run.is_active:
        response.status_code = _STOP
        return response
    response.make_conditional(request)
    return response


@pages.post("/<run_id>/cancel")
@needs("runs.cancel")
def cancel(run_id: str) -> Any:
    """Asks it to stop."""
    run = runs.request_cancel(installation(), run_id, actor=g.actor)
    is_backup = run.kind == "create"
    flash(f"It was asked to stop.{' What it has stored stays, and the next run uses it.' if is_backup else ''}")
    return redirect(url_for("runs.show", run_id=run_id))


def _details(run: Any) -> dict[str, Any]:
    return {
        "lines": run_lines.after(installation(), run.id),
        "problems": runs.problems(installation(), run.id),
        "now": installation().clock(),
    }

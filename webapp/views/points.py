"""Restore points: how far back one can go, and where each lies."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, abort, g, redirect, render_template, request, url_for

from webapp.extensions import installation
from webapp.security import needs
from webapp.services import history, records, restore_points, submit
from webapp.services.history import Wanted

pages = Blueprint("points", __name__, url_prefix="/restore-points")
_SHOWN = 50


@pages.get("")
@needs("overview.read")
def index() -> str:
    """Restore points, newest first."""
    config_id, before = request.args.get("backup") or None, request.args.get("before")
    if before is not None and not (before.isdecimal() and len(before) < 19):
        abort(400, "The page to go on from is not one. Begin at the first page.")
    wanted = Wanted(config_id, before=int(before) if before else None, limit=_SHOWN)
    found = history.backups(installation(), wanted)
    following = found[_SHOWN - 1].id if len(found) > _SHOWN else None
    return render_template(
        "dashboard/points.html", points=found[:_SHOWN], following=following, config_id=config_id, **_WORDS
    )


@pages.get("/<backup_id>")
@needs("overview.read")
def show(backup_id: str) -> str:
    """One restore point: what it holds, where it lies, when it was checked."""
    return render_template("dashboard/point.html", point=records.find(installation(), backup_id), **_WORDS)


@pages.post("/<backup_id>/verify")
@needs("backups.verify")
def verify(backup_id: str) -> Any:
    """Reads it back in full, in the background."""
    point = records.find(installation(), backup_id)
    started = submit.verification(installation(), g.actor.identity, point)
    return redirect(url_for("runs.show", run_id=started.public_id))


_WORDS = {"status_of": restore_points.condition, "verified_at": restore_points.verified_at}

"""Restore points: how far back one can go, where each lies, why it stays, and what a damaged one is still good for."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from flask import Blueprint, abort, flash, g, redirect, render_template, request, url_for

from webapp.errors import NotFound
from webapp.extensions import installation
from webapp.forms.days import NO_DAY, day_of, midnight
from webapp.models import Backup, Configuration
from webapp.security import needs
from webapp.services import audit, pins, point_facts, records, restore_points, submit
from webapp.services.restore_points import STATES, Filter
from webapp.views.frame import undo
from webapp.views.heat import heat

pages = Blueprint("points", __name__, url_prefix="/restore-points")
_SHOWN = 25


@pages.get("")
@needs("overview.read")
def index() -> str:
    """Restore points, newest first; the filters are in the address."""
    own, asked = installation(), _asked()
    found = restore_points.page(own, asked, limit=_SHOWN)
    points = found[:_SHOWN]
    configuration = point_facts.configuration_of(own, asked.config_id)
    days = point_facts.calendar(own, configuration, config_id=asked.config_id)
    return render_template(
        "dashboard/points.html",
        points=points,
        following=points[-1].id if len(found) > _SHOWN else None,
        asked=asked,
        args={name: value for name, value in request.args.items() if name != "before" and value},
        days=days,
        heat=heat(days),
        kept=_kept(points, configuration),
        states=STATES,
        **_WORDS,
    )


@pages.get("/<backup_id>")
@needs("overview.read")
def show(backup_id: str) -> str:
    """One restore point: what it holds, where it lies, when it was checked, and why it stays."""
    point = records.find(installation(), backup_id)
    damage = point_facts.damage(installation(), point)
    configuration = point_facts.configuration_of(installation(), point.config_id)
    kept = _kept([point], configuration).get(point.public_id, "")
    return render_template("dashboard/point.html", point=point, damage=damage, kept=kept, **_WORDS)


@pages.get("/<backup_id>/")
@needs("backups.browse")
def inside(backup_id: str) -> Any:
    """Its contents, as the address with a slash says."""
    return redirect(url_for("contents.files", backup_id=backup_id))


@pages.post("/<backup_id>/verify")
@needs("backups.verify")
def verify(backup_id: str) -> Any:
    """Reads it back in full, in the background."""
    point = records.find(installation(), backup_id)
    started = submit.verification(installation(), g.actor.identity, point)
    return redirect(url_for("runs.show", run_id=started.public_id))


@pages.post("/<backup_id>/pin")
@needs("backups.hold")
def pin(backup_id: str) -> Any:
    """Keeps it whatever the retention says."""
    reason = request.values.get("reason", "").strip() or pins.PINNED
    told: list[str] = []
    made = pins.pin(installation(), backup_id, identity=g.actor.identity, reason=reason, tell=told.append)
    audit.add(installation(), g.actor, "backup.pinned", made.backup.public_id, after={"reason": reason})
    for text in told:
        flash(text)
    undo("It is pinned: no clean-up removes it.", url_for("points.unpin", backup_id=made.backup.public_id))
    return redirect(url_for("points.show", backup_id=made.backup.public_id), 303)


@pages.post("/<backup_id>/unpin")
@needs("backups.hold")
def unpin(backup_id: str) -> Any:
    """Takes the pin away."""
    try:
        backup, hold = pins.unpin(installation(), backup_id)
    except NotFound as error:
        flash(error.message)
        return redirect(url_for("points.show", backup_id=backup_id), 303)
    audit.add(installation(), g.actor, "backup.unpinned", backup.public_id, before={"reason": hold.reason})
    again = url_for("points.pin", backup_id=backup.public_id, reason=hold.reason)
    undo("The pin is gone: the next clean-up may remove it.", again)
    return redirect(url_for("points.show", backup_id=backup.public_id), 303)


def _asked() -> Filter:
    """The filters of the address. Aborts with 400 for one that is none."""
    args = request.args
    before, state = args.get("before"), args.get("state") or None
    if before is not None and not (before.isdecimal() and len(before) < 19):
        abort(400, "The page to go on from is not one. Begin at the first page.")
    if state not in (None, *STATES):
        abort(400, f"There is no such filter. States: {', '.join(STATES)}.")
    since, until = _midnight("from"), _midnight("to", days=1)
    return Filter(args.get("backup") or None, state, since, until, int(before) if before else None)


def _midnight(name: str, *, days: int = 0) -> datetime | None:
    text = request.args.get(name)
    if not text:
        return None
    day = day_of(text)
    if day is None:
        abort(400, f"{name} {NO_DAY}")
    return midnight(day, ZoneInfo(installation().settings.timezone), days=days)


def _kept(points: list[Backup], configuration: Configuration | None) -> Any:
    if configuration is None or not points:
        return {}
    return point_facts.kept_because(installation(), configuration, points)


_WORDS = {"status_of": restore_points.condition, "verified_at": restore_points.verified_at}

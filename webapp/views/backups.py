"""Configurations: which are at risk, and one of them with its schedule, runs and restore points."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from flask import Blueprint, Response, flash, g, redirect, render_template, request, url_for

from webapp.errors import Busy
from webapp.extensions import installation
from webapp.security import needs
from webapp.services import (
    activity,
    configurations,
    lately,
    outlook,
    protection,
    restore_points,
    schedules,
    submit,
)
from webapp.views import backup_checks, backup_forms, backup_retention
from webapp.views.backup_list import listed
from webapp.views.frame import undo

pages = Blueprint("backups", __name__, url_prefix="/backups")
for _part in (backup_forms, backup_checks, backup_retention):
    pages.register_blueprint(_part.pages)
_SHOWN = 10
_NEXT = 5


@pages.get("")
@needs("overview.read")
def index() -> str:
    """All of them, those most in danger first."""
    found = protection.of_all(installation())
    page = listed(found, request.args, partial(protection.points, installation()))
    return render_template(
        "backups/index.html",
        page=page,
        is_empty=not found,
        days=activity.days(installation(), [each.configuration.id for each in page.rows]),
    )


@pages.get("/<config_id>")
@needs("overview.read")
def show(config_id: str) -> str:
    """One of them."""
    own = installation()
    each = protection.of_one(own, config_id)
    if each.schedule is None or each.schedule.version != each.configuration.version:
        schedules.state(own, each.configuration)  # just stored: the scheduler has not looked yet
        each = protection.of_one(own, config_id)
    upcoming = schedules.following(each.schedule, own.clock(), _NEXT)
    expression = each.configuration.schedule
    zone = each.schedule.zone if each.schedule else own.settings.timezone
    return render_template(
        "backups/show.html",
        each=each,
        document=configurations.shown(each.configuration),
        points_there=protection.points(own, [config_id]).get(config_id, 0),
        days=activity.days(own, [config_id]).get(config_id, []),
        runs=lately.runs(own, config_id, _SHOWN),
        points=lately.points(own, config_id, _SHOWN),
        status_of=restore_points.condition,
        verified_at=restore_points.verified_at,
        words=outlook.in_words(expression) if expression else "",
        zone=zone,
        upcoming=outlook.noted(expression, zone, upcoming) if expression else [],
        retention=outlook.retention_words(each.configuration.document.get("retention")),
        now=own.clock(),
    )


@pages.post("/<config_id>/run")
@needs("backups.create")
def run(config_id: str) -> Any:
    """Starts a backup, and shows the run; the one that is at work already, when there is one."""
    try:
        started = submit.backup(installation(), g.actor.identity, config_id)
    except Busy as busy:
        flash(str(busy))
        return redirect(url_for("runs.show", run_id=busy.run_id))
    return redirect(url_for("runs.show", run_id=started.public_id))


@pages.post("/<config_id>/pause")
@needs("configurations.edit")
def pause(config_id: str) -> Any:
    """It does not run by itself until it is resumed."""
    schedules.pause(installation(), config_id, actor=g.actor)
    undo(f"{config_id} is paused: it does not run by itself.", url_for("backups.resume", config_id=config_id))
    return redirect(url_for("backups.show", config_id=config_id))


@pages.post("/<config_id>/resume")
@needs("configurations.edit")
def resume(config_id: str) -> Any:
    """It runs by itself again."""
    schedules.resume(installation(), config_id, actor=g.actor)
    undo(f"{config_id} runs by its schedule again.", url_for("backups.pause", config_id=config_id))
    return redirect(url_for("backups.show", config_id=config_id))


@pages.post("/<config_id>/delete")
@needs("configurations.edit")
def delete(config_id: str) -> Any:
    """It is gone from the lists; its restore points stay, and it can be brought back as it was."""
    deleted = configurations.delete(installation(), config_id, actor=g.actor)
    stay = {0: "It had no restore point.", 1: "Its restore point stays."}
    text = stay.get(deleted.backups, f"Its {deleted.backups} restore points stay.")
    undo(f"{deleted.configuration.name} is deleted. {text}", url_for("backups.undelete", config_id=config_id))
    return redirect(url_for("backups.index"))


@pages.post("/<config_id>/undelete")
@needs("configurations.edit")
def undelete(config_id: str) -> Any:
    """Takes a deletion back."""
    back = configurations.undelete(installation(), g.actor, config_id)
    flash(f"{back.name} is back as it was.")
    return redirect(url_for("backups.show", config_id=config_id))


@pages.get("/<config_id>/export")
@needs("destinations.read")
def export(config_id: str) -> Response:
    """The document without its secrets, to be imported elsewhere."""
    document = configurations.shown(configurations.find(installation(), config_id))
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    headers = {"Content-Disposition": f'attachment; filename="{config_id}.json"'}
    return Response(text, content_type="application/json", headers=headers)

"""Configurations: which are at risk, and one of them with its runs and restore points."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash, g, redirect, render_template, request, url_for

from webapp.errors import Busy
from webapp.extensions import installation
from webapp.security import needs
from webapp.services import activity, history, protection, schedules, submit
from webapp.services.history import Wanted

pages = Blueprint("backups", __name__, url_prefix="/backups")
_SHOWN = 10
_NEXT = 5


@pages.get("")
@needs("overview.read")
def index() -> str:
    """All of them, those most in danger first."""
    found, wanted = protection.of_all(installation()), request.args.get("show", "all")
    chosen = [each for each in found if wanted != "risk" or each.status in (protection.UNPROTECTED, protection.AT_RISK)]
    days = activity.days(installation())
    return render_template("dashboard/backups.html", found=chosen, everything=found, wanted=wanted, days=days)


@pages.get("/<config_id>")
@needs("overview.read")
def show(config_id: str) -> str:
    """One of them."""
    own = installation()
    each = protection.of_one(own, config_id)
    return render_template(
        "dashboard/backup.html",
        each=each,
        days=activity.days(own).get(config_id, []),
        runs=history.runs(own, Wanted(config_id, limit=_SHOWN))[:_SHOWN],
        upcoming=schedules.following(each.schedule, own.clock(), _NEXT),
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
    flash(f"{config_id} is paused: it does not run by itself. Resume undoes that.")
    return redirect(url_for("backups.show", config_id=config_id))


@pages.post("/<config_id>/resume")
@needs("configurations.edit")
def resume(config_id: str) -> Any:
    """It runs by itself again."""
    schedules.resume(installation(), config_id, actor=g.actor)
    flash(f"{config_id} runs by its schedule again.")
    return redirect(url_for("backups.show", config_id=config_id))

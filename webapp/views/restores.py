"""Restores: prepared in steps (what, where to, review), each with its own address, and what became of each. Nothing
that exists is ever touched from here."""

from __future__ import annotations

import json
import shlex
from typing import Any

from flask import Blueprint, Response, abort, flash, g, redirect, render_template, request, url_for

from engine.errors import EngineError
from webapp.errors import ServiceError
from webapp.extensions import installation
from webapp.forms.restore import NAMED, Target, What
from webapp.models import Backup
from webapp.schema.redact import hide_password
from webapp.security import needs
from webapp.services import history, records, replacing, restore_drafts, restore_points, restore_results, runs
from webapp.services.history import Wanted
from webapp.services.repositories import silent
from webapp.services.restore_drafts import Changed, Draft, Review
from webapp.views.showing import quoted, shown, unquoted
from webapp.views.streams import fragment

pages = Blueprint("restores", __name__, url_prefix="/restores")
_SHOWN = 25
_Page = tuple[str, int]


@pages.get("")
@needs("overview.read")
def index() -> str:
    """All restores, newest first."""
    before = request.args.get("before")
    if before is not None and not (before.isdecimal() and len(before) < 19):
        abort(400, "The page to go on from is not one. Begin at the first page.")
    found = history.runs(installation(), Wanted(kind="restore", before=int(before) if before else None, limit=_SHOWN))
    following = found[_SHOWN - 1].id if len(found) > _SHOWN else None
    return render_template("restores/index.html", runs=found[:_SHOWN], following=following)


@pages.route("/new", methods=["GET", "POST"])
@needs("backups.restore")
def new() -> Any:
    """The first step chooses a restore point, the second what of it; that begins the draft."""
    own, name = installation(), request.args.get("point")
    if not name:
        asked = restore_points.Filter(config_id=request.args.get("backup") or None, state=restore_points.USABLE)
        found = restore_points.page(own, asked, limit=_SHOWN)
        return render_template("restores/point.html", points=found[:_SHOWN], config_id=asked.config_id)
    point = records.find(own, name)
    form = What(parts=request.args.getlist("only") or None)
    if not form.validate_on_submit():
        return _what(form, point, None)
    draft = restore_drafts.begin(own, g.actor.identity, point, _wanted(form))
    return redirect(url_for("restores.target", draft_id=draft.public_id), 303)


@pages.route("/new/<draft_id>/what", methods=["GET", "POST"])
@needs("backups.restore")
def what(draft_id: str) -> Any:
    """What of the restore point, once more."""
    draft = _draft(draft_id)
    form = What(parts=[quoted(each) for each in draft.only])
    if not form.validate_on_submit():
        return _what(form, records.find(installation(), draft.backup_id), draft)
    restore_drafts.choose(installation(), draft, _wanted(form))
    return redirect(url_for("restores.target", draft_id=draft_id), 303)


@pages.route("/new/<draft_id>/target", methods=["GET", "POST"])
@needs("backups.restore")
def target(draft_id: str) -> Any:
    """Where to. What cannot go there is refused here, with the cause, and what was typed stays."""
    draft = _draft(draft_id)
    form = Target(where=NAMED if draft.targets else None, verify=draft.verify, **_typed(draft))
    if not form.validate_on_submit():
        return _target(form, draft)
    try:
        restore_drafts.aim(installation(), draft, form.targets(), verify=form.verify.data, tell=silent)
    except (ServiceError, EngineError) as error:
        form.form_errors.append(f"{error.message} {error.hint}".strip())
        return _target(form, draft)
    return redirect(url_for("restores.review", draft_id=draft_id), 303)


@pages.get("/new/<draft_id>/review")
@needs("backups.restore")
def review(draft_id: str) -> Any:
    """Exactly what would be done; nothing is done yet."""
    draft = _draft(draft_id)
    if not draft.has_target:
        return redirect(url_for("restores.target", draft_id=draft_id))
    return _review(draft, 200)


@pages.post("/new/<draft_id>/start")
@needs("backups.restore")
def start(draft_id: str) -> Any:
    """Begins, when all is as the review showed it; else the difference is shown."""
    draft = _draft(draft_id)
    try:
        shown = request.form.get("shown", "")
        run = restore_drafts.start(installation(), g.actor.identity, draft, shown, tell=silent)
    except Changed as error:
        return _review(draft, 409, error.differences)
    except (ServiceError, EngineError) as error:
        return _blocked(draft, error)
    flash("The restore was started. What is restored takes its name when all of it is there.")
    return redirect(url_for("restores.show", run_id=run.public_id), 303)


@pages.get("/<run_id>")
@needs("overview.read")
def show(run_id: str) -> Any:
    """One restore: how far it is, where it went, what was compared."""
    found = restore_results.find(installation(), run_id)
    return render_template("restores/show.html", found=found, now=installation().clock())


@pages.get("/<run_id>/live")
@needs("overview.read")
def live(run_id: str) -> Response:
    """The part of the page that changes; 304 when it did not, 286 when the restore has ended."""
    found = restore_results.find(installation(), run_id)
    html = render_template("restores/_live.html", found=found, now=installation().clock())
    return fragment(html, is_over=not found.run.is_active)


@pages.get("/<run_id>/evidence.json")
@needs("overview.read")
def evidence(run_id: str) -> Response:
    """What happened, for the file of whoever has to prove it."""
    found = restore_results.find(installation(), run_id)
    body = json.dumps(restore_results.evidence(installation(), found), indent=2, default=str)
    response = Response(body + "\n", content_type="application/json")
    response.headers["Content-Disposition"] = f'attachment; filename="{found.run.public_id}.json"'
    return response


@pages.post("/<run_id>/cancel")
@needs("runs.cancel")
def cancel(run_id: str) -> Any:
    """Asks it to stop."""
    runs.request_cancel(installation(), run_id, actor=g.actor)
    flash("It was asked to stop. What has not taken its name yet is removed again.")
    return redirect(url_for("restores.show", run_id=run_id), 303)


@pages.post("/<run_id>/undo")
@needs("backups.restore")
def undo(run_id: str) -> Any:
    """Swaps back to what a restore replaced, while that is kept."""
    run = replacing.send_undo(installation(), g.actor.identity, run_id)
    flash("The undo was started: it swaps back to what was there before.")
    return redirect(url_for("restores.show", run_id=run.public_id), 303)


def _draft(draft_id: str) -> Draft:
    """A draft that was started already leads to its run."""
    draft = restore_drafts.find(installation(), g.actor.identity, draft_id)
    if draft.run_id is not None:
        abort(redirect(url_for("restores.show", run_id=draft.run_id), 303))
    return draft


def _wanted(form: What) -> list[str]:
    return [*(unquoted(each) for each in form.parts.data or ()), *form.lines()]


def _typed(draft: Draft) -> dict[str, str]:
    """Named places as they were typed; one with a password is typed again."""
    folders = [each for each in draft.targets if "://" not in each]
    servers = [each for each in draft.targets if "://" in each and hide_password(each) == each]
    return {"folder": (folders or [""])[0], "server": (servers or [""])[0]}


def _what(form: What, point: Backup, draft: Draft | None) -> _Page:
    known = [*point.paths, *(_part(each["name"]) for each in point.databases)]
    offered = [(quoted(each), each) for each in known]
    chosen = form.parts.data or ()
    others = [(each, shown(unquoted(each))) for each in chosen if each not in dict(offered)]
    page = render_template(
        "restores/what.html", form=form, point=point, draft=draft, offered=offered, others=others, chosen=chosen
    )
    return page, 422 if form.errors else 200


def _part(name: str) -> str:
    return name if name.startswith("/") else f"{name}:"


def _target(form: Target, draft: Draft) -> _Page:
    point = records.find(installation(), draft.backup_id)
    in_folder = [str(database["name"]).startswith("/") for database in point.databases]
    takes_folder = bool(point.paths) or any(in_folder)
    page = render_template(
        "restores/target.html",
        form=form,
        draft=draft,
        point=point,
        takes_folder=takes_folder,
        takes_server=not all(in_folder),
        short=point.public_id[3:11],
        beside=installation().settings.home.parent,
        may_generate=not takes_folder or restore_drafts.takes_generated(installation(), draft),
    )
    return page, 422 if form.errors or form.form_errors else 200


def _review(draft: Draft, status: int, changed: tuple[str, ...] = ()) -> _Page:
    try:
        found = restore_drafts.review(installation(), draft, tell=silent)
    except (ServiceError, EngineError) as error:
        return _blocked(draft, error)
    page = render_template(
        "restores/review.html",
        draft=draft,
        found=found,
        differences=changed or found.differences,
        command=_command(draft, found),
    )
    return page, status


def _blocked(draft: Draft, error: ServiceError | EngineError) -> _Page:
    return render_template("restores/blocked.html", draft=draft, error=error), 409


def _command(draft: Draft, found: Review) -> str:
    """The same in a terminal, without a password."""
    words = ["backup-cli", "restore", "--backup", found.backup.public_id]
    for each in draft.only:
        words += ["--only", shown(each)]
    if draft.targets and found.plan.folder is not None:
        words += ["--to", str(found.plan.folder.target)]
    if draft.targets and found.plan.databases:
        words += ["--to", found.plan.databases[0].connection.describe()]
    return shlex.join([*words, *(["--verify"] if draft.verify else [])])

"""Destinations: is there space, is it reachable, who uses it; add, test, change, copy there, take off the list."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, abort, flash, g, redirect, render_template, request, url_for

from engine.errors import EngineError
from webapp.errors import Conflict, NotFound, ServiceError
from webapp.extensions import installation
from webapp.forms.destination import KIND_WORDS, of_kind
from webapp.models import Destination
from webapp.schema import kinds
from webapp.schema.redact import settings_without_secrets
from webapp.security import needs
from webapp.services import audit, destination_changes, destination_use, destinations, submit
from webapp.services.repositories import silent
from webapp.services.runs import NewRun
from webapp.views import faults
from webapp.views.frame import undo

pages = Blueprint("destinations", __name__, url_prefix="/destinations")


@pages.get("")
@needs("overview.read")
def index() -> str:
    """All of them. Where they are is not for everybody."""
    return render_template("manage/destinations.html", found=destination_use.uses(installation()))


@pages.route("/new", methods=["GET", "POST"])
@needs("destinations.edit")
def new() -> Any:
    """Adds a destination and makes its repository, or takes over the one of this installation that is there."""
    kind = request.args.get("type", "local")
    if kind not in kinds.names():
        abort(400, f"There is no such type. Types: {', '.join(kinds.names())}.")
    form, status = of_kind(kind)(), 200
    if form.validate_on_submit():
        try:
            return _added(kind, form)
        except (ServiceError, EngineError) as error:
            status = faults.show(form, error)
    status = 422 if form.errors and status == 200 else status
    page = render_template("manage/destination-form.html", form=form, kind=kind, words=KIND_WORDS, each=None)
    return page, status


@pages.get("/<int:number>")
@needs("destinations.read")
def show(number: int) -> str:
    """One of them: the last test, room, restore points by backup, settings without secrets."""
    found = next((use for use in destination_use.uses(installation()) if use.destination.id == number), None)
    if found is None:
        raise NotFound(f"There is no destination {number}.", hint="The list of destinations shows what there is.")
    row = found.destination
    settings = settings_without_secrets(row.kind, row.settings)
    if row.sealed is not None:
        settings |= {name: settings.get(name) or "sealed" for name in kinds.secret_settings(row.kind)}
    return render_template("manage/destination.html", use=found, each=row, settings=settings)


@pages.route("/<int:number>/edit", methods=["GET", "POST"])
@needs("destinations.edit")
def edit(number: int) -> Any:
    """Another name or other settings. Secrets are write-only: left empty, they stay as they are."""
    each = _find(number)
    shown = {name: value for name, value in each.settings.items() if name not in kinds.secret_settings(each.kind)}
    form, status = of_kind(each.kind)(data={**shown, "name": each.name}), 200
    if form.validate_on_submit():
        try:
            changed = destination_changes.change(
                installation(), g.actor, each, name=form.name.data.strip(), typed=_whole(each, form.typed())
            )
            flash(f"{changed.name} was changed.")
            return redirect(url_for("destinations.show", number=number))
        except (ServiceError, EngineError) as error:
            status = faults.show(form, error)
    status = 422 if form.errors and status == 200 else status
    page = render_template(
        "manage/destination-form.html", form=form, kind=each.kind, words=KIND_WORDS, each=each, sealed=each.sealed
    )
    return page, status


@pages.post("/<int:number>/test")
@needs("destinations.read")
def test(number: int) -> Any:
    """Tries what backups rely on; the page of the destination tells what came of it."""
    each = _find(number)
    try:
        report = destinations.test(installation(), each)
        said = "can be used" if report.is_usable else "cannot be used"
        flash(f"{each.name} was tested: it {said}.", "message" if report.is_usable else "error")
    except (ServiceError, EngineError) as error:
        flash(f"{each.name} was tested: {error}", "error")
    return redirect(url_for("destinations.show", number=number))


@pages.post("/<int:number>/sync")
@needs("destinations.edit")
def sync(number: int) -> Any:
    """Copies there the restore points that it missed, as a run."""
    arguments = {"target": _find(number).name, "repair": request.form.get("repair") == "y"}
    run = submit.submit(installation(), NewRun("sync", g.actor.identity, arguments=arguments))
    return redirect(url_for("runs.show", run_id=run.public_id))


@pages.post("/<int:number>/remove")
@needs("destinations.edit")
def remove(number: int) -> Any:
    """Takes it off the list, unless it is used."""
    each = _find(number)
    try:
        destination_changes.remove(installation(), g.actor, each)
    except Conflict as error:
        flash(f"It stays. {error}", "error")
        return redirect(url_for("destinations.show", number=number))
    undo(
        f"{each.name} is off the list. What is stored there stays as it is.",
        url_for("destinations.put_back", number=number),
    )
    return redirect(url_for("destinations.index"))


@pages.post("/<int:number>/put-back")
@needs("destinations.edit")
def put_back(number: int) -> Any:
    """On the list again."""
    each = destination_changes.fetch(installation(), number, removed=True)
    destination_changes.put_back(installation(), g.actor, each)
    return redirect(url_for("destinations.show", number=number))


def _find(number: int) -> Destination:
    return destination_changes.fetch(installation(), number)


def _added(kind: str, form: Any) -> Any:
    typed = {**kinds.settings_defaults(kind), **form.typed()}
    added = destinations.add(installation(), form.name.data.strip(), kind, typed, tell=silent)
    made = added.destination
    after = {"name": made.name, "type": made.kind}
    audit.add(installation(), g.actor, "destination.added", str(made.id), after=after)
    found = f" {len(added.found)} restore points of this installation were found there." if added.found else ""
    flash(f"{made.name} is ready.{found} Test it to see how fast it is.")
    return redirect(url_for("destinations.show", number=made.id))


def _whole(each: Destination, typed: dict[str, Any]) -> dict[str, Any]:
    """Settings with what an empty field stands for: its default; of a secret, what it was."""
    secret = kinds.secret_settings(each.kind)
    kept = {name: value for name, value in each.settings.items() if name in secret}
    defaults = {name: value for name, value in kinds.settings_defaults(each.kind).items() if name not in secret}
    return {**defaults, **kept, **typed}

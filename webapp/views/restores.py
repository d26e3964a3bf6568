"""A restore beside what is there: what and where to, then exactly what will be done, then the run. Nothing that exists
is ever touched from here."""

from __future__ import annotations

import itertools
from contextlib import closing
from typing import Any
from urllib.parse import parse_qs

from flask import Blueprint, Response, flash, g, redirect, render_template, request, url_for

from engine.errors import EngineError
from webapp.errors import ServiceError
from webapp.extensions import installation
from webapp.forms.restore import Restore
from webapp.models import Backup
from webapp.security import needs
from webapp.sending import sent
from webapp.services import browsing, records, restores, submit
from webapp.services.downloads import AS_IS, Wish
from webapp.views.showing import unquoted

pages = Blueprint("restores", __name__, url_prefix="/restore-points/<backup_id>")
SQLITE = "sqlite"
_ENTRIES = 500


@pages.get("/files")
@needs("backups.browse")
def files(backup_id: str) -> str:
    """What a folder of the restore point holds; without a path its folders and databases."""
    path = _asked_path()
    with closing(browsing.open_point(installation(), backup_id, tell=_ignore)) as point:
        found = list(itertools.islice(browsing.entries(point, path), _ENTRIES + 1)) if path else []
        databases = [(root.name, root.kind == SQLITE, browsing.tables(root)) for root in point.databases]
        folders = point.folders
    return render_template(
        "dashboard/files.html",
        point=point.backup,
        path=path,
        entries=found[:_ENTRIES],
        is_cut=len(found) > _ENTRIES,
        folders=folders,
        databases=databases,
    )


@pages.post("/download")
@needs("backups.download")
def download(backup_id: str) -> Response:
    """One file, a folder as an archive, or a dump, as a stream."""
    wish = Wish(backup_id, unquoted(request.form.get("what", "")), request.form.get("form", AS_IS))
    return sent(installation(), g.actor, wish)


@pages.route("/restore", methods=["GET", "POST"])
@needs("backups.restore")
def new(backup_id: str) -> Any:
    """First the form; what it holds is then shown as a plan, and sent from there."""
    own = installation()
    point = records.find(own, backup_id)
    beside = own.settings.home.parent  # the home itself takes nothing that is restored
    form = Restore(only=request.args.get("only", ""))
    if not form.validate_on_submit():
        return _form(form, point), 422 if form.errors else 200
    order = restores.Order(
        point.public_id,
        g.actor.identity,
        targets=tuple(form.targets()),
        only=tuple(form.wanted()),
        verify=form.verify.data,
    )
    try:
        plan = restores.plan(own, order, cwd=beside, tell=_ignore)
    except (ServiceError, EngineError) as error:
        form.form_errors.append(f"{error.message} {error.hint}".strip())
        return _form(form, point), 422
    if "confirmed" not in request.form:
        return render_template("dashboard/restore-plan.html", form=form, point=point, plan=plan)
    arguments = {"only": list(order.only), "verify": order.verify}
    sealed = {"targets": list(order.targets), "cwd": str(beside)}
    run = submit.restore(own, g.actor.identity, point, arguments, sealed)
    flash("The restore was started. What is restored takes its name when all of it is there.")
    return redirect(url_for("runs.show", run_id=run.public_id))


def _asked_path() -> str | None:
    """Names are bytes: Flask would read those that are no UTF-8 wrongly."""
    found = parse_qs(request.query_string.decode("ascii", "replace"), errors="surrogateescape").get("path")
    return found[0] if found else None


def _form(form: Restore, point: Backup) -> str:
    in_folder = [str(database["name"]).startswith("/") for database in point.databases]
    return render_template(
        "dashboard/restore.html",
        form=form,
        point=point,
        takes_folder=bool(point.paths) or any(in_folder),
        takes_server=not all(in_folder),
    )


def _ignore(text: str) -> None:
    """Warnings of destinations are shown on their own pages."""

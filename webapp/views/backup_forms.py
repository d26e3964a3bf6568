"""Configurations made and changed: a form, or its document as JSON; what it will do; the difference; then stored."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from flask import Blueprint, abort, flash, g, redirect, render_template, request, url_for

from webapp.errors import ConfigurationInvalid, Conflict, Fault, Outdated
from webapp.extensions import installation
from webapp.forms.backup import Backup, Text
from webapp.forms.backup_document import common_exclude, filled, mark, numeral, secret_is_stored, typed
from webapp.schema.defaults import Document, default_document
from webapp.schema.document import loads
from webapp.schema.redact import without_secrets
from webapp.security import needs
from webapp.services import changes, configurations, destinations, drafts, outlook

pages = Blueprint("forms", __name__)
_CHANGED = "The form was changed on its way. Open it again."
_MISSHAPEN = (TypeError, KeyError, AttributeError, ValueError)
_NAME = 100


@dataclass(frozen=True)
class Editing:
    """A document on its way: of a new configuration (`config_id` is None) or in place of `version` of one that is
    there, which read `began`. `raw` is what was typed where that is no JSON."""

    config_id: str | None
    document: Document
    began: Document
    version: int | None
    is_text: bool
    raw: str = ""


@pages.route("/new", methods=["GET", "POST"])
@needs("configurations.edit")
def new() -> Any:
    """A new configuration."""
    if request.method == "GET":
        first = _first()
        return _page(Editing(None, first, first, None, is_text=False))
    editing, faults = _asked(None)
    wish = request.form.get("do", "save")
    if faults or wish != "save":
        return _page(_turned(editing, wish), faults), 422 if faults else 200
    try:
        made = configurations.create(installation(), g.actor, editing.document)
    except ConfigurationInvalid as error:
        return _page(editing, error.faults), 422
    except Conflict as error:
        return _page(editing, (Fault("/id", str(error)),)), 422
    flash(f"{made.name} is stored. Test it before its first run.")
    return redirect(url_for("backups.show", config_id=made.id))


@pages.post("/new/preview")
@needs("configurations.edit")
def preview() -> str:
    """What the document in the form would do, as a part of the page."""
    editing, _ = _asked(None)
    return render_template("backups/rail.html", outlook=outlook.of(installation(), editing.document))


@pages.route("/<config_id>/edit", methods=["GET", "POST"])
@needs("configurations.edit")
def edit(config_id: str) -> Any:
    """Changes in two steps: what was typed, then the difference that it makes."""
    own = installation()
    present = configurations.find(own, config_id)
    shown = configurations.shown(present)
    if request.method == "GET":
        is_text = request.args.get("as") == "json"
        return _page(Editing(config_id, shown, shown, present.version, is_text=is_text))
    editing, faults = _asked(config_id)
    wish = request.form.get("do", "review")
    if wish == "join":
        document = changes.joined(editing.began, editing.document, shown)
        editing = replace(editing, document=document, began=shown, version=present.version)
    if faults or wish not in ("review", "save", "join"):
        return _page(_turned(editing, wish), faults), 422 if faults else 200
    try:
        checked = configurations.check(own, editing.document, config_id=config_id)
        if wish == "save":
            configurations.replace(own, g.actor, config_id, editing.document, version=editing.version)
            flash(f"{checked['name']} is changed.")
            return redirect(url_for("backups.show", config_id=config_id))
        if editing.version != present.version:
            return _conflict(editing, checked)
    except ConfigurationInvalid as error:
        return _page(editing, error.faults), 422
    except Outdated:
        return _conflict(editing, checked)
    found = changes.between(configurations.typed(own, present), checked)
    if not found:
        flash("Nothing was changed: all of it reads as before.")
        return redirect(url_for("backups.show", config_id=config_id))
    return _review(editing, found)


def _first() -> Document:
    """Where a new configuration begins: every night, with a retention that most people want."""
    document = default_document("full", installation().settings.environment)
    retention = {"daily": 7, "weekly": 4, "monthly": 12}
    return {**document, "id": "", "name": "", "schedule": "0 2 * * *", "retention": retention}


def _asked(config_id: str | None) -> tuple[Editing, tuple[Fault, ...]]:
    """What was sent, and what is wrong with its JSON."""
    own, sent = installation(), request.form
    if not all(name.isascii() and len(name) < _NAME for name in sent):  # wtforms reads the numbers in them
        abort(400, _CHANGED)
    version = numeral(sent.get("version"))
    began = _read(sent.get("began", "{}"))
    is_text = "document" in sent
    if is_text:
        try:
            document = _loads(sent["document"])
        except ValueError as error:
            editing = Editing(config_id, {}, began, version, is_text=True, raw=sent["document"])
            return editing, (Fault("", str(error)),)
    else:
        document = _typed(_read(sent.get("base", "{}")))
    whole = drafts.whole(own, g.actor, document, sent.get("draft", ""))
    if not isinstance(whole, dict):
        editing = Editing(config_id, {}, began, version, is_text=True, raw=sent["document"])
        return editing, (Fault("", "must be an object."),)
    return Editing(config_id, whole, began, version, is_text=is_text), ()


def _loads(text: str) -> Any:
    """As `loads`, and text that a page can show. Raises ValueError with a sentence."""
    found = loads(text)
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("holds half a character (a lone surrogate), which is no text.") from None
    return found


def _read(text: str) -> Document:
    """A hidden field of ours."""
    try:
        found = _loads(text)
        filled(without_secrets(found))
    except _MISSHAPEN:
        found = None
    if not isinstance(found, dict):
        abort(400, _CHANGED)
    return found


def _typed(base: Document) -> Document:
    try:
        return typed(Backup(), base)
    except _MISSHAPEN:
        abort(400, _CHANGED)


def _turned(editing: Editing, wish: str) -> Editing:
    """Between the form and JSON."""
    return replace(editing, is_text=wish == "json" or (wish != "form" and editing.is_text))


def _page(editing: Editing, faults: tuple[Fault, ...] = ()) -> str:
    """The form, filled with what was typed so far."""
    if editing.raw:
        return _text_page(editing, editing.raw, request.form.get("draft", ""), faults)
    try:
        shown, draft = drafts.kept(installation(), g.actor, editing.document)
        fields = filled(shown)
    except _MISSHAPEN:  # JSON of another shape: it can only be shown as typed
        return _text_page(editing, request.form.get("document", ""), request.form.get("draft", ""), faults)
    if editing.is_text:
        return _text_page(editing, _json(shown), draft, faults)
    form = Backup(formdata=None, data={**fields, "base": _json(shown, None), **_carried(editing, draft)})
    mark(form, shown, faults)
    form.places.append_entry({})
    names = [each.name for each in destinations.listing(installation())]
    for entry in form.places.entries:
        entry.form.ref.choices = names
    return render_template(
        "backups/form.html",
        form=form,
        editing=editing,
        outlook=outlook.of(installation(), editing.document),
        shows_exclude=common_exclude(shown) is not None,
        is_kept=lambda row, name: secret_is_stored(shown, row, name),
        title=_title(editing),
    )


def _text_page(editing: Editing, text: str, draft: str, faults: tuple[Fault, ...]) -> str:
    form = Text(formdata=None, data={"document": text, **_carried(editing, draft)})
    form.form_errors.extend(str(fault) for fault in faults)
    return render_template("backups/json.html", form=form, editing=editing, title=_title(editing))


def _title(editing: Editing) -> str:
    return "New backup" if editing.config_id is None else f"Change {editing.began.get('name') or editing.config_id}"


def _review(editing: Editing, found: list[changes.Change], others: list[changes.Change] | None = None) -> str:
    """The difference. `others` is what another person changed meanwhile."""
    shown, draft = drafts.kept(installation(), g.actor, editing.document)
    form = Text(formdata=None, data={"document": _json(shown, None), **_carried(editing, draft)})
    return render_template("backups/review.html", form=form, editing=editing, changes=found, others=others)


def _conflict(editing: Editing, checked: Document) -> tuple[str, int]:
    """Nothing is stored: first it is shown what the other person changed, and what saving would do to that."""
    assert editing.config_id is not None
    own = installation()
    present = configurations.find(own, editing.config_id)
    shown = configurations.shown(present)
    mine = changes.between(configurations.typed(own, present), checked)
    later = replace(editing, version=present.version, began=shown)
    # Its hidden field keeps what both began with, so that "join" can tell who changed what.
    return _review(replace(later, began=editing.began), mine, changes.between(editing.began, shown)), 409


def _carried(editing: Editing, draft: str) -> dict[str, Any]:
    version = "" if editing.version is None else editing.version
    return {"began": _json(editing.began, None), "version": version, "draft": draft}


def _json(document: Document, indent: int | None = 2) -> str:
    return json.dumps(document, indent=indent, ensure_ascii=False)

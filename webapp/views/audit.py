"""Who did what, when, from where: one's own entries, and all of them for who may read the whole log."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any
from zoneinfo import ZoneInfo

from flask import Blueprint, Response, abort, flash, g, redirect, render_template, request, url_for

from webapp.extensions import installation
from webapp.forms.audit import Filters
from webapp.forms.days import midnight
from webapp.models.audit import AuditEntry
from webapp.security import needs
from webapp.services import audit
from webapp.services.run_exports import csv_of
from webapp.views.streams import as_file

pages = Blueprint("audit", __name__, url_prefix="/audit")
_SHOWN = 40
_LONGEST_NUMBER = 10
_FORMATS = ("jsonl", "csv")


@pages.get("")
@needs("account.own")
def index() -> Any:
    """Entries, newest first; the filters are in the address."""
    form = Filters(request.args)
    if not form.validate():
        return render_template("manage/audit.html", form=form, found=[], following=None, altered=(), check=None), 400
    before = request.args.get("before")
    if before is not None and not (before.isascii() and before.isdecimal() and len(before) < _LONGEST_NUMBER):
        abort(400, "The page to go on from is not one. Begin at the first page.")
    after = int(before) if before else None
    rows = audit.listing(installation(), g.actor, after=after, limit=_SHOWN + 1, **_wanted(form))
    found = rows[:_SHOWN]
    return render_template(
        "manage/audit.html",
        form=form,
        found=found,
        following=found[-1].sequence if len(rows) > _SHOWN else None,
        altered=tuple(each.sequence for each in found if audit.is_altered(each)),
        check=_checked(),
    )


@pages.get("/<int:sequence>")
@needs("account.own")
def show(sequence: int) -> str:
    """One entry: what was before and after, and for administrators where an error came from."""
    entry = audit.find(installation(), g.actor, sequence)
    told = audit.described(entry, with_trace=g.actor.may("audit.traces"))
    before, after = told["before"] or {}, told["after"] or {}
    return render_template(
        "manage/audit-entry.html",
        entry=entry,
        told=told,
        names=sorted({*before, *after}),
        before=before,
        after=after,
        is_altered=audit.is_altered(entry),
    )


@pages.post("/check")
@needs("audit.everything")
def check() -> Any:
    """Follows the whole chain of hashes."""
    verdict = audit.check(installation(), g.actor)
    if verdict.flaws:
        flash(f"The audit log is not as it was written: {len(verdict.flaws)} places were found.", "error")
    else:
        flash(f"The audit log is whole: {verdict.entries} entries, each bound to the one before it.")
    return redirect(url_for("audit.index"))


@pages.get("/export")
@needs("account.own")
def export() -> Response:
    """All entries that the filters let through, as JSON lines or CSV."""
    form, wish = Filters(request.args), request.args.get("format", "jsonl")
    if wish not in _FORMATS or not form.validate():
        abort(400, f"This cannot be exported. Formats: {', '.join(_FORMATS)}; days are such as 2026-11-23.")
    rows = audit.matching(installation(), g.actor, **_wanted(form))
    documents = (audit.described(each, with_trace=g.actor.may("audit.traces")) for each in rows)
    if wish == "csv":
        return as_file(_csv(documents), "audit.csv", "text/csv")
    return as_file((json.dumps(each, ensure_ascii=False) + "\n" for each in documents), "audit.jsonl", "text/plain")


def _wanted(form: Filters) -> dict[str, Any]:
    zone = ZoneInfo(installation().settings.timezone)
    given = {name: (form[field].data or "").strip() or None for field, name in _FIELDS}
    first, last = form.first.data, form.last.data
    return {
        **given,
        "since": None if first is None else midnight(first, zone),
        "until": None if last is None else midnight(last, zone, days=1),
    }


_FIELDS = (("who", "identity"), ("action", "action"), ("object", "object"), ("outcome", "outcome"))


def _checked() -> tuple[AuditEntry, dict[str, Any]] | None:
    """The last check of the whole log and what it found, for who may read it."""
    found = audit.last_check(installation()) if g.actor.may("audit.everything") else None
    return None if found is None else (found, json.loads(found.after or "{}"))


def _csv(documents: Iterator[dict[str, Any]]) -> Iterable[str]:
    first = next(documents, None)
    if first is None:
        return ()
    return csv_of((map(_text, each.values()) for each in chain([first], documents)), first)


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)

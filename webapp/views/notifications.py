"""Who hears of a failure, whether messages arrive, and a test for each."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, abort, flash, g, redirect, render_template, request, url_for

from webapp.errors import ServiceError
from webapp.extensions import installation
from webapp.forms.notification import Test
from webapp.notify import channels
from webapp.security import needs
from webapp.services import audit, history, listeners, notifications, recipients
from webapp.services.history import Wanted
from webapp.views import faults

pages = Blueprint("notifications", __name__, url_prefix="/notifications")
_DELIVERIES, _LISTENERS = 20, 50
_LONGEST_NUMBER = 19
WHAT = {
    recipients.FAILED: "what goes wrong",
    recipients.SUCCEEDED: "what went well",
    recipients.DIGEST: "the digest",
}


@pages.get("")
@needs("notifications.test")
def index() -> str:
    """Everybody who is told, the rules, and the newest messages."""
    return _page(Test())


@pages.post("/test")
@needs("notifications.test")
def test() -> Any:
    """A test message to somebody on the list; who was given up is heard again when it arrives."""
    key = request.form.get("key", "")
    try:
        _send(listeners.address_of(installation(), key))
    except ServiceError as error:
        flash(str(error), "error")
    return redirect(url_for("notifications.index"))


@pages.post("/test-new")
@needs("notifications.test")
def test_new() -> Any:
    """A test message to whom one types."""
    form = Test()
    if not form.validate_on_submit():
        return _page(form), 422
    try:
        _send(form.recipient.data.strip())
    except ServiceError as error:
        status = faults.show(form, error)
        form.forget()
        return _page(form), status
    return redirect(url_for("notifications.index"))


def _send(address: str) -> None:
    shown = channels.shown(address)
    notifications.send_test(installation(), address)
    audit.add(installation(), g.actor, "notification.tested", shown)
    flash(f"The test message to {shown} was sent.")


def _page(form: Test) -> str:
    before = request.args.get("before")
    if before is not None and not (before.isascii() and before.isdecimal() and len(before) < _LONGEST_NUMBER):
        abort(400, "The page to go on from is not one. Begin at the first page.")
    rows = history.deliveries(installation(), Wanted(before=int(before) if before else None, limit=_DELIVERIES))
    everybody = listeners.of_all(installation())
    return render_template(
        "manage/notifications.html",
        form=form,
        everybody=everybody[:_LISTENERS],
        count=len(everybody),
        what=WHAT,
        deliveries=rows[:_DELIVERIES],
        following=rows[_DELIVERIES - 1].id if len(rows) > _DELIVERIES else None,
        rules=installation().settings.notify,
        has_mail=installation().settings.smtp_url is not None,
        zone=installation().settings.timezone,
    )

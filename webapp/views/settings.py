"""Settings: what the environment says, mail, keys and the recovery kit."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, flash, g, redirect, render_template, url_for

from engine.errors import EngineError
from webapp.errors import Fault, Faulty, ServiceError
from webapp.extensions import installation
from webapp.forms import settings as forms
from webapp.security import needs
from webapp.services import accounts, audit, keyrings, keys, kit, notifications, stated
from webapp.services.repositories import silent
from webapp.views import faults

pages = Blueprint("settings", __name__, url_prefix="/settings")


@pages.get("")
@needs("settings.edit")
def index() -> str:
    """Everything that is set, and by which variable."""
    return _page()


@pages.post("/mail")
@needs("settings.edit")
def mail() -> Any:
    """Sends a test mail."""
    form = forms.Mail()
    if not form.validate_on_submit():
        return _page(mail=form), 422
    try:
        address = form.address.data.strip()
        if "@" not in address or "://" in address:
            raise Faulty("No test mail was sent.", [Fault("/address", "must be an e-mail address.")])
        notifications.send_test(installation(), address)
    except ServiceError as error:
        status = faults.show(form, error)
        return _page(mail=form), status
    audit.add(installation(), g.actor, "notification.tested", address)
    flash(f"The test mail to {address} was sent.")
    return redirect(url_for("settings.index"))


@pages.post("/kit")
@needs("keys.manage")
def make_kit() -> Any:
    """The recovery kit as a file, with a new recovery code. Earlier codes go when it was typed back, or with the next
    backup."""
    form = forms.Kit()
    if not form.validate_on_submit():
        return _page(kit=form), 422
    try:
        accounts.require_password(installation(), g.actor, form.password.data)
        made = kit.make(installation(), present_code=None, tell=silent)
        page = kit.render(made, form.format.data)
    except (ServiceError, EngineError) as error:
        status = faults.show(form, error)
        return _page(kit=form), status
    audit.add(installation(), g.actor, "key.kit_made", "keyring")
    ending = "html" if form.format.data == "html" else "txt"
    # As a file, never as a page of ours: it must not lie in a tab, and its styles are not ours.
    response = Response(page, content_type="application/octet-stream")
    response.headers["Content-Disposition"] = f'attachment; filename="recovery-kit.{ending}"'
    return response


@pages.post("/code")
@needs("keys.manage")
def code() -> Any:
    """Checks that the code on paper is right; then earlier ones stop working."""
    form = forms.Code()
    if not form.validate_on_submit():
        return _page(code=form), 422
    typed, form.code.data = form.code.data, ""  # a code does not go into a page again
    try:
        keyrings.confirm_code(installation().settings, typed)
    except (ServiceError, EngineError) as error:
        faults.show(form, error)
        return _page(code=form), 422
    audit.add(installation(), g.actor, "key.code_confirmed", "keyring")
    waiting = keys.settle(installation())
    flash("The recovery code is right.")
    for name, reason in waiting.items():
        flash(f"Earlier codes still work at {name}: {reason} The next backup tries again.", "error")
    return redirect(url_for("settings.index"))


def _page(*, mail: Any = None, kit: Any = None, code: Any = None) -> str:
    own = installation()
    return render_template(
        "manage/settings.html",
        groups=stated.groups(own),
        keys=stated.keys(own),
        built_in=stated.built_in(),
        mail=mail or forms.Mail(formdata=None),
        kit=kit or forms.Kit(formdata=None),
        code=code or forms.Code(formdata=None),
        has_mail=own.settings.smtp_url is not None,
    )

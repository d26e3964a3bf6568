"""Who may come in and what they may do: accounts for those who manage them, tokens for everybody."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from flask import Blueprint, flash, g, redirect, render_template, request, url_for

from webapp.errors import ServiceError
from webapp.extensions import installation
from webapp.forms import people as forms
from webapp.models import User
from webapp.roles import ROLES
from webapp.security import needs
from webapp.services import accounts, presence, sessions, tokens
from webapp.services.permissions import PERMISSIONS, SCOPES, allows
from webapp.services.presence import Presence
from webapp.services.tokens import Wish
from webapp.views import faults
from webapp.views.frame import undo

pages = Blueprint("people", __name__)
_TOKEN_DAYS = 90
_TOKENS_SHOWN = 50
MATRIX = (
    ("See status, history, statistics and one's own audit entries", "overview.read"),
    ("Start, check and cancel backups", "backups.create"),
    ("Look into restore points and download from them", "backups.browse"),
    ("Restore", "backups.restore"),
    ("Change backups, schedules and retention", "configurations.edit"),
    ("Pin restore points, apply retention", "retention.apply"),
    ("Add and change destinations", "destinations.edit"),
    ("Test notifications, see the service's health", "notifications.test"),
    ("Approve what another admin asked for", "approvals.give"),
    ("Delete restore points for good", "retention.delete_now"),
    ("Manage accounts, and tokens of others", "users.manage"),
    ("Read the whole audit log", "audit.everything"),
    ("Keys and settings", "keys.manage"),
)
# The first that fits: Edge and Opera also call themselves Chrome, and Chrome calls itself Safari.
_BROWSERS = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("Chrom", "Chrome"),
    ("Safari/", "Safari"),
    ("curl/", "curl"),
)
_SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS", "macOS"),
    ("Linux", "Linux"),
)
SCOPE_WORDS = {
    "read": "read: look at figures",
    "run": "run: also make and check backups",
    "admin": "admin: also restore, download and change",
    "super_admin": "super_admin: everything",
}


@pages.app_template_filter("browser")
def browser(agent: str) -> str:
    """`Firefox on Linux`, of what a browser calls itself: as well as that can be told."""
    name = next((shown for sign, shown in _BROWSERS if sign in agent), "Another program")
    system = next((shown for sign, shown in _SYSTEMS if sign in agent), "")
    return f"{name} on {system}" if system else name


@pages.get("/users")
@needs("users.manage")
def users() -> str:
    """All accounts, and what each role may do."""
    return _users(forms.NewUser())


@pages.post("/users")
@needs("users.manage")
def add_user() -> Any:
    """A new account; its one-time password is shown once."""
    form = forms.NewUser()
    if not form.validate_on_submit():
        return _users(form), 422
    try:
        made = accounts.add(installation(), g.actor, form.name.data, form.role.data)
    except ServiceError as error:
        status = faults.show(form, error)
        return _users(form), status
    return render_template("manage/one-time.html", made=made, what="The account was made")


@pages.get("/users/<name>")
@needs("users.manage")
def user(name: str) -> Any:
    """One account with its browsers and tokens."""
    return _user(accounts.find(installation(), name))


@pages.post("/users/<name>/role")
@needs("users.manage")
def role(name: str) -> Any:
    """Another role."""
    before, form = accounts.find(installation(), name), forms.Role()
    if not form.validate_on_submit():
        return _user(before, role_form=form), 422
    try:
        changed = accounts.set_role(installation(), g.actor, before.public_id, form.role.data)
    except ServiceError as error:
        status = faults.show(form, error)
        return _user(before, role_form=form), status
    undo(
        f"{changed.name} is {changed.role} now; it was {before.role}.",
        url_for("people.role_back", name=changed.name, role=before.role),
    )
    return redirect(url_for("people.user", name=changed.name))


@pages.post("/users/<name>/role/<role>")
@needs("users.manage")
def role_back(name: str, role: str) -> Any:
    """The role from before."""
    changed = accounts.set_role(installation(), g.actor, name, role)
    flash(f"{changed.name} is {changed.role} again.")
    return redirect(url_for("people.user", name=changed.name))


@pages.post("/users/<name>/disable")
@needs("users.manage")
def disable(name: str) -> Any:
    """Lets somebody in no more."""
    found = accounts.find(installation(), name)
    try:
        accounts.disable(installation(), g.actor, found.public_id)
    except ServiceError as error:
        flash(str(error), "error")
        return redirect(url_for("people.user", name=found.name))
    undo(
        f"{found.name} cannot come in any more. Sessions have ended, tokens do not count.",
        url_for("people.enable", name=found.name),
    )
    return redirect(url_for("people.user", name=found.name))


@pages.post("/users/<name>/enable")
@needs("users.manage")
def enable(name: str) -> Any:
    """Lets somebody in again."""
    found = accounts.enable(installation(), g.actor, name)
    flash(f"{found.name} can come in again. Whoever was signed in has to do so anew.")
    return redirect(url_for("people.user", name=found.name))


@pages.post("/users/<name>/reset")
@needs("users.manage")
def reset(name: str) -> Any:
    """A one-time password; the name has to be typed, for sessions and second factor go for good."""
    found, form = accounts.find(installation(), name), forms.Typed()
    if not form.validate_on_submit():
        return _user(found, reset_form=form), 422
    if form.typed.data.strip().lower() != found.name:
        form.typed.errors = [f"Type {found.name}, the name of the account."]
        return _user(found, reset_form=form), 422
    made = accounts.reset_password(installation(), g.actor, found.public_id)
    return render_template("manage/one-time.html", made=made, what="The password was reset")


@pages.post("/users/<name>/sessions/end")
@needs("users.manage")
def end_sessions(name: str) -> Any:
    """Signs somebody out everywhere."""
    found = accounts.find(installation(), name)
    count = sessions.end_all(installation(), g.actor, found)
    flash(f"{count} {'session' if count == 1 else 'sessions'} of {found.name} ended.")
    return redirect(url_for("people.user", name=found.name))


@pages.get("/tokens", endpoint="tokens")
@needs("account.own")
def list_tokens() -> str:
    """One's own tokens; those of others for who may see them."""
    own = request.args.get("whose") != "all" or not g.actor.may("tokens.others")
    found = tokens.listing(installation(), user_id=g.actor.user_id if own else None)
    return render_template(
        "manage/tokens.html",
        found=found[:_TOKENS_SHOWN],
        count=len(found),
        own=own,
        now=installation().clock(),
    )


@pages.route("/tokens/new", methods=["GET", "POST"])
@needs("account.own")
def new_token() -> Any:
    """A token that acts for who makes it. The secret is shown once."""
    own, zone = installation(), ZoneInfo(installation().settings.timezone)
    form = forms.NewToken(data={"last_day": (own.clock().astimezone(zone) + timedelta(days=_TOKEN_DAYS)).date()})
    form.scope.choices = {scope: SCOPE_WORDS[scope] for scope in _scopes(g.actor.role)}
    if not form.validate_on_submit():
        return render_template("manage/token-form.html", form=form), 422 if form.errors else 200
    end = None if form.last_day.data is None else datetime.combine(form.last_day.data, time.max, zone)
    wish = Wish(form.name.data.strip(), form.scope.data, end, form.wanted_networks())
    try:
        made = tokens.create(own, g.actor, accounts.fetch(own, g.actor.user_id), wish)
    except ServiceError as error:
        status = faults.show(form, error, names={"expiresAt": "last_day"})
        return render_template("manage/token-form.html", form=form), status
    return render_template("manage/token-made.html", made=made)


@pages.post("/tokens/<token_id>/revoke")
@needs("account.own")
def revoke(token_id: str) -> Any:
    """Ends a token at once."""
    gone = tokens.revoke(installation(), g.actor, token_id)
    flash(f"The token {gone.name} does not count any more.")
    return redirect(url_for("people.tokens", whose=None if gone.user_id == g.actor.user_id else "all"))


def _scopes(role: str) -> list[str]:
    """The scopes by which a token of this role reaches more than by the one before."""
    reached = [{name for name in PERMISSIONS if allows(name, role=role, scope=scope)} for scope in SCOPES]
    return [scope for number, scope in enumerate(SCOPES) if number == 0 or reached[number] != reached[number - 1]]


def _users(form: Any) -> str:
    rows = [(label, [allows(permission, role=each) for each in ROLES]) for label, permission in MATRIX]
    return render_template(
        "manage/users.html",
        found=accounts.listing(installation()),
        presence=presence.of_all(installation()),
        nobody=Presence(),
        form=form,
        roles=ROLES,
        matrix=rows,
    )


def _user(found: User, *, role_form: Any = None, reset_form: Any = None) -> str:
    return render_template(
        "manage/user.html",
        each=found,
        sessions=sessions.listing(installation(), found.id)[:_TOKENS_SHOWN],
        tokens=tokens.listing(installation(), user_id=found.id)[:_TOKENS_SHOWN],
        seen=presence.of_all(installation()).get(found.id, Presence()),
        role_form=role_form or forms.Role(data={"role": found.role}),
        reset_form=reset_form or forms.Typed(formdata=None),
        now=installation().clock(),
        me=g.actor.user_id,
    )

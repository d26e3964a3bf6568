"""Signing in and out, the password, the second factor, the sessions of the person who is signed in."""

from __future__ import annotations

from typing import Any

import segno
from flask import Blueprint, flash, g, redirect, render_template, request, session, url_for
from flask_login import UserMixin, current_user, login_user, logout_user
from werkzeug.wrappers import Response

from webapp.errors import Faulty, NotSignedIn, ServiceError, TooMany
from webapp.extensions import installation, login_manager
from webapp.forms.account import Code, Password, SignIn
from webapp.models import User, WebSession
from webapp.security import PUBLIC, client_address, needs
from webapp.services import accounts, second_factor, sessions
from webapp.services.access import Actor
from webapp.services.sessions import Browser
from webapp.views import faults

pages = Blueprint("account", __name__)
_WAITING = "waiting"
_WAITING_SECONDS = 300
_SESSIONS = 50


class SignedIn(UserMixin):  # type: ignore[misc]
    """Flask-Login's user: a session of ours, known by the secret in the signed cookie."""

    def __init__(self, found: WebSession, secret: str) -> None:
        self.session = found
        self._secret = secret

    def get_id(self) -> str:
        """What the cookie holds."""
        return self._secret

    @property
    def actor(self) -> Actor:
        """Who acts."""
        return sessions.actor_of(self.session, client_address())


@login_manager.user_loader  # type: ignore[untyped-decorator]
def load(secret: str) -> SignedIn | None:
    """The person behind a cookie; None when the session has ended."""
    found = sessions.resume(installation(), secret)
    return None if found is None else SignedIn(found, secret)


@pages.route("/sign-in", methods=["GET", "POST"])
@needs(PUBLIC)
def sign_in() -> Any:
    """Name and password, then perhaps a code."""
    form = SignIn(data={"next": request.args.get("next", "")})
    if not form.validate_on_submit():
        return _sign_in_page(form), 422 if form.errors else 200
    try:
        user = sessions.check_password(installation(), form.name.data, form.password.data, _browser())
        if user.has_second_factor:
            session.clear()
            now = installation().clock().timestamp()
            session[_WAITING] = [user.public_id, user.password_changed_at.isoformat(), now, form.next.data]
            return redirect(url_for("account.code"))
        return _opened(user, form.next.data)
    except (NotSignedIn, TooMany) as error:
        status = faults.show(form, error)
        return _sign_in_page(form), status, faults.headers(error)


@pages.route("/sign-in/code", methods=["GET", "POST"])
@needs(PUBLIC)
def code() -> Any:
    """The second factor of somebody whose password was right less than five minutes ago."""
    user, way = _waiting()
    if user is None:
        return redirect(url_for("account.sign_in"))
    form = Code()
    if not form.validate_on_submit():
        return render_template("account/code.html", form=form), 422 if form.errors else 200
    try:
        return _opened(user, way, code=form.code.data)
    except (NotSignedIn, TooMany) as error:
        status = faults.show(form, error)
        return render_template("account/code.html", form=form), status, faults.headers(error)


@pages.post("/sign-out")
@needs("account.own", also_unfinished=True)
def sign_out() -> Any:
    """Ends this session."""
    sessions.end(installation(), g.actor, current_user.session.public_id)
    logout_user()
    session.clear()
    return redirect(url_for("account.sign_in"))


@pages.route("/account/password", methods=["GET", "POST"])
@needs("account.own", also_unfinished=True)
def password() -> Any:
    """A new password; every session of the person ends, and this browser gets a new one."""
    form, user = Password(), current_user.session.user
    if not form.validate_on_submit():
        return render_template("account/password.html", form=form, user=user), 422 if form.errors else 200
    try:
        changed = accounts.change_password(installation(), g.actor, present=form.present.data, new=form.new.data)
    except (Faulty, TooMany) as error:
        status = faults.show(form, error)
        return render_template("account/password.html", form=form, user=user), status, faults.headers(error)
    flash("The password was changed; all other sessions have ended.")
    opened = sessions.open_trusted(installation(), changed, _browser())
    return _entered(opened, "")


@pages.get("/account")
@needs("account.own")
def index() -> str:
    """Password, second factor, sessions."""
    own, user = installation(), current_user.session.user
    return render_template(
        "account/index.html",
        user=user,
        here=current_user.session.public_id,
        sessions=sessions.listing(own, user.id)[:_SESSIONS],
        codes_left=second_factor.codes_left(own, user) if user.has_second_factor else 0,
    )


@pages.post("/account/sessions/<public_id>/end")
@needs("account.own")
def end_session(public_id: str) -> Any:
    """Ends one of one's own sessions."""
    sessions.end(installation(), g.actor, public_id)
    flash("The session has ended.")
    return redirect(url_for("account.index"))


@pages.post("/account/sessions/end-others")
@needs("account.own")
def end_others() -> Any:
    """Signs out everywhere but here."""
    count = sessions.end_others(installation(), g.actor, current_user.session.public_id)
    flash(f"{count} other {'session' if count == 1 else 'sessions'} ended.")
    return redirect(url_for("account.index"))


@pages.route("/account/second-factor", methods=["GET", "POST"])
@needs("account.own")
def factor() -> Any:
    """Sets up or removes the second factor."""
    form, user, status = Code(), current_user.session.user, 200
    if request.method == "GET" and not user.has_second_factor and user.totp_sealed is None:
        second_factor.begin(installation(), g.actor)
        user = accounts.fetch(installation(), user.id)
    if form.validate_on_submit():
        try:
            if user.has_second_factor:
                second_factor.remove(installation(), g.actor, form.code.data)
                flash("The second factor was removed.")
                return redirect(url_for("account.index"))
            codes = second_factor.confirm(installation(), g.actor, form.code.data)
            return render_template("account/recovery-codes.html", codes=codes)
        except (Faulty, TooMany) as error:
            status = faults.show(form, error)
    enrolment = second_factor.pending(installation(), user)
    image = None if enrolment is None else segno.make(enrolment.address, error="m").svg_inline(scale=5, border=2)
    page = render_template("account/second-factor.html", form=form, user=user, enrolment=enrolment, image=image)
    return page, 422 if form.errors and status == 200 else status


def _sign_in_page(form: SignIn) -> str:
    return render_template("account/sign-in.html", form=form, is_fresh=accounts.is_untouched(installation()))


def _opened(user: User, way: str, *, code: str | None = None) -> Response:
    return _entered(sessions.open_session(installation(), user, _browser(), code=code), way)


def _entered(opened: sessions.Opened, way: str) -> Response:
    """A session that begins now shares nothing with what the browser had before: neither cookie nor form tokens."""
    session.clear()
    found = sessions.resume(installation(), opened.secret)
    assert found is not None
    login_user(SignedIn(found, opened.secret))
    return redirect(_safe(way))


def _waiting() -> tuple[User | None, str]:
    """Who gave the right password and has not yet given a code, and where they wanted to go."""
    try:
        public_id, changed, at, way = session[_WAITING]
        user = accounts.find(installation(), public_id)
    except (KeyError, ValueError, ServiceError):
        return None, ""
    age = installation().clock().timestamp() - at
    if not 0 <= age < _WAITING_SECONDS or user.password_changed_at.isoformat() != changed or not user.is_enabled:
        return None, ""
    return user, way


def _safe(way: str) -> str:
    """A path of this service: never somebody else's address, however it is spelled."""
    plain = way.startswith("/") and way.isprintable() and not way.startswith("//") and "\\" not in way
    return way if plain else url_for("overview.index")


def _browser() -> Browser:
    return Browser(client_address(), request.headers.get("User-Agent", ""))

"""What every request passes before a view sees it, and what every answer carries: hosts, networks, who asks, whether
they may, headers. A view that does not say what it needs is never reached."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

from flask import Flask, Response, abort, g, redirect, request, url_for
from flask_login import current_user

from webapp import problems
from webapp.errors import Forbidden, NotSignedIn, Unavailable
from webapp.extensions import installation
from webapp.problems import API
from webapp.services import audit, tokens
from webapp.services.access import Actor, is_within, require

PUBLIC = "public"
HEALTH = "health"
UNFINISHED = "unfinished"
"""What somebody may do who must change the password first."""
_NEEDS = "_holdfast_needs"
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
_View = TypeVar("_View", bound=Callable[..., object])


@dataclass(frozen=True)
class Need:
    """What a view needs; `also_unfinished`: also who must change the password first may see it; `also_token`: a page
    that also a program may ask for, with its token."""

    permission: str
    also_unfinished: bool = False
    also_token: bool = False


def needs(permission: str, *, also_unfinished: bool = False, also_token: bool = False) -> Callable[[_View], _View]:
    """Says which permission a view needs (services/permissions.py), or PUBLIC, or HEALTH, which any network may ask."""

    def mark(view: _View) -> _View:
        setattr(view, _NEEDS, Need(permission, also_unfinished, also_token))
        return view

    return mark


def needed_by(view: Callable[..., object]) -> Need | None:
    """What `needs` said; None when nobody said anything."""
    found: Need | None = getattr(view, _NEEDS, None)
    return found


def register(app: Flask) -> None:
    """Sets the guard and the headers."""
    app.before_request(_guard)
    app.after_request(_with_headers)
    app.register_error_handler(Forbidden, _denied)


def client_address() -> str | None:
    """Where the request came from. Only what a trusted proxy adds to X-Forwarded-For is believed, from the right."""
    proxies = installation().settings.trusted_proxies
    address = request.remote_addr
    said = [part.strip() for part in ",".join(request.headers.getlist("X-Forwarded-For")).split(",") if part.strip()]
    while said and is_within(address, proxies):
        address = said.pop()
    try:
        return str(ipaddress.ip_address(address or ""))
    except ValueError:
        return None


def is_secure() -> bool:
    """Whether the browser's connection is encrypted."""
    if is_within(request.remote_addr, installation().settings.trusted_proxies):
        return request.headers.get("X-Forwarded-Proto", "http") == "https"
    return request.is_secure


def _guard() -> Response | None:
    g.actor = None
    view = None if request.endpoint is None else (installation_app().view_functions.get(request.endpoint))
    needed = None if view is None else needed_by(view)
    settings = installation().settings
    if needed is None or needed.permission != HEALTH:
        _refuse_hosts()
        if settings.allowed_networks and not is_within(client_address(), settings.allowed_networks):
            raise Forbidden("Requests from your network are not accepted.", hint="See HOLDFAST_ALLOWED_NETWORKS.")
    if request.endpoint == "static":
        return None
    if view is None and not request.path.startswith(API):
        g.actor = current_user.actor if current_user.is_authenticated else None  # for the menu of the error page
        return None
    if needed is not None and needed.permission in (PUBLIC, HEALTH):
        return None
    g.actor = _actor(needed)
    if g.actor is None:
        return redirect(url_for("account.sign_in", next=_way_back()))  # type: ignore[return-value]
    if view is None:
        return None
    if needed is None:
        raise Unavailable(f"{request.path} does not say who may ask for it.", hint="Please report it.")
    _refuse_unfinished(needed)
    require(g.actor, needed.permission)
    return None


def _denied(error: Forbidden) -> Response:
    """Whoever is known and is refused, here or by a service, is noted. What nobody sends fills no log: see throttle."""
    actor = getattr(g, "actor", None)
    if actor is not None:
        what = f"{request.method} {request.path}"
        audit.add(installation(), actor, "access.denied", what, outcome=audit.DENIED, error=error.message)
    return problems.answer(problems.of_error(error))


def installation_app() -> Flask:
    """The application of this request."""
    from flask import current_app

    return current_app


def _actor(needed: Need | None) -> Actor | None:
    """Under /api only a token counts, so no foreign page can use somebody's cookie there; elsewhere a session, and a
    token only where the view says so."""
    takes_token = needed is not None and needed.also_token and "Authorization" in request.headers
    if request.path.startswith(API) or takes_token:
        kind, _, secret = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "bearer" or not secret.strip():
            raise NotSignedIn("A token is needed: `Authorization: Bearer hf_…`.", hint="Sign in to make one.")
        return tokens.authenticate(installation(), secret.strip(), client_address())
    if not current_user.is_authenticated:
        return None
    actor: Actor = current_user.actor
    return actor


def _refuse_unfinished(needed: Need) -> None:
    if g.actor.scope is not None or needed.also_unfinished:  # a token has no password
        return
    if current_user.session.user.must_change_password:
        abort(redirect(url_for("account.password")))


def _refuse_hosts() -> None:
    """A name in the Host header that is not ours may belong to a page that wants to be taken for us (DNS rebinding).
    An address in digits cannot."""
    try:
        host = (urlsplit(f"//{request.host}").hostname or "").rstrip(".")
    except ValueError:
        host = ""
    own = installation()
    known = {"localhost", own.host.lower()}
    if own.settings.public_url:
        known.add(urlsplit(own.settings.public_url).hostname or "")
    if host in known:
        return
    try:
        ipaddress.ip_address(host)
    except ValueError:
        abort(400, "This name is not one of this service. Set HOLDFAST_URL to the address that people use.")


def _way_back() -> str | None:
    return request.path if request.method == "GET" and request.path != "/" else None


def _with_headers(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    if request.endpoint != "static":
        response.headers.setdefault("Cache-Control", "no-store")
    if is_secure():
        response.headers.setdefault("Strict-Transport-Security", "max-age=31536000")
    return response

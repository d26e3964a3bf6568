"""Errors on their way out over HTTP: one status for each kind, problem+json (RFC 9457) under /api, pages elsewhere."""

from __future__ import annotations

import http
import json
from dataclasses import dataclass
from typing import Any

from flask import Flask, Response, current_app, g, render_template, request
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException

from engine import errors as engine
from engine.ids import new_id, spell
from webapp import errors as service

API = "/api/"
MEDIA_TYPE = "application/problem+json"
# The first class that fits decides, so special ones come before general ones.
_STATUSES: tuple[tuple[type[Exception], int], ...] = (
    (service.NotSignedIn, 401),
    (service.Forbidden, 403),
    (service.NotFound, 404),
    (service.Outdated, 412),
    (service.Conflict, 409),
    (service.ConfirmationNeeded, 409),
    (service.Difference, 409),
    (service.SettingsInvalid, 503),
    (service.KeyMissing, 503),
    (service.Unreadable, 400),
    (service.WrongMedia, 415),
    (service.Invalid, 422),
    (service.TooMany, 429),
    (service.Unavailable, 503),
    (engine.NotFound, 404),
    (engine.Busy, 409),
    (engine.Cancelled, 409),
    (engine.Corrupt, 409),
    (engine.RetentionRefused, 409),
    (engine.EngineError, 503),
)


# What Flask refuses before a view sees it; its own sentences are for programmers.
_REFUSED = {
    400: "The request cannot be read.",
    404: "There is nothing at this address.",
    405: "This address does not take requests of this kind.",
    413: "What was sent is too large.",
}
_OLD_FORM = "This form is too old, or it was not made by this page."


@dataclass(frozen=True)
class Problem:
    """What went wrong, in the words of RFC 9457 and with what to do."""

    status: int
    detail: str
    hint: str = ""
    faults: tuple[service.Fault, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    extra: tuple[tuple[str, str], ...] = ()

    @property
    def title(self) -> str:
        """The status in words."""
        return http.HTTPStatus(self.status).phrase

    def document(self) -> dict[str, Any]:
        """As in problem+json."""
        return {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "hint": self.hint or None,
            "errors": [{"pointer": fault.pointer, "detail": fault.detail} for fault in self.faults],
            **dict(self.extra),
        }


def register(app: Flask) -> None:
    """Every error of a request ends here."""

    @app.errorhandler(HTTPException)
    def of_flask(error: HTTPException) -> Response:
        headers = tuple((name, value) for name, value in error.get_headers() if name in ("Allow", "Retry-After"))
        if error.code is None or error.code < 400:
            return Response(error.get_body(), error.code or 308, error.get_headers())
        if isinstance(error, CSRFError):
            return answer(Problem(400, _OLD_FORM, "Load the page again and send the form once more.", headers=headers))
        said = _REFUSED.get(error.code) if error.description == type(error).description else None
        return answer(Problem(error.code, said or error.description or "", headers=headers))

    @app.errorhandler(Exception)
    def of_ours(error: Exception) -> Response:
        if isinstance(error, service.ServiceError | engine.EngineError):
            return answer(of_error(error))
        number = spell("er", new_id())
        app.logger.error("A request failed.", exc_info=error, extra={"error_id": number, "path": request.path})
        said = f"Something happened that this program does not expect. It is in the log as {number}."
        return answer(Problem(500, said, "Please report it.", extra=(("errorId", number),)))


def of_error(error: service.ServiceError | engine.EngineError) -> Problem:
    """The problem that an error of a service or of the engine is."""
    status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
    faults = error.faults if isinstance(error, service.Faulty) else ()
    faults = faults or tuple(service.Fault("/target", each) for each in getattr(error, "differences", ()))
    headers: tuple[tuple[str, str], ...] = ()
    extra: tuple[tuple[str, str], ...] = ()
    if isinstance(error, service.TooMany):
        headers = (("Retry-After", str(error.retry_after)),)
    if isinstance(error, service.Outdated):
        headers = (("ETag", f'"{error.version}"'),)
    if isinstance(error, service.Busy):
        extra = (("runId", error.run_id),)
    if status == 401:
        headers = (("WWW-Authenticate", 'Bearer realm="Holdfast"'),)
    faults = tuple(service.Fault(_readable(each.pointer), _readable(each.detail)) for each in faults)
    return Problem(status, _readable(error.message), _readable(error.hint), faults, headers, extra)


def _readable(text: str) -> str:
    """Names that are no text (bytes of files, as Python spells them) cannot be sent as they are."""
    return text.encode("utf-8", "backslashreplace").decode()


def answer(problem: Problem) -> Response:
    """The response, in the form that the path asks for."""
    if request.path.startswith(API):
        body = json.dumps(problem.document(), ensure_ascii=False)
        response = Response(body, problem.status, content_type=MEDIA_TYPE)
    else:
        page = _bare(problem) if problem.status >= 500 else _page(problem)
        response = Response(page, problem.status, content_type="text/html; charset=utf-8")
    response.headers.extend(problem.headers)
    return response


def _page(problem: Problem) -> str:
    return render_template("error.html", problem=problem, signed_in=getattr(g, "actor", None) is not None)


def _bare(problem: Problem) -> str:
    """Without the frame: what failed may be what the frame asks, too, and the person may not be known."""
    template = current_app.jinja_env.get_template("error.html")
    return template.render(problem=problem, signed_in=getattr(g, "actor", None) is not None, is_bare=True)

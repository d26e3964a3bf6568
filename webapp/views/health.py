"""Whether the service is fine: a page with every part for administrators, and for those who watch from outside whether
the process lives and can do its work (they are told nothing else); numbers for those with a token."""

from __future__ import annotations

from flask import Blueprint, Response, render_template
from sqlalchemy import text

from webapp.errors import Unavailable
from webapp.extensions import installation
from webapp.queue import opened
from webapp.security import HEALTH, needs
from webapp.services import doctor, metrics, vitals

pages = Blueprint("health", __name__)
_OK, _AWAY = "ok", "unavailable"


@pages.get("/healthz")
@needs(HEALTH)
def alive() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@pages.get("/readyz")
@needs(HEALTH)
def ready() -> tuple[dict[str, str], int]:
    """Whether database and Redis answer. Without the database it is 503. Without Redis it is 200 and `degraded`: what
    is asked for waits and starts later, and taking the pages away as well would help nobody."""
    database, redis = _database(), _redis()
    if database != _OK:
        return {"status": _AWAY, "database": database, "redis": redis}, 503
    return {"status": _OK if redis == _OK else "degraded", "database": database, "redis": redis}, 200


@pages.get("/metrics")
@needs("overview.read", also_token=True)
def numbers() -> Response:
    """The state as numbers for Prometheus, which sends a token as `Authorization: Bearer`."""
    return Response(metrics.text(installation()), content_type=metrics.CONTENT_TYPE)


@pages.get("/health")
@needs("health.read")
def page() -> str:
    """Each part of the service, looked at now."""
    return _page(None)


@pages.post("/health/check")
@needs("health.read")
def check() -> str:
    """Also what takes a while: every destination, every configuration."""
    own = installation()
    return _page(doctor.examine(own.settings, opened=lambda: own, cwd=own.settings.home))


def _page(findings: list[doctor.Finding] | None) -> str:
    own = installation()
    return render_template("manage/health.html", parts=vitals.look(own), findings=findings, now=own.clock())


def _database() -> str:
    try:
        with installation().database.reading() as session:
            session.execute(text("SELECT 1"))
    except Unavailable:
        return _AWAY
    return _OK


def _redis() -> str:
    try:
        with opened(installation().settings) as queue:
            queue.ping()
    except Unavailable:
        return _AWAY
    return _OK

"""For those who watch: whether the process lives, and whether it can do its work. They tell nothing else."""

from __future__ import annotations

from flask import Blueprint
from sqlalchemy import text

from webapp.errors import Unavailable
from webapp.extensions import installation
from webapp.security import HEALTH, needs

pages = Blueprint("health", __name__)


@pages.get("/healthz")
@needs(HEALTH)
def alive() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@pages.get("/readyz")
@needs(HEALTH)
def ready() -> tuple[dict[str, str], int]:
    """The database answers; 503 when it does not."""
    try:
        with installation().database.reading() as session:
            session.execute(text("SELECT 1"))
    except Unavailable:
        return {"status": "unavailable", "database": "unavailable"}, 503
    return {"status": "ok", "database": "ok"}, 200

"""The JSON API: endpoints that say what they need, take and answer; the document and its page follow from that."""

from __future__ import annotations

from types import ModuleType

from flask import Blueprint, Flask

PREFIX = "/api/backup"


def modules() -> tuple[ModuleType, ...]:
    """The modules whose ROUTES are the API."""
    from webapp.api import backups, configurations, contents, destinations, notifications, people, restores, runs

    return configurations, backups, contents, restores, runs, destinations, notifications, people


def register(app: Flask) -> None:
    """All endpoints under /api, none of which takes a cookie, so none needs a form token."""
    from webapp.api import docs
    from webapp.api.endpoint import view_of
    from webapp.extensions import csrf

    api = Blueprint("api", __name__, url_prefix=PREFIX)
    for module in modules():
        for each in module.ROUTES:
            api.add_url_rule(
                each.path, each.name, view_of(each), methods=[each.method], provide_automatic_options=False
            )
    csrf.exempt(api)
    app.register_blueprint(api)
    app.register_blueprint(docs.pages)

"""The JSON API: endpoints that say what they need, take and answer; the document and its page follow from that."""

from __future__ import annotations

from flask import Blueprint, Flask

PREFIX = "/api/backup"


def register(app: Flask) -> None:
    """All endpoints under /api, none of which takes a cookie, so none needs a form token."""
    from webapp.api import backups, configurations, destinations, docs, people, runs
    from webapp.api.endpoint import view_of
    from webapp.extensions import csrf

    api = Blueprint("api", __name__, url_prefix=PREFIX)
    for module in (configurations, backups, runs, destinations, people):
        for each in module.ROUTES:
            api.add_url_rule(
                each.path, each.name, view_of(each), methods=[each.method], provide_automatic_options=False
            )
    csrf.exempt(api)
    app.register_blueprint(api)
    app.register_blueprint(docs.pages)

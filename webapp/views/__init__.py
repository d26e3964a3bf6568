"""Pages: parse the form, call the service, show the template. No rule lives here."""

from __future__ import annotations

from flask import Flask


def register(app: Flask) -> None:
    """All pages."""
    from webapp.views import account, backups, downloads, frame, health, overview, points, restores, runs, showing

    for module in (overview, backups, runs, points, restores, account, downloads, health):
        app.register_blueprint(module.pages)
    frame.register(app)
    showing.register(app)

"""Pages: parse the form, call the service, show the template. No rule lives here."""

from __future__ import annotations

from flask import Flask


def register(app: Flask) -> None:
    """All pages."""
    from webapp.views import account, health, start

    for module in (start, account, health):
        app.register_blueprint(module.pages)

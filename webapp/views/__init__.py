"""Pages: parse the form, call the service, show the template. No rule lives here."""

from __future__ import annotations

from importlib import import_module

from flask import Flask

# The modules that have pages, one a line.
_PAGES = (
    "overview",
    "backups",
    "runs",
    "statistics",
    "points",
    "contents",
    "restores",
    "verification",
    "destinations",
    "notifications",
    "audit",
    "people",
    "settings",
    "account",
    "downloads",
    "health",
    "styleguide",
)


def register(app: Flask) -> None:
    """All pages."""
    from webapp.views import frame, showing

    for name in _PAGES:
        app.register_blueprint(import_module(f"webapp.views.{name}").pages)
    frame.register(app)
    showing.register(app)

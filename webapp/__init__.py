"""The web application and the services. Importing this package imports nothing: the command line must start fast."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from webapp.installation import Installation
    from webapp.settings import Settings

_CHECKOUT = Path(__file__).resolve().parent.parent
# A configuration may have 1 MiB; a form is small.
_BODY_BYTES = (1 << 20) + (1 << 16)
_FORM_BYTES, _FORM_PARTS = 1 << 16, 50


def create_app(settings: Settings, *, installation: Installation | None = None) -> Flask:
    """The Flask application on its own database, or on an installation that is open. Raises SettingsInvalid and
    Unavailable."""
    from flask import Flask

    from webapp import api, problems, security, views
    from webapp.extensions import INSTALLATION, csrf, db, login_manager
    from webapp.installation import open_installation
    from webapp.secretkey import secret_key
    from webapp.services import sessions

    app = Flask(__name__, template_folder=str(_CHECKOUT / "templates"), static_folder=str(_CHECKOUT / "static"))
    opened = installation or open_installation(settings)
    app.extensions[INSTALLATION] = opened
    app.config.update(
        SECRET_KEY=secret_key(settings),
        SQLALCHEMY_DATABASE_URI=opened.database.engine.url,
        MAX_CONTENT_LENGTH=_BODY_BYTES,
        MAX_FORM_MEMORY_SIZE=_FORM_BYTES,
        MAX_FORM_PARTS=_FORM_PARTS,
        SESSION_COOKIE_NAME="holdfast",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=(settings.public_url or "").startswith("https://"),
        SESSION_REFRESH_EACH_REQUEST=False,
        WTF_CSRF_TIME_LIMIT=sessions.LONGEST.total_seconds(),  # a page may stay open as long as its session
        SEND_FILE_MAX_AGE_DEFAULT=timedelta(hours=1),
    )
    app.json.sort_keys = False  # type: ignore[attr-defined]
    db.init_app(app)
    security.register(app)
    login_manager.init_app(app)
    csrf.init_app(app)
    problems.register(app)
    views.register(app)
    api.register(app)
    return app

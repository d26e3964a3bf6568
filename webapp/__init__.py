"""The web application and the services. Importing this package imports nothing: the command line must start fast."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from webapp.settings import Settings


def create_app(settings: Settings) -> Flask:
    """The Flask application on its own database. Raises SettingsInvalid and Unavailable."""
    from flask import Flask

    from webapp.extensions import INSTALLATION, db
    from webapp.installation import open_installation

    app = Flask(__name__)
    installation = open_installation(settings)
    app.extensions[INSTALLATION] = installation
    app.config["SQLALCHEMY_DATABASE_URI"] = installation.database.engine.url
    db.init_app(app)
    return app

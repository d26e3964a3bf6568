"""Flask's extensions. Flask-SQLAlchemy works on the same tables and the same connections as the services."""

from __future__ import annotations

from typing import Any

from flask import Flask, current_app
from flask_login import LoginManager
from flask_sqlalchemy import SQLAlchemy
from flask_wtf import CSRFProtect
from sqlalchemy import Engine

from webapp.installation import Installation
from webapp.models import Base

INSTALLATION = "holdfast"


class _Shared(SQLAlchemy):
    """Uses our base as it is, and the engine of the installation's database with its habits (webapp/database.py).

    Flask-SQLAlchemy would copy the base, and with it make a second registry that knows none of our tables."""

    def _make_declarative_base(self, *arguments: Any, **options: Any) -> Any:
        return Base

    def _make_engine(self, bind_key: str | None, options: dict[str, Any], app: Flask) -> Engine:
        engine: Engine = app.extensions[INSTALLATION].database.engine
        return engine


db = _Shared(model_class=Base, disable_autonaming=True)
login_manager = LoginManager()
csrf = CSRFProtect()


def installation() -> Installation:
    """The installation of the application that serves the present request."""
    found: Installation = current_app.extensions[INSTALLATION]
    return found

"""The start page: who is signed in."""

from __future__ import annotations

from flask import Blueprint, render_template
from flask_login import current_user

from webapp.extensions import installation
from webapp.security import needs
from webapp.services import configurations

pages = Blueprint("start", __name__)


@pages.get("/")
@needs("overview.read")
def index() -> str:
    """Who is signed in, and which configurations there are."""
    return render_template(
        "start.html", user=current_user.session.user, configurations=configurations.listing(installation())
    )

"""Following a link for a download, once."""

from __future__ import annotations

from flask import Blueprint, Response, abort, g, request

from webapp.extensions import installation
from webapp.security import needs
from webapp.sending import sent
from webapp.services import links

pages = Blueprint("downloads", __name__)


@pages.get("/downloads/<secret>")
@needs("backups.download", also_token=True)
def follow(secret: str) -> Response:
    """The stream. Asking only for the head of it, as programs do that look at links in messages, uses no link up."""
    if request.method != "GET":
        abort(405)
    wish = links.take(installation(), g.actor, secret)
    return sent(installation(), g.actor, wish)

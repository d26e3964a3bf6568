"""A download as a response: streamed, kept as a file, never shown by a browser."""

from __future__ import annotations

from flask import Response

from webapp.installation import Installation
from webapp.services import downloads
from webapp.services.access import Actor
from webapp.services.downloads import Wish
from webapp.services.repositories import silent

MEDIA_TYPE = "application/octet-stream"


def sent(installation: Installation, actor: Actor, wish: Wish) -> Response:
    """The response. What goes wrong in mid-way breaks the connection off, so that nobody takes a part for the whole."""
    found = downloads.fetch(installation, actor, wish, tell=silent)
    response = Response(found.pieces, content_type=MEDIA_TYPE, direct_passthrough=True)
    response.headers["Content-Disposition"] = downloads.disposition(found.name)
    if found.size is not None:
        response.headers["Content-Length"] = str(found.size)
    return response

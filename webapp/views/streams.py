"""Answers that are no pages: texts saved as files, sent piece by piece, and parts of a page that keep up with what
happens."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from flask import Response, request, stream_with_context

_STOP = 286
"""The status by which a fragment says that it changes no more."""


def as_file(pieces: Iterable[str], name: str, media: str) -> Response:
    """An answer that a browser saves as `name` (plain letters, no quotes)."""
    response = Response(stream_with_context(iter(pieces)), content_type=f"{media}; charset=utf-8")
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def fragment(html: str, *, is_over: bool = False) -> Response:
    """A part of a page that is asked for again and again: 304 when it did not change, 286 when it never will again."""
    response = Response(html, status=_STOP if is_over else None)
    response.set_etag(hashlib.sha256(html.encode()).hexdigest()[:32])
    response.headers["Cache-Control"] = "no-cache"
    if not is_over:
        response.make_conditional(request)
    return response

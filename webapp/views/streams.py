"""Texts that are saved as files: sent piece by piece, whatever their length."""

from __future__ import annotations

from collections.abc import Iterable

from flask import Response, stream_with_context


def as_file(pieces: Iterable[str], name: str, media: str) -> Response:
    """An answer that a browser saves as `name` (plain letters, no quotes)."""
    response = Response(stream_with_context(iter(pieces)), content_type=f"{media}; charset=utf-8")
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response

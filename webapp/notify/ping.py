"""Heartbeats to a watchdog outside: one request that says "still here" or, with /fail at the end, "it failed"."""

from __future__ import annotations

import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any

from webapp.notify import guard
from webapp.notify.message import NotSent

TIMEOUT_SECONDS = 5.0
BODY_CHARACTERS = 10_000


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A watchdog that moved is told as a failure: nobody is led elsewhere."""

    def redirect_request(self, *arguments: Any, **options: Any) -> None:
        return None


def send(url: str, *, failed: bool = False, body: str = "", allow_private: bool) -> None:
    """One POST. Raises NotSent; the URL, which is a secret, is in no message."""
    if not url.startswith(("https://", "http://")):
        raise NotSent("The address of the watchdog must begin with https:// or http://.", permanent=True)
    target = url.rstrip("/") + "/fail" if failed else url
    data = body[:BODY_CHARACTERS].encode("utf-8", "replace")
    opener = urllib.request.build_opener(_NoRedirects())
    try:
        request = urllib.request.Request(target, data=data, headers={"User-Agent": "Holdfast"}, method="POST")
        with guard.public_only(enabled=not allow_private), opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
            answer.read(1024)
    except urllib.error.HTTPError as error:
        error.close()
        raise NotSent(f"The watchdog answered {error.code}.") from None
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        why = str(reason) if isinstance(reason, guard.Refused) else type(reason).__name__
        raise NotSent(f"The watchdog was not reached ({why}).") from None

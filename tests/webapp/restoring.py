"""Restores as the tests of their pages make them: prepared step by step, begun from the review, or made at once."""

from __future__ import annotations

import re
from pathlib import Path

from werkzeug.test import TestResponse

from engine.progress import Progress, Silent
from tests.webapp.shelf import WHO, Shelf
from tests.webapp.site import Browser
from webapp.models import Run
from webapp.services import restores, runs

_SHOWN = re.compile(r'name="shown" value="([^"]+)"')


def draft(browser: Browser, point: str, **fields: str) -> str:
    """The address of a new draft, behind its second step."""
    made = browser.submit(f"/restores/new?point={point}", **fields)
    assert made.status_code == 303, made.text
    return str(made.location).removesuffix("/target")


def shown(browser: Browser, address: str) -> str:
    """What the form of the review sends back, to say what was looked at."""
    page = browser.get(f"{address}/review").text
    found = _SHOWN.search(page)
    assert found, page
    return found[1]


def start(browser: Browser, address: str, seen: str | None = None) -> TestResponse:
    """Begins from the review (a new look at it, unless one is handed in)."""
    return browser.submit(f"{address}/start", form=f"{address}/target", shown=seen or shown(browser, address))


def started(shelf: Shelf) -> list[Run]:
    """Every restore that was begun."""
    return runs.listing(shelf.installation, kind="restore")


def restored(shelf: Shelf, point: str, target: Path, *, progress: Progress | None = None, **changes: object) -> Run:
    """A restore into this folder that has ended."""
    order = restores.Order(point, WHO, targets=(str(target),), **changes)  # type: ignore[arg-type]
    return restores.restore(
        shelf.installation, order, cwd=shelf.source, progress=progress or Silent(), tell=shelf.told.append
    ).run

"""What pages say, and what they ask the database for."""

from __future__ import annotations

import html
import re
from urllib.parse import quote

from sqlalchemy import event
from werkzeug.test import TestResponse

from tests.webapp.site import Browser
from webapp.installation import Installation

SMALL = 40_000
"""Bytes of HTML that no page may have."""


def quoted(name: str) -> str:
    """A name of any bytes as forms and addresses hold it."""
    return quote(name, errors="surrogateescape")


def said(answer: TestResponse) -> str:
    """A page without its marks."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", answer.text)).split())


def words(browser: Browser, path: str, status: int = 200) -> str:
    """As `said`, of a page that must be there, or be refused with this status."""
    answer = browser.get(path)
    assert answer.status_code == status, answer.text
    return said(answer)


def queries(installation: Installation, browser: Browser, path: str) -> list[str]:
    """What a page reads."""
    found: list[str] = []

    def note(*arguments: object) -> None:
        if str(arguments[2]).startswith("SELECT"):
            found.append(str(arguments[2]))

    engine = installation.database.engine
    event.listen(engine, "before_cursor_execute", note)
    assert browser.get(path).status_code == 200
    event.remove(engine, "before_cursor_execute", note)
    return found

"""What pages say, and what they ask the database for."""

from __future__ import annotations

import html
import re
from collections import Counter
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


def at_odds(page: str) -> list[str]:
    """Ids that stand twice in a page, names of an id or a form that is not there, links without a word."""
    ids = Counter(re.findall(r'<[^>]*\sid="([^"]+)"', page))
    forms = set(re.findall(r'<form\b[^>]*\sid="([^"]+)"', page))
    found = [f"{name} stands {number} times" for name, number in ids.items() if number > 1]
    for attribute, names in re.findall(r'\s(form|for|aria-labelledby|aria-describedby|aria-controls)="([^"]+)"', page):
        known = forms if attribute == "form" else ids
        found += [f"{attribute}={name} leads nowhere" for name in names.split() if name not in known]
    return found + re.findall(r"<a\b[^>]*>\s*</a>", page)


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

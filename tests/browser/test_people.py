"""Each role in a browser: what it may see it sees, what it may not is neither in the menu nor at its address."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, expect

from benchmarks.filled import PEOPLE
from benchmarks.showroom import Showroom
from tests.browser.addresses import SIGHTED, addresses, is_for
from webapp.services.permissions import PERMISSIONS

Open = Callable[..., BrowserContext]


@pytest.mark.parametrize("name", PEOPLE)
def test_addresses_answer_whom_they_are_for(open_as: Open, showroom: Showroom, name: str) -> None:
    context = open_as(name)
    wrong = {}
    for address in addresses(showroom):
        answer = context.request.get(address.path)
        if is_for(address, PEOPLE[name]):
            wanted = answer.status == 404 if address.is_own and name != SIGHTED else answer.ok
            if not wanted:
                wrong[str(address)] = answer.status
        elif answer.status != 403 or f"role {PERMISSIONS[address.permission].role}" not in answer.text():
            wrong[str(address)] = answer.status
    assert wrong == {}


@pytest.mark.parametrize("name", PEOPLE)
def test_each_line_of_the_menu_leads_somewhere(open_as: Open, name: str) -> None:
    page = open_as(name).new_page()
    page.goto("/")
    lines = page.get_by_role("navigation", name="Main").get_by_role("link")
    paths = [line.get_attribute("href") or "" for line in lines.all()]
    assert len(paths) > 5
    for path in paths:
        answer = page.goto(path)
        assert answer is not None
        assert answer.ok, path
        expect(page.get_by_role("heading", level=1)).to_have_count(1)
        expect(page.locator("nav [aria-current=page]")).to_have_attribute("href", path)


def test_a_manager_is_offered_nothing_that_changes(open_as: Open, showroom: Showroom) -> None:
    page = open_as("mona").new_page()
    for path in ("/", "/backups", "/backups/shop", "/runs", f"/restore-points/{showroom.filled.point}"):
        page.goto(path)
        texts = page.get_by_role("main").get_by_role("button").all_inner_texts()
        forbidden = {"Run now", "Run", "Pause", "Restore…", "Look inside", "Check it now", "Delete"}
        assert forbidden.isdisjoint(texts), (path, texts)

"""One service with real backups behind it and one Chromium for all tests of this folder. Where there is no Chromium
they are left out and say so; in CI that is a failure like any other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, expect

from benchmarks import showroom as rooms
from benchmarks.showroom import Showroom

DAYS = 4
PATIENCE_MS = 30_000


@pytest.fixture(scope="package")
def showroom(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Showroom]:
    if rooms.program() is None:
        pytest.skip("the tests in a browser need Chromium: install the package chromium, and run them again")
    with rooms.opened(Path(tmp_path_factory.mktemp("showroom")), days=DAYS) as opened:
        yield opened


@pytest.fixture(scope="package")
def chromium(showroom: Showroom) -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE_MS)
    with rooms.chromium() as browser:
        yield browser


@pytest.fixture
def open_as(chromium: Browser, showroom: Showroom) -> Iterator[Callable[..., BrowserContext]]:
    """`open_as("adam", **options)`: a browser window of its own in which this person is signed in; "" for nobody."""
    opened: list[BrowserContext] = []

    def open_one(name: str, **options: Any) -> BrowserContext:
        state = rooms.state_of(chromium, showroom, name) if name else None
        context = chromium.new_context(base_url=showroom.address, storage_state=state, **options)
        context.set_default_timeout(PATIENCE_MS)
        opened.append(context)
        return context

    yield open_one
    for context in opened:
        context.close()

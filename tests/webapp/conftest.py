"""What the tests of settings, schema, database, runs and commands share: an installation in a fresh home, a clock
that stands still until it is moved, and documents that are valid."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.webapp.shelf import Shelf
from tests.webapp.support import Hands
from webapp.installation import Installation, open_installation
from webapp.settings import read_settings


@pytest.fixture
def hands() -> Hands:
    """A clock; `hands.now += timedelta(…)` moves it."""
    return Hands(datetime(2026, 11, 23, 2, 0, tzinfo=UTC))


@pytest.fixture
def installation(tmp_path: Path, hands: Hands) -> Iterator[Installation]:
    settings = read_settings({"HOLDFAST_HOME": str(tmp_path / "home"), "UPLOAD_DIR": str(tmp_path)})
    opened = open_installation(settings, clock=hands)
    yield opened
    opened.close()


@pytest.fixture
def shelf(installation: Installation, hands: Hands, tmp_path: Path) -> Shelf:
    """An installation with an empty folder to back up."""
    source = tmp_path / "source"
    source.mkdir()
    return Shelf(installation, hands, source)

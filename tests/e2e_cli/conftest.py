"""What every test from end to end begins with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e_cli.shop import Shop
from tests.support.forked import ForkedCommandLine


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """A fresh installation and a folder of uploads with a few files in it."""
    cli = ForkedCommandLine(tmp_path / "command-line")
    uploads = tmp_path / "srv" / "uploads"
    uploads.mkdir(parents=True)
    made = Shop(cli, uploads, {})
    made.fill(1)
    yield made
    cli.close()

"""docs/mission.md: every command of the page does what the page says, with a real database and a real store."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import pages
from tests.support.command import CHECKOUT
from tests.support.fault_proxy import FaultProxy, answer, fault_proxy
from tests.support.pages import Step
from tests.support.postgres import PostgresServer
from tests.support.s3 import Store

PAGE = (CHECKOUT / "docs" / "mission.md").read_text(encoding="utf-8")
ROWS = ("M1", "M2", "M3", "M4", "M5", "M6", "M7", "M17", "M19")


@pytest.fixture
def proxy(moto: Store) -> Iterator[FaultProxy]:
    """The store of the page, which answers the first try of every pack with 503."""
    with fault_proxy(moto.endpoint) as proxy:
        proxy.plan(answer(503, "SlowDown"), methods="PUT", path="/packs/", each=True)
        yield proxy


@pytest.fixture
def environment(tmp_path: Path, postgres: PostgresServer, moto: Store, proxy: FaultProxy) -> Iterator[dict[str, str]]:
    programs, uploads = tmp_path / "bin", tmp_path / "srv" / "uploads"
    programs.mkdir()
    uploads.mkdir(parents=True)
    (tmp_path / "configs").symlink_to(CHECKOUT / "configs")
    command = programs / "backup-cli"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m cli "$@"\n')
    command.chmod(0o755)
    (programs / "python3").symlink_to(sys.executable)
    name = "shop"
    url = postgres.create_database(name)
    yield {
        "PATH": f"{programs}:{postgres.bin}:{os.environ.get('PATH', os.defpath)}",
        "PYTHONPATH": str(CHECKOUT),
        "LANG": "C.UTF-8",
        "HOLDFAST_HOME": str(tmp_path / "home"),
        "DATABASE_URL": url,
        "UPLOAD_DIR": str(uploads),
        "S3_BUCKET": moto.bucket,
        "S3_ENDPOINT": proxy.url,
        "AWS_ACCESS_KEY_ID": moto.access_key,
        "AWS_SECRET_ACCESS_KEY": moto.secret_key,
    }
    for left in sorted(postgres.databases()):
        if left == name or left.startswith(f"{name}_restored_"):
            postgres.drop_database(left)


def test_the_page_is_true(tmp_path: Path, environment: dict[str, str], proxy: FaultProxy) -> None:
    steps = pages.steps(PAGE)
    printed = pages.run(steps, folder=tmp_path, environment=environment)
    assert len(printed) == len(steps)
    different = [told for step, output in zip(steps, printed, strict=True) if (told := step.differs(output))]
    assert not different, "\n\n".join(different)
    assert proxy.faults[0].hits >= 5


def test_every_row_has_its_section_with_commands() -> None:
    sections = {part.split(":", 1)[0].split()[0]: part for part in PAGE.split("\n## ")[1:] if part.startswith("M")}
    named = {row: part for names, part in sections.items() for row in names.split(",")}
    assert set(ROWS) <= set(named)
    assert [row for row in ROWS if not pages.steps(named[row])] == []


def test_what_differs_is_found() -> None:
    step = Step(1, "x", ("bk_…  full backup", "…", "  end"))
    assert step.differs("bk_abc  full backup\n  a\n  b\n  end\n") == ""
    assert step.differs("bk_abc  full backup\n  end\n") == ""
    for other in ("bk_abc  half backup\n  end\n", "bk_abc  full backup\n  a\n", "", "x\nbk_abc  full backup\n  end\n"):
        assert "line 1: x" in step.differs(other)

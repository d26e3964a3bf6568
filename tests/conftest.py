"""Fixtures of all tests, and the rules of a run: fixed seed, clean environment, no skips where CI counts on us."""

from __future__ import annotations

import os
import secrets
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TypeVar

import hypothesis
import pytest

from tests.support.command import CommandLine
from tests.support.postgres import PostgresServer, start_server
from tests.support.s3 import Store, start_moto, start_seaweed

# What could make a test behave differently on another machine. Tests get what they name, nothing else.
LEAKS = ("PG", "AWS_", "HOLDFAST_", "REDIS_", "BACKUP_")
LEAKING_NAMES = ("DATABASE_URL", "UPLOAD_DIR", "REPORTS_DIR", "EXPORTS_DIR", "PYTHONDONTWRITEBYTECODE")
FIXED_SEED = 20261123
Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

hypothesis.settings.register_profile(
    "holdfast", deadline=None, print_blob=True, database=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("holdfast")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("holdfast")
    group.addoption("--full", action="store_true", help="also the long tests (marked full), with a new random seed")
    group.addoption("--seed", type=int, help="replay the seed that an earlier run printed")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    for name in list(os.environ):
        if name.startswith(LEAKS) or name in LEAKING_NAMES:
            del os.environ[name]
    os.umask(0o022)
    if config.getoption("--seed") is None:
        config.option.seed = secrets.randbelow(1 << 32) if config.getoption("--full") else FIXED_SEED
    if config.getoption("hypothesis_seed", None) is None:
        config.option.hypothesis_seed = str(config.option.seed)


def pytest_report_header(config: pytest.Config) -> str:
    return f"seed: {config.option.seed} (replay with --seed={config.option.seed})"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long tests are left out without --full; they are not skipped, so they never look like a fault."""
    if config.getoption("--full"):
        return
    long = [item for item in items if item.get_closest_marker("full")]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if not item.get_closest_marker("full")]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    return _without_excuses(report)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    return _without_excuses(report)


def _without_excuses(report: Report) -> Report:
    """Where CI=true says that everything needed is there, a test that did not run has failed."""
    excused = report.skipped or hasattr(report, "wasxfail")
    if excused and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"skipped or expected to fail, which CI does not accept: {report.longrepr or ''}"
        vars(report).pop("wasxfail", None)
    return report


@pytest.fixture(scope="session")
def seed(request: pytest.FixtureRequest) -> int:
    """For tests that draw at random: `random.Random(seed)`; printed in the header, replayed with --seed."""
    return int(request.config.option.seed)


@pytest.fixture(scope="session")
def postgres16() -> Iterator[PostgresServer]:
    """A real server of major version 16, shared by all tests: use databases of your own (`fresh_database`)."""
    with start_server(16) as server:
        yield server


@pytest.fixture(scope="session")
def postgres18() -> Iterator[PostgresServer]:
    """A real server of major version 18, shared by all tests: use databases of your own (`fresh_database`)."""
    with start_server(18) as server:
        yield server


@pytest.fixture(scope="session")
def postgres(postgres18: PostgresServer) -> PostgresServer:
    """The newer of the servers."""
    return postgres18


@pytest.fixture(scope="session")
def seaweed() -> Iterator[Store]:
    """A real store that speaks S3 and checks what it is sent, shared by all tests: each uses a prefix of its own."""
    with start_seaweed() as store:
        yield store


@pytest.fixture(scope="session")
def moto() -> Iterator[Store]:
    """A store that speaks S3 and believes everything, shared by all tests: each uses a prefix of its own."""
    with start_moto() as store:
        yield store


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[CommandLine]:
    """`backup-cli …` in a process of its own with a fresh HOLDFAST_HOME; see tests/support/command.py."""
    from tests.support.forked import ForkedCommandLine  # imports all that there is, which not every run needs

    command_line = ForkedCommandLine(tmp_path / "command-line")
    yield command_line
    command_line.close()

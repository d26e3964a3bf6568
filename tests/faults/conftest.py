"""Says at the end how often each fault was tried: no failure in n trials means less than 3/n, not never."""

from __future__ import annotations

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A line for each test that called `record_property("trials", n)`."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    counts = {report.nodeid: dict(report.user_properties).get("trials") for report in reports}
    lines = [f"{nodeid}: {count:,} trials" for nodeid, count in counts.items() if count]
    if lines:
        terminalreporter.section("trials of faults")
        for line in lines:
            terminalreporter.line(line)

"""The parts of the command line on their own: exit codes, progress, signals, and how values look."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from cli import exits, output
from cli.progress import CommandProgress
from engine import errors as engine
from tests.support.command import CHECKOUT
from webapp import errors as service

PATIENT = """
import sys, threading
from cli.progress import watched
from engine.errors import Cancelled
from cli import exits

def ready():
    print("ready", flush=True)

def polite():
    ready()
    while True:
        progress.checkpoint()

def deaf():
    ready()
    threading.Event().wait(600)

def stubborn():
    try:
        deaf()
    except KeyboardInterrupt:
        print("no", flush=True)
        threading.Event().wait(600)

try:
    with watched(lambda text: print(text, file=sys.stderr, flush=True)) as progress:
        globals()[sys.argv[1]]()
except Cancelled:
    sys.exit(exits.INTERRUPTED)
except KeyboardInterrupt:
    sys.exit(99)
"""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (service.NotFound("x"), 10),
        (service.Busy("x", run_id="run_x"), 11),
        (service.Conflict("x"), 1),
        (service.Forbidden("x"), 4),
        (service.ConfirmationNeeded("x"), 5),
        (service.Difference("x"), 6),
        (service.KeyMissing("x"), 12),
        (service.NotBuilt("x"), 2),
        (service.ConfigurationInvalid("x", []), 2),
        (service.SettingsInvalid("x", []), 2),
        (service.Unavailable("x"), 1),
        (engine.WrongKey("x"), 12),
        (engine.Corrupt("x"), 6),
        (engine.Cancelled(), 130),
        (engine.NotFound("x"), 1),
        (engine.SourceError("x"), 1),
        (engine.Fenced("x"), 1),
        (KeyboardInterrupt(), 130),
        (ZeroDivisionError(), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_each_error_has_its_exit_code(error: BaseException, code: int) -> None:
    assert exits.exit_code(error) == code


def test_each_state_of_a_run_has_its_exit_code() -> None:
    assert exits.STATES == {"succeeded": 0, "warning": 3, "failed": 1, "cancelled": 130, "interrupted": 1}


def test_progress_tells_rate_and_time_to_go() -> None:
    seconds = iter([0.0, 10.0])
    progress = CommandProgress(print, terminal=False, now=lambda: next(seconds), line_seconds=3600)
    with progress:
        progress.phase("Reading files", expected=400 << 20)
        progress.advance(items=1200, read=100 << 20, stored=5 << 20)
        line = progress.line()
    assert line == ("Reading files: 1,200 items, 100.0 MiB, 10.0 MiB/s, 5.0 MiB stored, 25 % done, about 30.0 s to go")


def test_progress_tells_problems_but_not_thousands() -> None:
    told: list[str] = []
    progress = CommandProgress(told.append, terminal=False)
    for number in range(1000):
        progress.problem("unreadable", f"/srv/\x1b[2J{number}", "no")
    assert len(told) == 21
    assert told[0] == "Problem: /srv/\\x1b[2J0: no"
    assert progress.problems == 1000


def test_a_line_comes_without_any_advance() -> None:
    import threading

    seen = threading.Event()
    with CommandProgress(lambda text: seen.set(), terminal=False, line_seconds=0.01) as progress:
        progress.phase("Waiting")
        assert seen.wait(60)


@contextmanager
def patient(manner: str) -> Iterator[subprocess.Popen[str]]:
    """A process at work that reacts to signals in its manner; it has begun when the block begins."""
    command = [sys.executable, "-c", PATIENT, manner]
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def _first_signal(process: subprocess.Popen[str], number: signal.Signals = signal.SIGINT) -> None:
    process.send_signal(number)
    assert process.stderr is not None
    assert process.stderr.readline() == "\n"
    assert "Stopping in order" in process.stderr.readline()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_stops_in_order(number: signal.Signals) -> None:
    with patient("polite") as process:
        _first_signal(process, number)
        assert process.wait(60) == 130


def test_the_second_signal_does_not_wait_for_a_checkpoint() -> None:
    with patient("deaf") as process:
        _first_signal(process)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 99


def test_the_third_signal_ends_the_process_at_once() -> None:
    with patient("stubborn") as process:
        _first_signal(process)
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        assert process.stdout.readline() == "no\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (3 << 30, "3.0 GiB"), (None, "-")],
)
def test_sizes_for_people(count: int | None, text: str) -> None:
    assert output.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.25, "250 ms"), (12.34, "12.3 s"), (65, "1 min 05 s"), (7380, "2 h 03 min"), (None, "-")],
)
def test_durations_for_people(seconds: float | None, text: str) -> None:
    assert output.duration(seconds) == text


def test_times_for_people_and_programs(capsys: pytest.CaptureFixture[str]) -> None:
    from cli.state import Door

    moment = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
    assert output.when(moment) == "2026-11-23 02:00:00 UTC"
    assert output.when(moment, "Europe/Berlin") == "2026-11-23 03:00:00 CET"
    output.document(Door({}), {"at": moment, "path": "a\udcff"})
    assert capsys.readouterr().out == '{\n  "at": "2026-11-23T02:00:00Z",\n  "path": "a\\udcff"\n}\n'


def test_a_table_is_aligned_and_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(["NAME", "SIZE"], [["a\x1b[31m\nb", "1"], ["日本", "22"], ["e\u0301", "3"]], right=["SIZE"])
    assert capsys.readouterr().out.splitlines() == [
        "NAME          SIZE",
        "a\\x1b[31m\\nb     1",
        "日本            22",
        "e\u0301                3",
    ]

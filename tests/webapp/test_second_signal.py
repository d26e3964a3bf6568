"""A second Ctrl-C ends the process even while one of its threads waits for something that never comes."""

from __future__ import annotations

import signal
import subprocess
import sys

from tests.support.tree import CHECKOUT

SCRIPT = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
from cli import progress

progress.HURRY_SECONDS = 0.2
never = threading.Event()
with progress.watched(lambda text: None), ThreadPoolExecutor(1) as pool:
    stuck = pool.submit(never.wait)  # as a request to a store that does not answer
    print("ready", flush=True)
    stuck.result()
"""


def test_it_does_not_wait_for_a_thread_that_is_stuck() -> None:
    with subprocess.Popen(
        [sys.executable, "-P", "-c", SCRIPT],
        cwd=CHECKOUT,
        env={"PYTHONPATH": str(CHECKOUT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert "Stopping in order" in process.stderr.readline() + process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130

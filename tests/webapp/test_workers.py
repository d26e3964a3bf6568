"""A worker signals its child, and nobody else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# The child stays in the worker's group, as it is for a moment after the fork; the group is that of this program alone.
_PROGRAM = """
import os, signal, time
from webapp.workers import Worker
child = os.fork()
if child == 0:
    time.sleep(60)
worker = Worker.__new__(Worker)
worker._horse_pid = child
worker.kill_horse(signal.SIGTERM)
_, status = os.waitpid(child, 0)
print(os.WTERMSIG(status))
"""


def test_a_child_without_a_group_of_its_own_is_signalled_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        start_new_session=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "15\n"), done.stderr

"""Commands end before garbage matters and do not look for it. What lives for months does, and so do the runs in it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from rq.queue import Queue as RqQueue
from rq.serializers import JSONSerializer

from tests.support.command import CHECKOUT
from tests.support.service import running
from webapp.processes import NEW_OBJECTS
from webapp.queue import BACKUP, JsonJob

_PROGRAM = """
import gc, os, signal, sys
gc.disable()
from webapp import serve
from webapp.settings import read_settings

def end():
    print(gc.isenabled(), gc.get_threshold()[0], gc.get_freeze_count() > 0)
    os.kill(os.getpid(), signal.SIGTERM)

signal.signal(signal.SIGTERM, signal.SIG_IGN)
settings = read_settings(os.environ)
if sys.argv[1] == "web":
    serve.application(settings)
    end()
else:
    serve.everything(settings, tell=str, ready=end)
"""


@pytest.mark.parametrize("part", ["web", "everything"])
def test_a_part_of_the_service_looks_for_garbage(tmp_path: Path, part: str) -> None:
    where = {"REDIS_URL": "redis://127.0.0.1:9/0", "HOLDFAST_BIND": "127.0.0.1:9", "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, part],
        env={"PATH": os.defpath, "HOLDFAST_HOME": str(tmp_path / "home"), **where},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, f"True {NEW_OBJECTS} True\n"), done.stderr


def test_a_run_in_a_worker_looks_for_garbage(tmp_path: Path) -> None:
    with running(tmp_path / "home") as service:
        queue = RqQueue(BACKUP, connection=service.queue.redis, serializer=JSONSerializer, job_class=JsonJob)
        asked = [queue.enqueue(f"gc.{name}") for name in ("isenabled", "get_threshold", "get_freeze_count")]
        service.start(HOLDFAST_QUEUES=BACKUP)
        service.until(lambda: asked[-1].is_finished)
        is_enabled, threshold, frozen = (job.return_value() for job in asked)
    assert (is_enabled, threshold[0], frozen > 0) == (True, NEW_OBJECTS, True)

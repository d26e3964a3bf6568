"""The service's processes as they really run: an embedded Redis, workers, the scheduler; short timings, one home."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from tests.support.command import CHECKOUT
from webapp import embedded_redis
from webapp.installation import Installation, open_installation
from webapp.queue import Queue, redis_url
from webapp.settings import read_settings

TIMING = "tick=1 heartbeat=0.5 expiry=3 cancel=0.2 orphan=1 retry=1"
WAIT_SECONDS = 60.0


class Service:
    """One home with its Redis; `start` adds processes. All of them end with the block of `running`."""

    def __init__(self, home: Path, environment: Mapping[str, str] | None = None) -> None:
        self.environment = {
            "PATH": os.defpath,
            "HOLDFAST_HOME": str(home),
            "HOLDFAST_TIMING": TIMING,
            "PYTHONPATH": str(CHECKOUT),
            **(environment or {}),
        }
        self.settings = read_settings(self.environment)
        home.mkdir(parents=True, exist_ok=True)
        self.log = home / "processes.log"
        self.redis = embedded_redis.start(self.settings)
        self.queue = Queue(redis_url(self.settings))
        self.installation: Installation = open_installation(self.settings)
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, part: str = "worker", **environment: str) -> subprocess.Popen[bytes]:
        """A worker (HOLDFAST_QUEUES in `environment`) or the `scheduler`, as a process."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", str(CHECKOUT / "worker.py"), part],
                env={**self.environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._processes.append(process)
        return process

    def restart_redis(self) -> None:
        """Killed, and started again on the same files."""
        self.redis.kill()
        self.redis.wait()
        self.redis = embedded_redis.start(self.settings)

    def until(self, what: Callable[[], Any], *, seconds: float = WAIT_SECONDS) -> Any:
        """Looks until `what()` is true, and returns it; an AssertionError with the log when it does not come."""
        deadline = monotonic() + seconds
        while not (found := what()):
            if monotonic() > deadline:
                raise AssertionError(f"it did not come:\n{self.log.read_text()[-4000:]}")
            sleep(0.05)
        return found

    def close(self) -> None:
        for process in self._processes:
            process.send_signal(signal.SIGKILL)
            process.wait()
        self.queue.close()
        self.installation.close()
        self.redis.terminate()
        self.redis.wait()


@contextmanager
def running(home: Path, environment: Mapping[str, str] | None = None) -> Iterator[Service]:
    """A service whose processes are ended with the block."""
    service = Service(home, environment)
    try:
        yield service
    finally:
        service.close()

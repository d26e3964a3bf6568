"""Our RQ worker: its child dies with it, a child that was killed is noticed at once, and a Redis that went away for a
while does not end the work of hours."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
import time
from contextlib import suppress
from types import FrameType
from typing import Any

from redis.exceptions import RedisError
from rq import Worker as RqWorker
from rq.exceptions import StopRequested
from rq.serializers import JSONSerializer

from webapp import jobs, logs, scheduling
from webapp.fingerprints import fingerprints
from webapp.processes import dying_with_parent, first_to_go, live_long, process_mark
from webapp.queue import JsonJob, Queue
from webapp.settings import Settings

log = logging.getLogger("holdfast.worker")
# After so long without a word a worker is not counted any more; it waits for work a quarter of that at a time.
TTL_SECONDS = 60
LOOK_SECONDS = 10
AGAIN_SECONDS = 2.0
_GROUP_LOOKS, _GROUP_SECONDS = 100, 0.01


class Worker(RqWorker):
    """Works on the queues of the settings, one run at a time, each in a child process."""

    job_class = JsonJob
    max_connection_wait_time = 5.0
    log_result_lifespan = False

    def __init__(self, settings: Settings, queue: Queue, stop: threading.Event) -> None:
        self._settings = settings
        self._stop_asked = stop
        super().__init__(
            list(settings.queues),
            connection=queue.redis,
            serializer=JSONSerializer,
            worker_ttl=TTL_SECONDS,
            job_monitoring_interval=LOOK_SECONDS,
            log_job_description=False,
            work_horse_killed_handler=_noted,
        )

    def request_stop(self, signum: Any, frame: Any) -> None:
        """Noted first: without Redis the stock worker forgets on its way out that it was asked to stop."""
        self._stop_asked.set()
        super().request_stop(signum, frame)  # type: ignore[no-untyped-call]

    def serialize(self) -> dict[str, Any]:
        """What the worker says of itself in Redis; no value of a variable can be read from it."""
        told = {"mark": process_mark(), "environment": json.dumps(fingerprints(self._settings))}
        return {**super().serialize(), **told}

    def fork_work_horse(self, job: Any, queue: Any) -> None:
        """The stock worker's child goes on when its parent is killed, and nobody notices for minutes."""
        self._arm = dying_with_parent(signal.SIGKILL)
        super().fork_work_horse(job, queue)

    def setup_work_horse_signals(self) -> None:
        """In the child. Ctrl-C is for the worker, which hands it on as SIGTERM. A run that takes all memory shall not
        cost the worker, Redis or the pages their lives."""
        self._arm()
        first_to_go()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        jobs.stop_in_order()

    def kill_horse(self, sig: signal.Signals = signal.SIGKILL) -> None:
        """The stock worker signals the group that its child is in: until the child has one of its own, that is the
        worker's, with everything beside it."""
        with suppress(ProcessLookupError):
            for _ in range(_GROUP_LOOKS):
                group = os.getpgid(self.horse_pid)
                if group != os.getpgrp():
                    os.killpg(group, sig)
                    return
                time.sleep(_GROUP_SECONDS)
            os.kill(self.horse_pid, sig)

    def handle_warm_shutdown_request(self) -> None:
        """Whoever stops the worker stops its run, in order; what ran by itself is tried again."""
        if self.horse_pid:
            self.kill_horse(signal.SIGTERM)

    def maintain_heartbeats(self, job: Any, execution: Any) -> None:
        """Redis only holds the queue: while it is away the work goes on."""
        try:
            super().maintain_heartbeats(job, execution)
        except RedisError as error:
            log.warning("Redis is away while a run is at work", extra={"error": type(error).__name__})

    def run_maintenance_tasks(self) -> None:
        """Now and then any worker arms the tick again: a scheduler may have died between two writes."""
        super().run_maintenance_tasks()  # type: ignore[no-untyped-call]
        scheduling.arm(self.connection, self._settings)


def work_on(settings: Settings) -> None:
    """Works until a signal asks it to stop. Redis may come and go; a request to stop counts also while it is away."""
    logs.configure(f"worker {','.join(settings.queues)}")
    jobs.use(settings)
    jobs.preload()
    live_long()
    stop = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        stop.set()

    while not stop.is_set():
        _work(settings, stop)
        for number in (signal.SIGINT, signal.SIGTERM):  # those of the worker that ended would be left
            signal.signal(number, ask)
        stop.wait(AGAIN_SECONDS)


def _work(settings: Settings, stop: threading.Event) -> None:
    """Returns on a request to stop, and when Redis is away."""
    queue = Queue(_url(settings))
    try:
        scheduling.arm(queue.redis, settings)
        Worker(settings, queue, stop).work(logging_level=None)
    except (RedisError, StopRequested) as error:
        log.error("the worker stops", extra={"error": type(error).__name__})
    finally:
        queue.close()


def _url(settings: Settings) -> str:
    from webapp.queue import redis_url

    return redis_url(settings)


def _noted(job: Any, pid: int, status: int, usage: Any) -> None:
    log.warning("the process of a run was killed", extra={"run": job.id, "status": status, "by": os.getpid()})
    jobs.note_dead()

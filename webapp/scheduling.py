"""rq-scheduler, holding one entry: the tick. What it may lose or repeat does no harm: the database is the truth, the
tick can run twice, and the entry is armed again by every scheduler and worker."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from redis import Redis
from redis.exceptions import RedisError
from rq.exceptions import NoSuchJobError
from rq_scheduler import Scheduler as RqScheduler

from webapp import logs
from webapp.clock import utc_now
from webapp.processes import live_long
from webapp.queue import SYSTEM, TICK, JsonJob, Queue, redis_url
from webapp.settings import Settings

log = logging.getLogger("holdfast.scheduler")
ENTRY = "holdfast-tick"
AGAIN_SECONDS = 2.0


class Scheduler(RqScheduler):  # type: ignore[misc]  # the package has no types
    """Holds the tick and nothing else; entries of other programs, or unreadable ones, do not stop it."""

    job_class = JsonJob

    def __init__(self, settings: Settings, connection: Redis, ask: Callable[[int, FrameType | None], None]) -> None:
        self._settings = settings
        self._ask = ask
        interval = max(1, int(settings.timing.tick // 3))
        super().__init__(queue_name=SYSTEM, connection=connection, interval=interval)

    def _install_signal_handlers(self) -> None:
        """The stock ones talk to Redis first, and without it never stop."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def enqueue_jobs(self) -> Any:
        """Called with the lock held, again and again."""
        for raw in self.connection.zrange(self.scheduled_jobs_key, 0, -1):
            if raw.decode(errors="replace") != ENTRY:
                log.warning("an entry of somebody else was removed from the schedule")
                self.connection.zrem(self.scheduled_jobs_key, raw)
        arm(self.connection, self._settings)
        return super().enqueue_jobs()

    def enqueue_job(self, job: Any) -> None:
        """A tick that still waits is enough: hours without a worker must not pile them up."""
        queue = self.get_queue_for_job(job)
        if self.connection.lpos(queue.key, job.id) is not None:
            self.connection.zadd(self.scheduled_jobs_key, {job.id: utc_now().timestamp() + self._settings.timing.tick})
            return
        super().enqueue_job(job)


def arm(connection: Redis, settings: Settings) -> None:
    """Enters the tick, unless it is there and can be read with the interval of the settings."""
    scheduler = RqScheduler(queue_name=SYSTEM, connection=connection, job_class=JsonJob)
    interval = max(1, int(settings.timing.tick))
    try:
        known = JsonJob.fetch(ENTRY, connection=connection)
        if ENTRY in scheduler and known.func_name == TICK and known.meta.get("interval") == interval:
            return
    except (NoSuchJobError, ValueError, KeyError):
        log.info("the tick is armed")
    scheduler.schedule(utc_now(), TICK, args=[], kwargs={}, interval=interval, id=ENTRY, timeout=600)


def schedule_on(settings: Settings) -> None:
    """Holds the tick until SIGTERM or SIGINT. Redis may come and go; a request to stop counts also while it is away."""
    logs.configure("scheduler")
    live_long()
    stop = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        stop.set()
        raise SystemExit(0)

    while not stop.is_set():
        queue = Queue(redis_url(settings))
        try:
            Scheduler(settings, queue.redis, ask).run()
        except RedisError as error:
            if not stop.is_set():
                log.error("Redis does not answer", extra={"error": type(error).__name__})
                threading.Event().wait(AGAIN_SECONDS)
        except SystemExit:
            return
        finally:
            queue.close()

"""The only sender to RQ, and what it can tell of the queues. Payloads are ids and nothing else, written as JSON.

Redis owns no fact: what is lost there, services/tick.py sends again from the database.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.exceptions import RedisError
from rq import Queue as RqQueue
from rq import Worker
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.worker import BaseWorker

from webapp.errors import Unavailable
from webapp.processes import is_gone
from webapp.settings import Settings

BACKUP, RESTORE, SYSTEM = "backup", "restore", "system"
CARRY_OUT, TICK = "webapp.jobs.carry_out", "webapp.jobs.tick"
CONNECT_SECONDS, ANSWER_SECONDS = 2, 10
FAILURES_KEPT_SECONDS = 3600
_FOR_EVER = -1


class JsonJob(Job):
    """A job of JSON also where nobody says so: rq-scheduler has no option for it."""

    def __init__(self, id: str | None = None, connection: Redis | None = None, serializer: Any = None) -> None:
        super().__init__(id, connection, serializer or JSONSerializer)


@dataclass(frozen=True)
class WorkerSeen:
    """A worker that answers for these queues; `environment` are fingerprints of its variables (webapp/worker.py)."""

    name: str
    queues: tuple[str, ...]
    mark: str
    environment: Mapping[str, str]


class Queue:
    """A connection to Redis. Every method raises Unavailable when it does not answer."""

    def __init__(self, url: str) -> None:
        self.redis = Redis.from_url(url, socket_connect_timeout=CONNECT_SECONDS, socket_timeout=ANSWER_SECONDS)

    def send(self, queue: str, run_id: str) -> None:
        """The run (its public id) waits in this queue. Sent twice it is carried out once: its row decides."""
        with _answering():
            self._queue(queue).enqueue_call(
                CARRY_OUT,
                args=(run_id,),
                job_id=run_id,
                timeout=_FOR_EVER,
                result_ttl=0,
                failure_ttl=FAILURES_KEPT_SECONDS,
            )

    def waiting(self, queues: Iterable[str]) -> set[str]:
        """The public ids of the runs that wait in these queues."""
        with _answering():
            return {job_id for queue in queues for job_id in self._queue(queue).get_job_ids()}

    def workers(self, queue: str) -> list[WorkerSeen]:
        """The workers that serve a queue; those of this host whose process is gone are left out."""
        with _answering():
            found = Worker.all(queue=self._queue(queue), serializer=JSONSerializer)
            seen = [self._seen(worker) for worker in found]
        return [each for each in seen if not is_gone(each.mark)]

    def ping(self) -> None:
        """Returns when Redis answers."""
        with _answering():
            self.redis.ping()

    def close(self) -> None:
        """Gives up the connections."""
        self.redis.close()

    def _queue(self, name: str) -> RqQueue:
        return RqQueue(name, connection=self.redis, serializer=JSONSerializer, job_class=JsonJob)

    def _seen(self, worker: BaseWorker) -> WorkerSeen:
        import json

        mark: Any
        environment: Any
        mark, environment = self.redis.hmget(worker.key, "mark", "environment")
        return WorkerSeen(
            worker.name,
            tuple(worker.queue_names()),
            "" if mark is None else mark.decode(),
            {} if environment is None else json.loads(environment),
        )


@contextmanager
def opened(settings: Settings) -> Iterator[Queue]:
    """The queue of this installation, for a block."""
    queue = Queue(redis_url(settings))
    try:
        yield queue
    finally:
        queue.close()


def redis_url(settings: Settings) -> str:
    """REDIS_URL, else the socket of the embedded server."""
    from webapp.embedded_redis import socket_path

    return settings.redis_url or f"unix://{socket_path(settings)}"


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except RedisError as error:
        raise Unavailable(
            f"Redis does not answer ({type(error).__name__}).",
            hint="What was asked for is kept and starts when Redis is back: check REDIS_URL, or start `./run`.",
        ) from error

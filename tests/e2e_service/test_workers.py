"""Real Redis, workers and scheduler as processes: runs through the queue, kills, lost queues, cancels."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.client import Monitor

from engine.progress import Silent
from tests.support.postgres import PostgresServer, fresh_database
from tests.support.service import TIMING, WAIT_SECONDS, Service, running
from tests.webapp.support import document
from webapp.errors import NotFound
from webapp.models import Run
from webapp.models.run import CANCELLED, ENDED, FAILED, INTERRUPTED, QUEUED, RUNNING, SUCCEEDED
from webapp.processes import PROC, is_gone
from webapp.services import backups, configurations, destinations, run_lines, runs, submit
from webapp.services.repositories import silent
from webapp.services.runs import NewRun


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.txt").write_text("hello")
    with running(tmp_path / "home") as started:
        sources = {"paths": [{"path": str(source)}]}
        configurations.store(started.installation, document(type="files", sources=sources))
        yield started


def create(service: Service, **changes: object) -> Run:
    return submit.submit(service.installation, NewRun("create", "local:test", config_id="shop", **changes))  # type: ignore[arg-type]


def ended(service: Service, run: Run) -> Run:
    def look() -> Run | None:
        now = runs.fetch(service.installation, run.id)
        return now if now.state in ENDED else None

    found: Run = service.until(look)
    return found


def test_a_run_goes_through_the_queue(service: Service) -> None:
    service.start()
    run = ended(service, create(service, arguments={"tags": {"why": "test"}}))
    assert (run.state, run.error) == (SUCCEEDED, None)
    assert run.backup_id
    assert run.arguments == {"tags": {"why": "test"}}
    lines = [line.text for line in run_lines.after(service.installation, run.id)]
    assert any("every file is read" in line for line in lines)
    missing = ended(service, submit.submit(service.installation, NewRun("verify", "local:test", backup_id="bk_none")))
    assert (missing.state, missing.cause) == (FAILED, "NotFound")


def test_a_queue_that_is_flushed_loses_nothing(service: Service) -> None:
    run = create(service)
    service.queue.redis.flushall()
    assert service.queue.waiting(["backup"]) == set()
    service.start()
    service.start("scheduler")
    assert ended(service, run).state == SUCCEEDED


def test_a_redis_that_was_down_while_it_was_asked(service: Service) -> None:
    service.redis.kill()
    service.redis.wait()
    run = create(service)
    assert run.state == "queued"
    service.start()
    service.start("scheduler")
    service.restart_redis()
    assert ended(service, run).state == SUCCEEDED


def test_a_redis_that_is_full(service: Service) -> None:
    service.queue.redis.config_set("maxmemory", "1")
    run = create(service)
    assert (run.state, service.queue.waiting(["backup"])) == (QUEUED, set())
    parts = [service.start(), service.start("scheduler")]
    service.queue.redis.config_set("maxmemory", "0")
    assert ended(service, run).state == SUCCEEDED
    assert [part.poll() for part in parts] == [None, None]


def test_a_redis_that_goes_away_in_the_middle_of_a_run(service: Service, postgres: PostgresServer) -> None:
    """The work goes on, ends and is on record without it; the worker takes the next run when it is back."""
    with fresh_database(postgres) as name, postgres.connect(name) as other:
        other.execute(b"CREATE TABLE held (number int)")
        source = {"databases": [{"url": postgres.url(name)}]}
        configurations.store(service.installation, document(type="database", sources=source))
        other.execute(b"BEGIN")
        other.execute(b"LOCK TABLE held IN ACCESS EXCLUSIVE MODE")
        run = create(service)
        service.start()
        service.start("scheduler")
        at_work(service, run)
        service.redis.kill()
        service.redis.wait()
        other.execute(b"ROLLBACK")
        done = ended(service, run)
        assert (done.state, done.error) == (SUCCEEDED, None)
        later = create(service)
        service.restart_redis()
        assert ended(service, later).state == SUCCEEDED


@pytest.fixture
def hanging(service: Service) -> Iterator[Run]:
    """A run that is at work and gets nowhere: its database takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://user@127.0.0.1:{silent.getsockname()[1]}/db"
        configurations.store(service.installation, document(type="database", sources={"databases": [{"url": url}]}))
        yield create(service)


def at_work(service: Service, run: Run) -> Run:
    def look() -> Run | None:
        now = runs.fetch(service.installation, run.id)
        return now if now.state == RUNNING else None

    found: Run = service.until(look)
    return found


def pid_of(run: Run) -> int:
    assert run.process is not None
    return int(run.process.split(":")[1])


def test_a_killed_worker_takes_its_child_with_it(service: Service, hanging: Run) -> None:
    worker = service.start()
    run = at_work(service, hanging)
    assert pid_of(run) != worker.pid
    worker.kill()
    worker.wait()
    service.until(lambda: is_gone(str(run.process)), seconds=10)
    service.start(HOLDFAST_QUEUES="system")
    service.start("scheduler")
    assert (ended(service, run).state, ended(service, run).cause) == (INTERRUPTED, "interrupted")


def test_a_killed_child_is_noticed_at_once_by_its_worker(service: Service, hanging: Run) -> None:
    worker = service.start()
    child = pid_of(at_work(service, hanging))
    scores = [int((PROC / str(pid) / "oom_score_adj").read_text()) for pid in (child, worker.pid)]
    assert scores[0] > scores[1]  # where memory runs out, the kernel kills this one
    os.kill(child, signal.SIGKILL)
    assert ended(service, hanging).state == INTERRUPTED
    assert worker.poll() is None
    runs.request_cancel(service.installation, create(service).public_id)


def test_work_that_hangs_is_cancelled_all_the_same(service: Service, hanging: Run) -> None:
    worker = service.start()
    run = at_work(service, hanging)
    runs.request_cancel(service.installation, run.public_id)
    assert (ended(service, run).state, ended(service, run).error) == (CANCELLED, "The run was cancelled.")
    service.until(lambda: is_gone(str(run.process)), seconds=10)
    assert worker.poll() is None


def test_work_without_progress_is_ended(service: Service, hanging: Run) -> None:
    service.start(HOLDFAST_TIMING=f"{TIMING} stall=1")
    run = ended(service, hanging)
    assert (run.state, run.cause) == (FAILED, "stalled")
    assert "no progress" in str(run.error)


def test_a_worker_that_is_stopped_stops_its_run(service: Service, hanging: Run) -> None:
    worker = service.start()
    run = at_work(service, hanging)
    worker.terminate()
    assert ended(service, run).state == INTERRUPTED
    assert worker.wait(30) == 0
    assert is_gone(str(run.process))


def test_a_restore_does_not_wait_behind_a_backup(service: Service, hanging: Run, tmp_path: Path) -> None:
    files = document(id="files", type="files", sources={"paths": [{"path": str(tmp_path / "source")}]})
    configurations.store(service.installation, files)
    order = backups.Order("files", "local:test")
    made = backups.create(service.installation, order, cwd=tmp_path, progress=Silent(), tell=lambda text: None)
    point = made.run.backup_id
    service.start(HOLDFAST_QUEUES="backup")
    at_work(service, hanging)
    service.start(HOLDFAST_QUEUES="restore")
    target = tmp_path / "back"
    new = NewRun("restore", "local:test", backup_id=point)
    run = ended(service, submit.submit(service.installation, new, sealed={"targets": [str(target)]}))
    assert (run.state, run.error, run.sealed) == (SUCCEEDED, None, None)
    assert [path.read_text() for path in target.rglob("a.txt")] == ["hello"]
    assert runs.fetch(service.installation, hanging.id).state == RUNNING


def test_a_run_is_on_record_before_it_is_sent(service: Service) -> None:
    """A tap on the server sees the job's name arrive; whoever hears of it then must find the row."""
    found: list[str] = []
    with service.queue.redis.monitor() as tap:
        listener = threading.Thread(target=lambda: found.append(state_when_sent(service, tap)))
        listener.start()
        create(service)
        listener.join(WAIT_SECONDS)
    assert found == ["queued"]


def state_when_sent(service: Service, tap: Monitor) -> str:
    for command in tap.listen():
        words = command["command"].split()
        if words[0].upper() == "RPUSH":
            try:
                return runs.find(service.installation, words[-1]).state
            except NotFound:
                return "absent"
    raise AssertionError("nothing was sent")


def test_a_request_to_stop_counts_while_redis_is_away(service: Service) -> None:
    parts = [service.start(), service.start("scheduler")]
    service.until(lambda: service.queue.workers("backup"))
    service.redis.kill()
    service.redis.wait()
    for part in parts:
        part.terminate()
    assert [part.wait(20) for part in parts] == [0, 0]


def test_what_is_bound_to_a_host_waits_for_its_worker(service: Service) -> None:
    """Nobody else takes it, though it was first in line: another machine has other files."""
    shop = configurations.find(service.installation, "shop").document
    configurations.store(service.installation, {**shop, "id": "store", "queue": "host:store-12"})
    bound = submit.submit(service.installation, NewRun("create", "local:test", config_id="store"))
    service.start(HOLDFAST_QUEUES="backup,restore,system")
    assert ended(service, create(service)).state == SUCCEEDED
    assert runs.fetch(service.installation, bound.id).state == QUEUED
    service.start(HOLDFAST_QUEUES="host:store-12")
    assert ended(service, bound).state == SUCCEEDED


def test_copying_to_destinations_goes_through_the_queue(service: Service) -> None:
    service.start()
    assert ended(service, create(service)).state == SUCCEEDED
    attic = str(service.settings.home / "attic")
    added = destinations.add(service.installation, "attic", "local", {"path": attic}, tell=silent)
    new = NewRun("sync", "local:test", arguments={"target": added.destination.name})
    synced = ended(service, submit.submit(service.installation, new))
    assert (synced.state, synced.error) == (SUCCEEDED, None)
    missing = NewRun("sync", "local:test", arguments={"target": "nowhere"})
    assert ended(service, submit.submit(service.installation, missing)).cause == "NotFound"

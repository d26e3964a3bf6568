"""The tick without a queue: dead runs, retries, overdue backups; twice at once it does each thing once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select

from tests.webapp.support import Hands, document
from webapp.installation import Installation, open_installation
from webapp.models import Event, Run
from webapp.models.run import CANCELLED, FAILED, INTERRUPTED, QUEUED, SUCCEEDED
from webapp.services import configurations, runs
from webapp.services.runs import NewRun, Outcome
from webapp.services.tick import ATTEMPTS, Ticked, tick
from webapp.settings import read_settings

DAY = timedelta(days=1)


@pytest.fixture
def service(either_home: dict[str, str], hands: Hands) -> Iterator[Installation]:
    """An installation on either database, with a configuration that runs every night; no Redis is there."""
    installation = open_installation(read_settings({**either_home, "PATH": ""}), clock=hands)
    configurations.store(installation, document(schedule="0 2 * * *"))
    tick(installation)
    yield installation
    installation.close()


def started(installation: Installation, run: Run, **changes: object) -> Run:
    here = replace(installation, **changes)  # type: ignore[arg-type]
    return runs.start(here, NewRun("create", run.identity, config_id=run.config_id, type=run.type, run_id=run.id))


def newest(installation: Installation) -> Run:
    return runs.listing(installation, limit=1)[0]


def events(installation: Installation) -> list[tuple[str, str | None]]:
    with installation.database.reading() as session:
        return [(event.kind, event.config_id) for event in session.scalars(select(Event).order_by(Event.id))]


def test_what_is_due_is_queued_also_without_redis(service: Installation, hands: Hands) -> None:
    hands.now += DAY
    done = tick(service)
    assert len(done.started) == 1
    assert "Redis" in done.queue_error
    assert newest(service).state == QUEUED
    assert tick(service).started == ()


def test_many_ticks_at_once_start_a_slot_once(service: Installation, hands: Hands) -> None:
    for number in range(5):
        configurations.store(service, document(id=f"shop-{number}", schedule="0 2 * * *"))
    hands.now += DAY
    gate = threading.Barrier(4)
    done: list[Ticked] = []

    def together() -> None:
        gate.wait()
        done.append(tick(service))

    threads = [threading.Thread(target=together) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 4
    tick(service)
    slots = [(run.config_id, run.scheduled_for) for run in runs.listing(service)]
    assert len(slots) == len(set(slots)) == 6


def test_a_run_without_heartbeat_is_interrupted_and_tried_again(service: Installation, hands: Hands) -> None:
    hands.now += DAY
    tick(service)
    first = newest(service)
    for attempt in range(2, ATTEMPTS + 2):
        run = newest(service)
        started(service, run, process="another-system:1:1")
        hands.now += timedelta(seconds=60)
        assert tick(service).interrupted == ()
        hands.now += timedelta(seconds=31)
        done = tick(service)
        assert done.interrupted == (run.public_id,)
        if attempt <= ATTEMPTS:
            again = newest(service)
            assert (again.public_id,) == done.retried
            assert (again.retry_of, again.attempt, again.trigger) == (run.public_id, attempt, "retry")
            assert again.scheduled_for is None
    assert done.retried == ()
    assert runs.fetch(service, first.id).state == INTERRUPTED
    assert events(service) == [("interrupted", "shop")] * ATTEMPTS


@pytest.mark.parametrize(("state", "cause", "wait", "again"), [
    (FAILED, "Unavailable", 299, 0),
    (FAILED, "Unavailable", 301, 1),
    (FAILED, "SourceError", 301, 0),
    (CANCELLED, "Cancelled", 301, 0),
    (SUCCEEDED, None, 301, 0),
])  # fmt: skip
def test_which_runs_are_tried_again(
    service: Installation, hands: Hands, state: str, cause: str | None, wait: int, again: int
) -> None:
    hands.now += DAY
    tick(service)
    run = started(service, newest(service))
    runs.finish(service, run.id, Outcome(state, cause=cause))
    hands.now += timedelta(seconds=wait)
    assert len(tick(service).retried) == again
    assert tick(service).retried == ()


def test_an_overdue_backup_is_told_once(service: Installation, hands: Hands) -> None:
    configurations.store(service, document(id="strict", objectives={"rpoMinutes": 90}))
    tick(service)
    hands.now += timedelta(minutes=91)
    assert tick(service).overdue == ("strict",)
    assert tick(service).overdue == ()
    hands.now += 2 * DAY
    assert set(tick(service).overdue) == {"shop", "strict"}, "the one now, the other again after the reminder interval"
    assert tick(service).overdue == ()
    told = Counter(name for kind, name in events(service) if kind == "missed")
    assert told == {"strict": 2, "shop": 1}

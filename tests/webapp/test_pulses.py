"""A scheduler or a worker that is dead is told on every page, before anything is late."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.service import running
from tests.webapp.shelf import WHO, Shelf
from tests.webapp.site import Site, person
from webapp.models import Pulse, Run
from webapp.services import activity, pulses, vitals
from webapp.services.doctor import ERROR, OK, WARNING


def seen(shelf: Shelf, *parts: str) -> None:
    with shelf.installation.database.transaction() as session:
        for part in parts:
            session.merge(Pulse(part=part, at=shelf.hands.now))


def said_of(shelf: Shelf, name: str) -> tuple[str, str]:
    """What the health page says of a part."""
    return next((part.level, part.said) for part in vitals.look(shelf.installation) if part.name == name)


def test_nobody_is_missed_who_never_reported(shelf: Shelf) -> None:
    assert pulses.silence(shelf.installation) == {}


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ((), "The scheduler has not reported since 2026-11-23 02:00 UTC."),
        (("tick", "restore", "system"), "The worker for backups has not reported since 2026-11-23 02:00 UTC."),
        (("tick", "backup", "system"), "The worker for restores has not reported since 2026-11-23 02:00 UTC."),
    ],
)
def test_who_falls_silent_is_told_on_every_page(shelf: Shelf, others: tuple[str, ...], said: str) -> None:
    admin = person(Site(shelf.installation))
    seen(shelf, "tick", "backup", "restore", "system")
    shelf.hands.now += timedelta(seconds=80)
    assert pulses.silence(shelf.installation) == {}
    seen(shelf, *others)
    shelf.hands.now += timedelta(seconds=20)
    for path in ("/", "/runs", "/account", "/nothing-here"):
        assert said in admin.get(path).text, path


def test_a_dead_worker_is_no_dead_scheduler(shelf: Shelf) -> None:
    seen(shelf, "tick", "backup")
    shelf.hands.now += timedelta(seconds=100)
    seen(shelf, "tick")
    assert said_of(shelf, "Scheduler") == (OK, "It reported 0 s ago.")
    shelf.hands.now += timedelta(seconds=100)
    level, said = said_of(shelf, "Scheduler")
    assert (level, said) == (ERROR, pulses.silence(shelf.installation)[pulses.TICK])


@pytest.mark.parametrize(
    ("queue", "beat_before", "level"),
    [("backup", 0, ERROR), ("restore", 0, WARNING), ("restore", 3600, ERROR)],
)
def test_health_and_banner_agree_on_the_queue(shelf: Shelf, queue: str, beat_before: int, level: str) -> None:
    """What works for another queue, or died at its work, carries nothing out."""
    asked_at = shelf.hands.now
    shelf.hands.now += timedelta(minutes=10)
    beat_at = shelf.hands.now - timedelta(seconds=beat_before)
    common = {"trigger": "manual", "identity": WHO, "host": "h", "process": "p", "created_at": asked_at}
    with shelf.installation.database.transaction() as session:
        session.add(Run(public_id="run_a", kind="verify", state="queued", queue="restore", **common))
        session.add(Run(public_id="run_b", kind="create", state="running", queue=queue, heartbeat_at=beat_at, **common))
    assert said_of(shelf, "Queue") == (level, "1 wait, the oldest for 600 s; 1 at work.")
    assert bool(activity.standstill(shelf.installation)) is (level == ERROR)


def test_a_tick_writes_down_which_workers_live(tmp_path: Path) -> None:
    with running(tmp_path / "home") as service:
        service.start("worker", HOLDFAST_QUEUES="backup")
        service.until(lambda: service.queue.workers("backup"))
        pulses.beat(service.installation)
        with service.installation.database.reading() as session:
            assert {row.part for row in session.query(Pulse)} == {"tick", "backup"}

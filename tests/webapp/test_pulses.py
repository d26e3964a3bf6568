"""A scheduler or a worker that is dead is told on every page, before anything is late."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.service import running
from tests.webapp.shelf import Shelf
from tests.webapp.site import Site, person
from webapp.models import Pulse
from webapp.services import pulses


def seen(shelf: Shelf, *parts: str) -> None:
    with shelf.installation.database.transaction() as session:
        for part in parts:
            session.merge(Pulse(part=part, at=shelf.hands.now))


def test_nobody_is_missed_who_never_reported(shelf: Shelf) -> None:
    assert pulses.silence(shelf.installation) == ""


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
    assert pulses.silence(shelf.installation) == ""
    seen(shelf, *others)
    shelf.hands.now += timedelta(seconds=20)
    for path in ("/", "/runs", "/account", "/nothing-here"):
        assert said in admin.get(path).text, path


def test_a_tick_writes_down_which_workers_live(tmp_path: Path) -> None:
    with running(tmp_path / "home") as service:
        service.start("worker", HOLDFAST_QUEUES="backup")
        service.until(lambda: service.queue.workers("backup"))
        pulses.beat(service.installation)
        with service.installation.database.reading() as session:
            assert {row.part for row in session.query(Pulse)} == {"tick", "backup"}

"""Configurations are stored as typed, and a heartbeat keeps a run alive and hands on requests to stop."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import select

from engine.errors import Cancelled
from engine.progress import Silent
from tests.webapp.shelf import Shelf
from tests.webapp.support import document
from webapp.errors import Busy, ConfigurationInvalid, NotBuilt, NotFound
from webapp.installation import Installation
from webapp.models import Destination
from webapp.services import backups, configurations, runs, unbuilt
from webapp.services.heartbeat import Heartbeat
from webapp.services.runs import NewRun, Outcome


def test_a_configuration_is_stored_as_typed(installation: Installation) -> None:
    typed = document(schedule="@daily", sources={"databases": [{"url": "${DATABASE_URL}"}]})
    first = configurations.store(installation, typed)
    assert (first.created, first.changed, first.configuration.version) == (True, False, 1)
    again = configurations.store(installation, typed)
    assert (again.created, again.changed, again.configuration.version) == (False, False, 1)
    changed = configurations.store(installation, {**typed, "name": "New", "enabled": False})
    assert (changed.created, changed.changed, changed.configuration.version) == (False, True, 2)
    found = configurations.find(installation, "shop")
    assert found.document == {**typed, "name": "New", "enabled": False}
    assert (found.name, found.enabled, found.type, found.schedule) == ("New", False, "full", "@daily")


def test_what_is_invalid_is_not_stored(installation: Installation) -> None:
    with pytest.raises(ConfigurationInvalid):
        configurations.store(installation, document(schedule="never"))
    assert configurations.listing(installation) == []


def test_many_who_store_the_same_id(installation: Installation) -> None:
    gate = threading.Barrier(6)
    created: list[bool] = []

    def attempt() -> None:
        gate.wait()
        created.append(configurations.store(installation, document()).created)

    threads = [threading.Thread(target=attempt) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(created) == [False] * 5 + [True]
    assert configurations.find(installation, "shop").version == 1


def test_a_deleted_configuration_is_gone_and_can_come_back(installation: Installation) -> None:
    configurations.store(installation, document())
    assert configurations.delete(installation, "shop").backups == 0
    assert configurations.listing(installation) == []
    with pytest.raises(NotFound):
        configurations.find(installation, "shop")
    with pytest.raises(NotFound):
        configurations.delete(installation, "shop")
    back = configurations.store(installation, document())
    assert (back.created, back.configuration.version) == (True, 2)


def test_a_configuration_in_use_is_not_deleted(installation: Installation) -> None:
    configurations.store(installation, document())
    run = runs.start(installation, NewRun("create", "local:test", config_id="shop"))
    with pytest.raises(Busy, match=run.public_id):
        configurations.delete(installation, "shop")
    assert configurations.find(installation, "shop").deleted_at is None


def test_a_near_miss_is_told(installation: Installation) -> None:
    configurations.store(installation, document(id="daily-db-backup"))
    with pytest.raises(NotFound, match="Did you mean daily-db-backup"):
        configurations.find(installation, "dayly-db-backup")


def test_what_cannot_run_yet_is_told_before_it_runs(installation: Installation) -> None:
    hooked = document(hooks={"before": [{"command": ["/bin/true"]}]})
    ready = configurations.ready(installation, configurations.store(installation, hooked).configuration, cwd=Path("/"))
    with pytest.raises(NotBuilt, match=r"^/hooks: .* is not built yet"):
        unbuilt.refuse(ready)


def test_what_can_run_is_not_refused(installation: Installation) -> None:
    stored = configurations.store(installation, document()).configuration
    ready = configurations.ready(installation, stored, cwd=Path("/"))
    unbuilt.refuse(ready)
    assert len(ready.folders) == 1


def test_a_heartbeat_writes_counts_and_hears_a_request_to_stop(installation: Installation) -> None:
    quick = dataclasses.replace(installation, heartbeat_seconds=0.01)
    run = runs.start(quick, NewRun("verify", "local:test"))
    inner = Silent()
    with Heartbeat(quick, run.id, inner) as heartbeat:
        heartbeat.phase("Reading", expected=100)
        heartbeat.advance(items=1, read=2, stored=3)
        heartbeat.problem("unreadable", "/x", "no")
        heartbeat.checkpoint()
        _until(lambda: runs.find(quick, run.public_id).bytes_stored == 3)
        runs.request_cancel(quick, run.public_id)
        with pytest.raises(Cancelled, match="cancelled"):
            _until(lambda: heartbeat.checkpoint() is not None)
    assert inner.problems == heartbeat.problems == [("unreadable", "/x", "no")]
    assert dataclasses.astuple(heartbeat.counters) == (1, 2, 3, 1)


def test_a_run_that_was_taken_for_dead_stops(installation: Installation) -> None:
    quick = dataclasses.replace(installation, heartbeat_seconds=0.01)
    run = runs.start(quick, NewRun("verify", "local:test"))
    with Heartbeat(quick, run.id, Silent()) as heartbeat:
        runs.finish(quick, run.id, Outcome("interrupted"))
        with pytest.raises(Cancelled, match="taken for dead"):
            _until(lambda: heartbeat.checkpoint() is not None)


def _work_for_half_a_minute(heartbeat: Heartbeat) -> None:
    pause = threading.Event()
    for _ in range(3000):
        heartbeat.checkpoint()
        pause.wait(0.01)


def _until(holds: Callable[[], bool]) -> None:
    """Waits for another thread; the run's own time limit ends a wait for what never comes."""
    pause = threading.Event()
    while not holds():
        pause.wait(0.005)


@pytest.mark.parametrize("number", range(4))
def test_first_backups_to_a_new_place_at_once(shelf: Shelf, number: int) -> None:
    """One makes the repository and the others use it; none fails for that, and none takes the destination away."""
    (shelf.source / "file").write_text("content")
    names = [shelf.configure(f"shop-{each}") for each in range(6)]
    gate = threading.Barrier(len(names))

    def first(name: str) -> str | None:
        gate.wait()
        order = backups.Order(name, "local:test")
        done = backups.create(shelf.installation, order, cwd=shelf.source, progress=Silent(), tell=lambda text: None)
        return done.error

    with ThreadPoolExecutor(len(names)) as pool:
        assert list(pool.map(first, names)) == [None] * len(names)
    with shelf.installation.database.reading() as session:
        (place,) = session.scalars(select(Destination)).all()
    assert place.repository_id is not None


def test_a_request_to_stop_is_heard_long_before_the_next_beat(installation: Installation) -> None:
    """Of a run in this process, where nobody else looks."""
    timing = dataclasses.replace(installation.settings.timing, cancel=0.01)
    settings = dataclasses.replace(installation.settings, timing=timing)
    slow = dataclasses.replace(installation, settings=settings, heartbeat_seconds=3600)
    run = runs.start(slow, NewRun("verify", "local:test"))
    with Heartbeat(slow, run.id, Silent()) as heartbeat:
        runs.request_cancel(slow, run.public_id)
        with pytest.raises(Cancelled, match="cancelled"):
            _work_for_half_a_minute(heartbeat)

"""What RQ calls, in a child process of a worker: `carry_out(run)` and `tick()`. The work itself is in the services."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import FrameType

from engine.errors import EngineError
from webapp.errors import ServiceError
from webapp.installation import Installation, open_installation
from webapp.services import queued
from webapp.services import tick as ticking
from webapp.settings import Settings

log = logging.getLogger("holdfast.jobs")
_WORK = (
    *(f"webapp.services.{name}" for name in ("backups", "cleanup", "healing", "restores", "verifications")),
    *(f"webapp.services.{name}" for name in ("delivery_log", "digest", "fullness", "heartbeats", "journal")),
    "webapp.services.notifications",
    "engine.sources.postgres",
    "sqlalchemy.dialects.postgresql.psycopg",
)
_stop = threading.Event()
_settings: list[Settings] = []


def use(settings: Settings) -> None:
    """The settings of the worker, for the children that it forks."""
    _settings[:] = [settings]


def preload() -> None:
    """Imports what the work imports, and maps all rows: once in the worker, not again in each child of it."""
    from sqlalchemy.orm import configure_mappers

    from webapp.models import Base  # noqa: F401 (brings every table)

    for name in _WORK:
        import_module(name)
    configure_mappers()


def stop_in_order() -> None:
    """From now on SIGTERM asks the work of this process to stop at its next checkpoint. Main thread only."""
    signal.signal(signal.SIGTERM, _on_term)


def carry_out(run_id: str) -> str:
    """Carries the queued run with this public id out; the state in which it ended."""
    with _installation() as installation:
        run = queued.carry_out(installation, run_id, cwd=Path.cwd(), stop=_stop, end=_end_group)
    log.info("run ended", extra={"run": run.public_id, "kind": run.kind, "state": run.state, "error": run.error})
    return run.state


def tick() -> None:
    """One look at everything that is due, lost or dead."""
    with _installation() as installation:
        done = ticking.tick(installation)
        _settle(installation)
        _tell_others(installation)
    found = {name: value for name, value in vars(done).items() if value}
    if found:
        log.info("tick", extra=found)


def _settle(installation: Installation) -> None:
    """Restores that replace and were killed are finished or reverted; what they kept long enough is removed."""
    from webapp.services import journal

    try:
        journal.settle(installation, tell=log.info)
    except (EngineError, ServiceError) as error:
        log.warning("restores that replace could not be settled", extra={"error": str(error)})


def _tell_others(installation: Installation) -> None:
    """Sends what waits to be told and says outside that the service lives. A mail server that is down stops nothing."""
    from webapp.services import delivery_log, digest, fullness, heartbeats, links, notifications

    try:
        fullness.look(installation)
        digest.prepare(installation)
        notifications.deliver_due(installation)
        delivery_log.prune(installation)
        links.sweep(installation)
        trouble = heartbeats.send(installation)
    except ServiceError as error:
        trouble = str(error)
    if trouble:
        log.warning("the outside could not be told", extra={"error": trouble})


def note_dead() -> None:
    """Ends the runs whose process was killed, in a process that has no database open."""
    from webapp.services import runs

    with _installation() as installation:
        for run in runs.interrupt_dead(installation):
            log.warning("a run's process was killed", extra={"run": run.public_id})


@contextmanager
def _installation() -> Iterator[Installation]:
    (settings,) = _settings
    installation = open_installation(settings)
    try:
        yield installation
    finally:
        installation.close()


def _on_term(number: int, frame: FrameType | None) -> None:
    _stop.set()


def _end_group() -> None:
    """This process and the programs that it started (pg_dump): kill -9 at any moment loses nothing that counts."""
    os.killpg(os.getpgrp(), signal.SIGKILL)

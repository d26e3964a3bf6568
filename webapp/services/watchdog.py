"""Beside the work of a queued run: hands on requests to stop, and ends a process that heeds none or gets nowhere.

There is no limit to how long a run may take; there is one to how long it may take without any progress.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from types import TracebackType

from sqlalchemy.exc import SQLAlchemyError

from engine.errors import Cancelled
from webapp.errors import ServiceError
from webapp.installation import Installation
from webapp.models import Run
from webapp.models.run import CANCELLED, FAILED, INTERRUPTED
from webapp.services import runs
from webapp.services.runs import Outcome
from webapp.services.work import Stopped

# With the time between two looks this stays within the five seconds in which a cancelled run has to end.
GRACE_SECONDS = 3.0


class Signs:
    """The Progress of a run that nobody watches: it notes that there is progress, and raises what it is asked to."""

    def __init__(self, stop: threading.Event) -> None:
        self.stop = stop
        self.cancelled = threading.Event()
        self.moved_at = monotonic()

    def phase(self, name: str, *, expected: int = 0) -> None:
        self.moved_at = monotonic()

    def advance(self, *, items: int = 0, read: int = 0, stored: int = 0) -> None:
        self.moved_at = monotonic()

    def problem(self, kind: str, path: str, reason: str) -> None:
        self.moved_at = monotonic()

    def checkpoint(self) -> None:
        """Raises Cancelled, or Stopped when the service stops."""
        if self.cancelled.is_set():
            raise Cancelled("The run was cancelled.")
        if self.stop.is_set():
            raise Stopped("The service was stopped while this ran.")


class Watchdog:
    """Looks as often as the setting `cancel` says, from the beginning of the block to its end."""

    def __init__(self, installation: Installation, run: Run, signs: Signs, end: Callable[[], None]) -> None:
        self._installation = installation
        self._run = run
        self._signs = signs
        self._end = end
        self._asked_at: float | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Watchdog:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        timing = self._installation.settings.timing
        while not self._over.wait(timing.cancel):
            try:
                outcome = self._look(timing.stall)
                if outcome is not None and not self._over.is_set():
                    runs.finish(self._installation, self._run.id, outcome)
                    self._end()
            except (ServiceError, SQLAlchemyError):
                continue  # the next look tries again

    def _look(self, stall: float) -> Outcome | None:
        """How the run has to be ended by force now; None while it may go on."""
        now = monotonic()
        row = runs.fetch(self._installation, self._run.id)
        if row.cancel_requested:
            self._signs.cancelled.set()
        if (row.cancel_requested or not row.is_active or self._signs.stop.is_set()) and self._asked_at is None:
            self._asked_at = now
        if self._asked_at is not None and now - self._asked_at >= GRACE_SECONDS:
            if row.cancel_requested:
                return Outcome(CANCELLED, error="The run was cancelled.", cause="Cancelled")
            return Outcome(INTERRUPTED, error="The service was stopped while this ran.", cause="interrupted")
        if now - self._signs.moved_at >= stall:
            minutes = int(stall // 60)
            return Outcome(
                FAILED,
                error=f"There was no progress for {minutes} minutes, so the run was ended.",
                hint="Look for a lock in the database, a network file system that hangs, or a store without answer.",
                cause="stalled",
            )
        return None

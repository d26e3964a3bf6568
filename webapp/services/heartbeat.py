"""While an engine works: keeps its run alive, counts, collects problems, and hands on requests to stop."""

from __future__ import annotations

import threading
from contextlib import suppress
from types import TracebackType

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from engine.errors import Cancelled
from engine.progress import Progress
from webapp.errors import ServiceError
from webapp.installation import Installation
from webapp.models import Run
from webapp.services import run_phases
from webapp.services.run_phases import Noted
from webapp.services.runs import KEPT_PROBLEMS, Counters, beat

# Who looks on sees numbers that are this old at most; a beat alone would do every fifteen seconds.
SHOWN_SECONDS = 2.0


class Heartbeat:
    """A Progress that passes everything on to `inner` (what people see), with a thread that writes the row.

    After the block, `counters` and `problems` are what `runs.finish` needs. Nothing holds a database connection
    between two beats; a beat that fails is not a reason to stop a backup, the next one tries again.
    """

    def __init__(self, installation: Installation, run_id: int, inner: Progress) -> None:
        self.problems: list[tuple[str, str, str]] = []
        self.lost = False
        self._installation = installation
        self._run_id = run_id
        self._inner = inner
        self._lock = threading.Lock()
        self._counters = [0, 0, 0, 0]
        self._phases: list[Noted] = []
        self._written = 0
        self._cancelled = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat_on, name="heartbeat", daemon=True)

    @property
    def counters(self) -> Counters:
        """How far the run is."""
        with self._lock:
            return Counters(*self._counters)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        with suppress(ServiceError, SQLAlchemyError):  # a step less in the list is no reason to fail
            self._write_phases()

    def phase(self, name: str, *, expected: int = 0) -> None:
        with self._lock:
            self._phases.append(Noted(name, expected, self._counters[1], self._installation.clock()))
        self._inner.phase(name, expected=expected)

    def advance(self, *, items: int = 0, read: int = 0, stored: int = 0) -> None:
        with self._lock:
            self._counters[0] += items
            self._counters[1] += read
            self._counters[2] += stored
        self._inner.advance(items=items, read=read, stored=stored)

    def problem(self, kind: str, path: str, reason: str) -> None:
        with self._lock:
            self._counters[3] += 1
            if len(self.problems) < KEPT_PROBLEMS:
                self.problems.append((kind, path, reason))
        self._inner.problem(kind, path, reason)

    def checkpoint(self) -> None:
        """Raises Cancelled when somebody asked for it, or when the run was taken for dead and is no longer ours."""
        self._inner.checkpoint()
        if self.lost:
            raise Cancelled("The run was taken for dead by another command and stops here.")
        if self._cancelled:
            raise Cancelled("The run was cancelled.")

    def _beat_on(self) -> None:
        """Looks often, so that who cancels does not wait for the next beat, and writes seldom."""
        installation = self._installation
        since, told = 0.0, self.counters
        look = min(installation.settings.timing.cancel, installation.heartbeat_seconds)
        while not self._ended.wait(look):
            since += look
            try:
                self._write_phases()
                counters = self.counters
                is_news = counters != told and since >= SHOWN_SECONDS
                if since < installation.heartbeat_seconds and not is_news:
                    self._cancelled = self._cancelled or self._is_cancelled()
                    continue
                pulse = beat(installation, self._run_id, counters)
            except (ServiceError, SQLAlchemyError):
                continue  # one missed beat is no end of a run
            since, told = 0.0, counters
            self.lost = not pulse.alive
            self._cancelled = pulse.cancel_requested

    def _write_phases(self) -> None:
        with self._lock:
            fresh = self._phases[self._written :]
        if fresh:
            run_phases.write(self._installation, self._run_id, fresh, first=self._written)
            self._written += len(fresh)

    def _is_cancelled(self) -> bool:
        with self._installation.database.reading() as session:
            return bool(session.scalar(select(Run.cancel_requested).where(Run.id == self._run_id)))

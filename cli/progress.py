"""Progress on stderr: a bar with rate and ETA on a terminal, else a line every 10 s; and Ctrl-C as a polite request.

The first Ctrl-C (or SIGTERM) makes the next `checkpoint` raise Cancelled, so that the work ends in order; the second
raises KeyboardInterrupt in the main thread, and if that does not end the process within seconds (a thread may wait for
a store that does not answer) it is ended; the third ends it at once.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from types import FrameType, TracebackType

from cli.exits import INTERRUPTED
from cli.output import duration, size, visible
from engine.errors import Cancelled

LINE_SECONDS = 10.0
PAINT_SECONDS = 0.2
RATE_SECONDS = 20.0
SHOWN_PROBLEMS = 20
HURRY_SECONDS = 5.0


class CommandProgress:
    """Implements engine.progress.Progress, from any thread. A context manager: the painting ends with the block."""

    def __init__(
        self,
        tell: Callable[[str], None],
        *,
        terminal: bool,
        now: Callable[[], float] = monotonic,
        line_seconds: float = LINE_SECONDS,
    ) -> None:
        self.items = self.read = self.stored = self.problems = 0
        self.expected = 0
        self._phase = ""
        self._tell = tell
        self._terminal = terminal
        self._now = now
        self._seconds = PAINT_SECONDS if terminal else line_seconds
        self._lock = threading.Lock()
        self._cancelled = threading.Event()
        self._ended = threading.Event()
        self._samples: deque[tuple[float, int]] = deque()
        self._painter = threading.Thread(target=self._paint_on, name="progress", daemon=True)
        self._bar: Bar | None = None

    def __enter__(self) -> CommandProgress:
        self._samples.append((self._now(), 0))
        if self._terminal:
            self._bar = Bar()
        self._painter.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._painter.join()
        if self._bar is not None:
            self._bar.close()

    def phase(self, name: str, *, expected: int = 0) -> None:
        with self._lock:
            self._phase = name
            self.expected = self.read + expected if expected else 0

    def advance(self, *, items: int = 0, read: int = 0, stored: int = 0) -> None:
        with self._lock:
            self.items += items
            self.read += read
            self.stored += stored

    def problem(self, kind: str, path: str, reason: str) -> None:
        with self._lock:
            self.problems += 1
            number = self.problems
        if number <= SHOWN_PROBLEMS:
            self.say(f"Problem: {visible(path)}: {visible(reason)}")
        elif number == SHOWN_PROBLEMS + 1:
            self.say("More problems are counted, and listed in the run's result.")

    def checkpoint(self) -> None:
        """Raises Cancelled after the first Ctrl-C."""
        if self._cancelled.is_set():
            raise Cancelled("Interrupted.")

    def cancel(self) -> None:
        """Asks the work to stop at its next checkpoint. Safe in a signal handler."""
        self._cancelled.set()

    def line(self) -> str:
        """`Reading files: 1,204 items, 3.1 GiB, 210.0 MiB/s, 12 % done, about 4 min 05 s to go`."""
        with self._lock:
            now = self._now()
            self._samples.append((now, self.read))
            while len(self._samples) > 2 and now - self._samples[0][0] > RATE_SECONDS:
                self._samples.popleft()
            (since, before), read, expected = self._samples[0], self.read, self.expected
            items, phase, stored = self.items, self._phase, self.stored
        rate = (read - before) / (now - since) if now > since else 0.0
        parts = [f"{items:,} items", size(read), f"{size(int(rate))}/s"]
        if stored:
            parts.append(f"{size(stored)} stored")
        if expected > read and rate > 0:
            parts.append(f"{100 * read // expected} % done, about {duration((expected - read) / rate)} to go")
        return f"{phase or 'Working'}: {', '.join(parts)}"

    def _paint_on(self) -> None:
        while not self._ended.wait(self._seconds):
            if self._bar is None:
                self._tell(self.line())
            else:
                self._bar.paint(self.line(), done=self.read, expected=self.expected)

    def say(self, text: str) -> None:
        """A line for people, above the bar where there is one."""
        if self._bar is None:
            self._tell(text)
        else:
            self._bar.print(text)


class Bar:
    """The bar on a terminal, by rich, which is imported only here."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        columns = (BarColumn(bar_width=24), TextColumn("{task.description}", markup=False))
        self._console = Console(stderr=True)
        self._progress = Progress(*columns, console=self._console, transient=True, auto_refresh=False)
        self._task = self._progress.add_task("Starting", total=None)
        self._progress.start()

    def paint(self, text: str, *, done: int, expected: int) -> None:
        """Shows the line and how far it is; a bar that only moves when `expected` is 0."""
        total = max(expected, done) if expected else None
        self._progress.update(self._task, description=text, completed=done, total=total, refresh=True)

    def print(self, text: str) -> None:
        """A line above the bar."""
        self._console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        """Takes the bar away."""
        self._progress.stop()


@contextmanager
def watched(tell: Callable[[str], None]) -> Iterator[CommandProgress]:
    """A progress for one piece of work, with Ctrl-C and SIGTERM as requests to stop. Main thread only."""
    progress = CommandProgress(tell, terminal=sys.stderr.isatty())
    with stopping(progress.cancel), progress:
        yield progress


@contextmanager
def stopping(cancel: Callable[[], None]) -> Iterator[None]:
    """While the block runs, signals call `cancel` first and get harder each time."""
    count = 0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal count
        count += 1
        if count == 1:
            cancel()
            _write(b"\nStopping in order. Press Ctrl-C again to stop at once.\n")
        elif count == 2:
            hurry.start()
            raise KeyboardInterrupt
        else:
            os._exit(INTERRUPTED)

    hurry = threading.Timer(HURRY_SECONDS, os._exit, (INTERRUPTED,))
    hurry.daemon = True
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _write(text: bytes) -> None:
    """Straight to the descriptor: a signal may come in the middle of a write to the buffered stderr."""
    try:
        os.write(2, text)
    except OSError:
        return

"""A storage that fails where it is told to. A fault that was planned but not met makes the test fail."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TypeVar

from engine.storage.base import Buffer, Item, Storage

T = TypeVar("T")
CHILD_SECONDS = 120
DIED = 77


class FaultyStorage:
    """Passes every call on, but runs `fault` at call number `at` (from 1): before it, or `after` it was carried out."""

    requests_at_once = 1  # so that call number `at` is always the same one

    def __init__(self, inner: Storage, fault: Callable[[], None], *, at: int, after: bool = False) -> None:
        self._inner = inner
        self._fault = fault
        self._at = at
        self._after = after
        self._lock = threading.Lock()
        self.calls = 0

    @property
    def was_hit(self) -> bool:
        """Whether the planned fault happened."""
        return self.calls >= self._at

    def describe(self) -> str:
        return self._inner.describe()

    def initialise(self) -> None:
        self._inner.initialise()

    def close(self) -> None:
        self._inner.close()

    def put(self, name: str, data: Buffer | Path, *, create: bool = True) -> None:
        self._call(lambda: self._inner.put(name, data, create=create))

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        return self._call(lambda: self._inner.get(name, offset, length))

    def stat(self, name: str) -> Item:
        return self._call(lambda: self._inner.stat(name))

    def list(self, prefix: str) -> Iterator[Item]:
        return iter(self._call(lambda: list(self._inner.list(prefix))))

    def delete(self, name: str) -> None:
        self._call(lambda: self._inner.delete(name))

    def move(self, name: str, to: str) -> None:
        self._call(lambda: self._inner.move(name, to))

    def _call(self, action: Callable[[], T]) -> T:
        with self._lock:
            self.calls += 1
            is_planned = self.calls == self._at
        if is_planned and not self._after:
            self._fault()
        result = action()
        if is_planned and self._after:
            self._fault()
        return result


def kill_this_process() -> None:
    """What `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(events: Collection[str], number: int) -> None:
    """From now on this process dies, with status DIED, before its step `number` (from 1): a step is an audit event of
    Python that has one of these names."""
    count = 0

    def look(event: str, arguments: object) -> None:
        nonlocal count
        if event in events:
            count += 1
            if count == number:
                os._exit(DIED)

    sys.addaudithook(look)


def run_and_wait(action: Callable[[], object]) -> int:
    """Run in a child process; its exit status, or minus the signal that ended it: SIGALRM for one that hangs."""
    _wait_for_ended_threads()
    child = os.fork()
    if child == 0:
        status = 99
        try:
            signal.alarm(CHILD_SECONDS)
            action()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _wait_for_ended_threads() -> None:
    """A thread that has ended for Python may be at work in OpenSSL's farewell for a moment, holding a lock for which a
    child that is made now would wait for ever."""
    deadline = time.monotonic() + 5
    # One more is there in each test: pytest's watchdog for tests that hang, of which Python does not know.
    while len(os.listdir("/proc/self/task")) > threading.active_count() + 1 and time.monotonic() < deadline:
        os.sched_yield()

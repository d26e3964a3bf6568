"""Buffers that a reader fills and workers empty; a fixed number of them bounds the memory of a backup."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

SEGMENT_BYTES = 8 << 20
# One is filled while the workers empty the other. Two workers waited for work 2 % of their time with three segments and
# 3 % with two, and not less with five, at 8 MiB each. More than two workers would wait for longer.
SEGMENTS = 2 if (os.cpu_count() or 1) <= 2 else 3


class Segment:
    """A buffer with a count of those who still need its bytes."""

    def __init__(self, pool: SimpleQueue[Segment]) -> None:
        self.view = memoryview(bytearray(SEGMENT_BYTES))
        self._pool = pool
        self._holders = 0
        self._lock = threading.Lock()

    def hold(self) -> None:
        """One more holder."""
        with self._lock:
            self._holders += 1

    def release(self) -> None:
        """One holder less; the last one returns the segment to the pool."""
        with self._lock:
            self._holders -= 1
            free = not self._holders
        if free:
            self._pool.put(self)


class SegmentPool:
    """Lends out segments; `take` waits until one is free."""

    def __init__(self) -> None:
        self._free: SimpleQueue[Segment] = SimpleQueue()
        self._made = 0

    def take(self, look: Callable[[], None]) -> Segment:
        """A segment, held once by the caller; made when it is first needed. `look` is called while none is free."""
        if self._made < SEGMENTS and self._free.empty():
            self._made += 1
            segment = Segment(self._free)
        else:
            segment = self._wait(look)
        segment.hold()
        return segment

    def _wait(self, look: Callable[[], None]) -> Segment:
        while True:
            try:
                return self._free.get(timeout=1)
            except Empty:
                look()

"""Progress of a backup that also keeps what the restore point must say of it: problems, and bytes read."""

from __future__ import annotations

import threading

from engine.model.manifest import Problem
from engine.progress import Progress

MAX_PROBLEMS = 10_000


class Watch:
    """A Progress around another. `problem_count` counts those too that are not kept."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self.problems: list[Problem] = []
        self.problem_count = 0
        self.read = 0
        self.phase = progress.phase
        self.checkpoint = progress.checkpoint

    def advance(self, *, items: int = 0, read: int = 0, stored: int = 0) -> None:
        with self._lock:
            self.read += read
        self._progress.advance(items=items, read=read, stored=stored)

    def problem(self, kind: str, path: str, reason: str) -> None:
        with self._lock:
            self.problem_count += 1
            if len(self.problems) < MAX_PROBLEMS:
                self.problems.append(Problem(kind, printable(path), reason))
        self._progress.problem(kind, path, reason)


def printable(path: str) -> str:
    """A path for people and JSON: bytes that are no text, and control characters, as escapes."""
    shown = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)

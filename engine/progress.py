"""How a long operation reports what it does and learns that it shall stop."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Methods may be called from any thread and return quickly."""

    def phase(self, name: str, *, expected: int = 0) -> None:
        """A new phase begins; `expected` bytes to read is an estimate, 0 when unknown."""

    def advance(self, *, items: int = 0, read: int = 0, stored: int = 0) -> None:
        """Items finished, plain bytes read and bytes stored since the last call."""

    def problem(self, kind: str, path: str, reason: str) -> None:
        """One item could not be handled; the operation goes on and ends with a warning."""

    def checkpoint(self) -> None:
        """Raises Cancelled when the operation shall stop; called at least every second."""


class Silent:
    """Progress for callers that do not watch; it keeps the problems."""

    def __init__(self) -> None:
        self.problems: list[tuple[str, str, str]] = []

    def phase(self, name: str, *, expected: int = 0) -> None:
        pass

    def advance(self, *, items: int = 0, read: int = 0, stored: int = 0) -> None:
        pass

    def problem(self, kind: str, path: str, reason: str) -> None:
        self.problems.append((kind, path, reason))

    def checkpoint(self) -> None:
        pass

"""Bytes that can be read once, in order."""

from __future__ import annotations

from typing import Protocol


class Reader(Protocol):
    """Bytes of one stream, in order."""

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill the front of `buffer`; the number of bytes written, 0 only at the end. Raises SourceError."""

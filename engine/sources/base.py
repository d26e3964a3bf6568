"""What a backup reads from: folders (trees) and streams (a database's dump)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol

from engine.model.stream import Reader
from engine.progress import Progress

__all__ = ["Reader", "StreamEntry", "StreamSource"]


class StreamEntry(Protocol):
    """One stream that a backup stores, such as the dump of one database."""

    @property
    def kind(self) -> str:
        """The kind of root it becomes in the manifest: `postgres`."""

    @property
    def name(self) -> str:
        """For people and `--only`: the database's name."""

    @property
    def expected(self) -> int:
        """Rough size in bytes for the progress bar; 0 when unknown."""

    def open(self) -> AbstractContextManager[Reader]:
        """The stream. Leaving the block without an exception means that the producer ended well and the stream was
        structurally complete; anything else raises SourceError on exit."""

    def facts(self) -> dict[str, Any]:
        """After a clean exit from `open`: what the manifest records of it (JSON types and bytes only)."""


class StreamSource(Protocol):
    """A source of streams. Entering it freezes the state that all its entries show (a snapshot)."""

    def describe(self) -> str:
        """For people; never a secret."""

    def __enter__(self) -> StreamSource: ...

    def __exit__(self, *exc: object) -> None: ...

    def entries(self, progress: Progress) -> Iterator[StreamEntry]:
        """Each stream once; an entry is finished before the next is asked for."""

"""What every storage promises: names → bytes, somewhere.

`put` is all or nothing and durable on return; a name is at once visible to `get` and `list`; names are never rewritten
but where `create=False` says so (heads, RECOVER.md, marks)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol

Buffer = bytes | bytearray | memoryview


class BadSetting(ValueError):
    """`setting`, a field of a kind's Config, cannot be as it is; `sentence` goes on from its name."""

    def __init__(self, setting: str, sentence: str) -> None:
        super().__init__(f"{setting} {sentence}")
        self.setting, self.sentence = setting, sentence


class Item(NamedTuple):
    """One object: its name, its size in bytes, and when the storage says it was written."""

    name: str
    size: int
    modified_at: datetime


class Storage(Protocol):
    """Methods may be called from several threads. All raise StorageError and its kinds, never OSError."""

    @property
    def requests_at_once(self) -> int:
        """How many requests at once are best: 1 where only a disk counts, more where each answer takes its time."""

    def describe(self) -> str:
        """For people; never a secret."""

    def initialise(self) -> None:
        """Make the place itself where that is needed (a folder). Only ever called for a new repository."""

    def put(self, name: str, data: Buffer | Path, *, create: bool = True) -> None:
        """Store an object. With `create`, raises AlreadyExists when the name is taken; else replaces it at once."""

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """The object, or exactly `length` bytes of it from `offset`. Raises NotFound, ShortRead."""

    def stat(self, name: str) -> Item:
        """Raises NotFound, which is the only way to say that an object is absent."""

    def list(self, prefix: str) -> Iterator[Item]:
        """All objects below a folder such as `packs/`, in no order. None at all is not an error."""

    def delete(self, name: str) -> None:
        """Raises NotFound."""

    def move(self, name: str, to: str) -> None:
        """Give an object another name; it is never under neither. Raises NotFound, AlreadyExists."""

    def close(self) -> None:
        """Give up connections and handles."""

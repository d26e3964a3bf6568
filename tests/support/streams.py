"""Streams from memory, in place of the dumps of a database."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from engine.progress import Progress
from engine.sources.base import Reader


@dataclass
class Stream:
    """A stream of these bytes; its own only entry."""

    data: bytes
    name: str = "shop"
    kind: str = "postgres"
    expected: int = 0

    def describe(self) -> str:
        return self.name

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *exc: object) -> None: ...

    def entries(self, progress: Progress) -> Iterator[Stream]:
        yield self

    @contextmanager
    def open(self) -> Iterator[Reader]:
        yield BytesIO(self.data)

    def facts(self) -> dict[str, Any]:
        return {}


def rows(rng: random.Random, count: int) -> list[bytes]:
    """Lines as a table's dump has them: some 90 bytes each, of which half is left when they are compressed."""
    return [
        b"%d\t%s\torder of customer %d\n" % (n, rng.randbytes(24).hex().encode(), rng.randrange(9999))
        for n in range(count)
    ]


def change(rng: random.Random, table: list[bytes], share: float) -> list[bytes]:
    """The table with some rows, wherever they lie, changed."""
    picked = set(rng.sample(range(len(table)), max(1, int(len(table) * share))))
    return [
        row.replace(b"order", b"ORDER %d" % rng.randrange(9999)) if n in picked else row for n, row in enumerate(table)
    ]

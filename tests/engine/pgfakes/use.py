"""Short ways to dump and restore in tests, with everything that a caller of the engine has to give."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import Cancelled
from engine.postgres.connection import parse_url
from engine.postgres.selection import Selection, select
from engine.postgres.toc import parse_toc
from engine.progress import Progress, Silent
from engine.sources.postgres import Config, PostgresEntry, PostgresSource
from engine.targets.comparison import DatabaseReport
from engine.targets.postgres import PostgresTarget
from tests.support.postgres import PostgresServer

SEGMENT = 1 << 20


@dataclass(frozen=True)
class Dump:
    """A finished dump: the stream and what was recorded of it."""

    name: str
    data: bytes
    facts: dict[str, Any]

    def rows(self) -> dict[str, int]:
        return {f"{table['schema']}.{table['name']}": table["rows"] for table in self.facts["tables"]}

    def select(self, *tables: str) -> Selection:
        length = self.facts["toc"]["length"]
        return select(parse_toc(self.data[:length]), self.facts, tables, database=self.name)


class Impatient(Silent):
    """Progress that wants to stop after so many looks."""

    def __init__(self, looks: int = 0) -> None:
        super().__init__()
        self.looks = looks

    def checkpoint(self) -> None:
        self.looks -= 1
        if self.looks < 0:
            raise Cancelled


def source(url: str, scratch: Path, *, pg_bin: Path | None = None, **config: Any) -> PostgresSource:
    scratch.mkdir(exist_ok=True)
    return PostgresSource(Config(url, **config), scratch=scratch, path="", pg_bin=pg_bin)


def dumps(entered: PostgresSource, progress: Progress | None = None) -> Iterator[Dump]:
    """Each entry of a source that was entered, read to its end."""
    for entry in entered.entries(progress or Silent()):
        data = read(entry)
        yield Dump(entry.name, data, entry.facts())


def read(entry: PostgresEntry) -> bytes:
    """The stream of one entry, to its end."""
    data = bytearray()
    buffer = memoryview(bytearray(SEGMENT))
    with entry.open() as reader:
        while count := reader.readinto(buffer):
            data += buffer[:count]
    return bytes(data)


def dump(url: str, scratch: Path, *, pg_bin: Path | None = None, **config: Any) -> Dump:
    """The dump of the one database that `url` names."""
    with source(url, scratch, pg_bin=pg_bin, **config) as entered:
        (only,) = dumps(entered)
    return only


def target(server: PostgresServer, name: str, scratch: Path, **more: Any) -> PostgresTarget:
    scratch.mkdir(exist_ok=True)
    return PostgresTarget(parse_url(server.url(name)), scratch=scratch, path="", **more)


def restore(made: Dump, into: PostgresTarget, selection: Selection | None = None) -> DatabaseReport:
    """Restores the whole dump or, of its bytes, only what the selection asks for."""
    ranges = selection.ranges if selection else ((0, len(made.data)),)
    into.receive(made.facts, segments(made.data, ranges), tables=selection)
    return into.finish()


def segments(data: bytes, ranges: tuple[tuple[int, int], ...]) -> Iterator[bytes]:
    for offset, length in ranges:
        for start in range(offset, offset + length, SEGMENT):
            yield data[start : min(start + SEGMENT, offset + length)]

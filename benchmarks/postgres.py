"""A real PostgreSQL with a shop's database, as it was on one day and on the next: 1 % of all rows updated wherever they
lie, 1 % inserted, some deleted, then vacuumed, so that rows move as they do in life."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks import data
from benchmarks.measure import Command
from benchmarks.tools import Database
from benchmarks.words import numbers, words
from tests.support.postgres import PostgresServer, start_server

MAJOR = 18
NAME, RESTORED = "shop", "shop_again"
ROWS = 1_600_000  # events; the other tables follow from it: 6.8 million rows, 0.81 GB of dump
BLOCK_ROWS = 5000
ROWS_PER_TABLE = {"accounts": 3, "events": 1, "documents": 0.25}
SCHEMA = """
create table accounts(id bigint primary key, name text, city text, phone text, balance numeric, changed timestamptz);
create table events(id bigint primary key, at timestamptz, kind text, payload jsonb);
create table documents(id bigint primary key, title text, body text, digest text);
"""
DAY = """
update accounts set balance = balance + 1, changed = '2026-02-02 12:00+00' where abs(hashint8(id) % 100) = 7;
update events set kind = 'seen' where abs(hashint8(id) % 100) = 7;
update documents set title = 'edited ' || title where abs(hashint8(id) % 100) = 7;
delete from events where abs(hashint8(id) % 1000) = 8;
"""


class Shop:
    """The server with both days, a Subject. Use it as a context manager: leaving the block ends the server."""

    def __init__(self, rows: int = ROWS) -> None:
        """`rows` is the number of events, the measure of everything."""
        self._server: PostgresServer = start_server(MAJOR)
        self._today = 0
        try:
            self._server.create_database(_of_day(1))
            self._server.query(_of_day(1), SCHEMA)
            self._fill(_of_day(1), range(rows), random.Random(404))
            self._vacuum(_of_day(1))
            self._server.query("postgres", f"create database {_of_day(2)} template {_of_day(1)}")
            self._server.query(_of_day(2), DAY)
            self._fill(_of_day(2), range(rows, rows + max(1, rows // 100)), random.Random(405))
            self._vacuum(_of_day(2))
            self._show(1)
        except BaseException:
            self._server.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.stop()

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._server.pid

    @property
    def version(self) -> str:
        """What the server says of itself."""
        return str(self._server.query("postgres", "show server_version")[0][0])

    @property
    def source(self) -> Database:
        """What the tools are given."""
        return Database(
            self._server.url(NAME),
            self._dump("--compress=0"),
            self._dump(),
            self._server.create_database,
            self._load,
            self._server.bin,
        )

    def facts(self) -> dict[str, int]:
        """Rows of each table now."""
        return self._counts(NAME)

    def warm(self) -> None:
        """The tables' files, of which the server itself keeps only a little."""
        data.warm(self._server.socket_folder / "data" / "base")

    @contextmanager
    def next_day(self) -> Iterator[None]:
        """The database as it was on the second day, under the same name."""
        self._show(2)
        try:
            yield
        finally:
            self._show(1)

    @contextmanager
    def receive(self) -> Iterator[str]:
        """The name of a database that does not exist yet, dropped at the end of the block."""
        try:
            yield RESTORED
        finally:
            self._server.drop_database(RESTORED)

    def is_restored(self, place: str) -> bool:
        """Whether a restored database has the same rows in each table."""
        return self._counts(place) == self._counts(NAME)

    def _show(self, day: int) -> None:
        if self._today != day:
            if self._today:
                self._rename(NAME, _of_day(self._today))
            self._rename(_of_day(day), NAME)
            self._today = day

    def _dump(self, *options: str) -> Command:
        """pg_dump in the custom format to its output."""
        return self._client("pg_dump", "--format=custom", *options, f"--dbname={NAME}")

    def _counts(self, name: str) -> dict[str, int]:
        return {table: self._server.query(name, f"select count(*) from {table}")[0][0] for table in ROWS_PER_TABLE}

    def _rename(self, name: str, new: str) -> None:
        self._server.query("postgres", f"alter database {name} rename to {new}")

    def _load(self, name: str) -> Command:
        return self._client("pg_restore", "--exit-on-error", f"--dbname={name}")

    def _client(self, program: str, *arguments: str) -> Command:
        server = self._server
        env = {
            "PATH": os.defpath,
            "PGHOST": server.host,
            "PGPORT": str(server.port),
            "PGUSER": server.user,
            "PGPASSWORD": server.password,
        }
        return Command((str(Path(server.bin, program)), *arguments), env)

    def _vacuum(self, name: str) -> None:
        self._server.query(name, "vacuum analyze")

    def _fill(self, name: str, numbered: range, rng: random.Random) -> None:
        """The rows that belong to these events, in blocks, so that memory stays small."""
        makers: dict[str, Callable[[range, random.Random], Iterator[str]]] = {
            "accounts": _accounts,
            "events": _events,
            "documents": _documents,
        }
        with self._server.connect(name) as connection, connection.cursor() as cursor:
            for table, factor in ROWS_PER_TABLE.items():
                rows = range(int(numbered.start * factor), int(numbered.stop * factor))
                with cursor.copy(f"copy {table} from stdin".encode()) as copy:
                    for start in range(rows.start, rows.stop, BLOCK_ROWS):
                        copy.write("".join(makers[table](range(start, min(start + BLOCK_ROWS, rows.stop)), rng)))


def _of_day(day: int) -> str:
    return f"{NAME}_day{day}"


def _accounts(rows: range, rng: random.Random) -> Iterator[str]:
    a, b, c = (words(rng, len(rows)) for _ in range(3))
    n, m = numbers(rng, len(rows)), numbers(rng, len(rows))
    for i, x, y, z, p, q in zip(rows, a, b, c, n, m, strict=True):
        yield (
            f"{i}\t{x} {y}{p & 4095}\t{z}\t+49 {p % 1000:03} {q % 10000000:07}\t{q % 1000000 / 100}\t"
            f"2026-01-{1 + p % 28:02} {q % 24:02}:{p % 60:02}:{q % 60:02}+00\n"
        )


def _events(rows: range, rng: random.Random) -> Iterator[str]:
    a, b, c = (words(rng, len(rows)) for _ in range(3))
    n, m = numbers(rng, len(rows)), numbers(rng, len(rows))
    for i, x, y, z, p, q in zip(rows, a, b, c, n, m, strict=True):
        yield (
            f"{i}\t2026-01-{1 + i % 28:02} {i // 3600 % 24:02}:{i // 60 % 60:02}:{i % 60:02}+00\t{x}\t"
            f'{{"user": {p & 262143}, "ip": "10.0.{q & 255}.{p >> 8 & 255}", "trace": "{p:08x}{q:08x}", '
            f'"path": "/{y}/{z}"}}\n'
        )


def _documents(rows: range, rng: random.Random) -> Iterator[str]:
    bodies, titles = words(rng, 60 * len(rows)), words(rng, 4 * len(rows))
    for place, i in enumerate(rows):
        title = " ".join(titles[4 * place : 4 * place + 4])
        body = " ".join(bodies[60 * place : 60 * place + 60])
        yield f"{i}\t{title}\t{body}\t{rng.getrandbits(256):064x}\n"

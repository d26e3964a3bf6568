"""A real PostgreSQL with a shop's books that change from day to day: short fixed rows and receipts with text.

The same seed and number of rows make the same days. `python -m benchmarks.ledger DIR` writes the dump of each."""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks import data
from benchmarks.measure import Command
from benchmarks.tools import Database
from benchmarks.words import numbers, words
from tests.support.postgres import PostgresServer, start_server

MAJOR = 18
NAME = "ledger"
ROWS = 900_000  # receipts; with the accounts 360 MB of dump
ACCOUNTS_PER_RECEIPT = 2
SEED = 20261123
SHARE = 100  # of so many rows one changes in a day, and one is added
BLOCK_ROWS = 5000
USUAL, APPEND, BULK, VACUUM_FULL, SCHEMA = KINDS = (
    "usual",
    "appended only",
    "bulk update",
    "VACUUM FULL",
    "new column",
)
WEEK = (USUAL,) * 6  # the days after the first
STORY = (*WEEK, APPEND, BULK, VACUUM_FULL, SCHEMA)
TABLES = """
create table accounts(id integer primary key, branch integer not null, balance integer not null, filler char(84));
create table receipts(id bigint primary key, account integer not null, at timestamptz not null, amount numeric(10, 2),
                      state text, lines text, code text);
"""


class Ledger:
    """The server, on the first day. Use it as a context manager: leaving the block ends the server."""

    def __init__(self, rows: int = ROWS, seed: int = SEED) -> None:
        self._rng = random.Random(seed)
        self._counts = {"accounts": 0, "receipts": 0}
        self._server: PostgresServer = start_server(MAJOR)
        try:
            self._server.create_database(NAME)
            self._server.query(NAME, TABLES)
            self._add("accounts", rows * ACCOUNTS_PER_RECEIPT)
            self._add("receipts", rows)
            self._server.query(NAME, "vacuum analyze")
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
    def source(self) -> Database:
        """What the tools are given."""
        server = self._server
        return Database(
            server.url(NAME), self.dump, self.dump, server.create_database, lambda name: self.dump, server.bin
        )

    @property
    def dump(self) -> Command:
        """Writes the dump, uncompressed, to its output."""
        server = self._server
        argv = (str(server.bin / "pg_dump"), "--format=custom", "--compress=0", f"--dbname={NAME}")
        env = {"PATH": os.defpath, "PGHOST": server.host, "PGPORT": str(server.port)}
        return Command(argv, {**env, "PGUSER": server.user, "PGPASSWORD": server.password})

    @property
    def rows(self) -> dict[str, int]:
        """How many rows each table has."""
        return dict(self._counts)

    def warm(self) -> None:
        """Brings the tables' files into memory, of which the server itself keeps only a little."""
        data.warm(self._server.socket_folder / "data" / "base")

    def pass_day(self, kind: str) -> None:
        """Let the next day go by: one of KINDS. On all but the day of appending alone 1 % of the rows of each table are
        updated wherever they lie; 1 % are added; at the end there is a vacuum."""
        if kind == SCHEMA:
            self._server.query(NAME, "alter table receipts add column channel text not null default 'till'")
        if kind == BULK:
            self._server.query(NAME, "update accounts set balance = balance + balance / 100")
            self._server.query(NAME, "update receipts set state = 'closed' where id % 5 = 0")
        if kind != APPEND:
            self._update()
        for table, count in list(self._counts.items()):
            self._add(table, max(1, count // SHARE))
        self._server.query(NAME, "vacuum full" if kind == VACUUM_FULL else "vacuum")

    def _update(self) -> None:
        changes = {
            "accounts": "update accounts set balance = balance + id %% 977 - 488 where id = any(%s)",
            "receipts": "update receipts set state = 'returned', amount = -amount, lines = lines || ' (returned)' "
            "where id = any(%s)",
        }
        for table, change in changes.items():
            count = self._counts[table]
            self._server.query(NAME, change, [self._rng.sample(range(count), max(1, count // SHARE))])

    def _add(self, table: str, count: int) -> None:
        """Rows at the end, in blocks, so that memory stays small."""
        makers: dict[str, Callable[[range, random.Random], Iterator[str]]] = {
            "accounts": _accounts,
            "receipts": _receipts,
        }
        columns = {"accounts": "", "receipts": "(id, account, at, amount, state, lines, code)"}
        first = self._counts[table]
        with (
            self._server.connect(NAME) as connection,
            connection.cursor() as cursor,
            cursor.copy(f"copy {table}{columns[table]} from stdin".encode()) as copy,
        ):
            for start in range(first, first + count, BLOCK_ROWS):
                rows = range(start, min(start + BLOCK_ROWS, first + count))
                copy.write("".join(makers[table](rows, self._rng)))
        self._counts[table] += count


def _accounts(rows: range, rng: random.Random) -> Iterator[str]:
    for i, n in zip(rows, numbers(rng, len(rows)), strict=True):
        yield f"{i}\t{n & 63}\t{n >> 6 & 65535}\t \n"


def _receipts(rows: range, rng: random.Random) -> Iterator[str]:
    drawn = iter(words(rng, 24 * len(rows)))
    n, m = numbers(rng, len(rows)), numbers(rng, len(rows))
    for i, p, q in zip(rows, n, m, strict=True):
        lines = " ".join(next(drawn) for _ in range(12 + p % 13))
        yield (
            f"{i}\t{q & 1048575}\t2026-{1 + i // 60_000 % 12:02}-{1 + i // 2000 % 28:02} {i // 90 % 24:02}:{p % 60:02}:"
            f"{q % 60:02}+00\t{p % 1_000_000 / 100}\tpaid\t{lines}\t{p:08x}{q:08x}\n"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes one dump for each day, for experiments."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ledger", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=ROWS, help="receipts (default: %(default)s)")
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    with Ledger(options.rows) as ledger:
        for number, kind in enumerate(("first", *STORY), 1):
            if number > 1:
                ledger.pass_day(kind)
            target = options.folder / f"day{number:02}.dump"
            with target.open("wb") as out:
                subprocess.run(ledger.dump.argv, env=ledger.dump.env, stdout=out, check=True)
            print(f"{target} {kind} {target.stat().st_size:,} bytes", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

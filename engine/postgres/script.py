"""A dump as the SQL script that makes the same database, for people and for servers that `pg_restore` cannot reach."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any

from engine.errors import EngineError, TargetError
from engine.postgres.connection import Connection
from engine.postgres.process import PIPE_BYTES, Child, credentials
from engine.postgres.programs import find_restorer

_NO_SERVER = Connection()


def as_sql(
    chunks: Iterable[bytes],
    *,
    facts: dict[str, Any],
    scratch: Path,
    pg_bin: Path | None,
    path: str,
    schema_only: bool = False,
) -> Generator[bytes, None, None]:
    """The script of the dump that `chunks` are, written by pg_restore, which is fed from a thread: neither the dump nor
    the script is ever whole in memory or on a disk. `pg_bin` and `path` as in `find_restorer`. With `schema_only` it
    has no rows, and of the dump its table of contents is enough.

    Raises TargetError, also in mid-way when pg_restore cannot read on, and what reading `chunks` raises."""
    client_major = int(str(facts["clientVersion"]).partition(".")[0])
    programs = find_restorer(client_major, client_major * 10000, pg_bin=pg_bin, path=path)
    command = [programs.path("pg_restore"), "--format=custom", "--no-password", "--file=-"]
    command += ["--schema-only"] if schema_only else []
    with credentials(_NO_SERVER, scratch) as login:
        try:
            child = Child(command, login, reads=True, writes=True)
        except OSError as failure:
            raise TargetError(f"pg_restore cannot be started: {failure.strerror or failure}.") from None
        with child:
            feeder = _Feeder(child, chunks)
            try:
                buffer = memoryview(bytearray(PIPE_BYTES))
                while count := child.readinto(buffer, _nothing):
                    yield bytes(buffer[:count])
                feeder.join()
                status = child.wait(_nothing)
            finally:  # before the pipe is closed below it
                feeder.give_up()
    if feeder.failure is not None:
        raise feeder.failure
    if status:
        raise TargetError(f"pg_restore failed (exit status {status}): {child.complaint() or 'it said nothing'}.")


class _Feeder:
    """Begins at once: writes the dump into pg_restore while somebody else reads what comes out."""

    def __init__(self, child: Child, chunks: Iterable[bytes]) -> None:
        self.failure: Exception | None = None
        self._child = child
        self._chunks = chunks
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._feed, name="into pg_restore", daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Waits for the end."""
        self._thread.join()

    def give_up(self) -> None:
        """Ends it soon, when the reader of the script has gone."""
        self._stopped.set()
        self._thread.join()

    def _feed(self) -> None:
        try:
            for chunk in self._chunks:
                self._look()
                self._child.write(chunk, self._look)
        except (BrokenPipeError, _Stopped):
            pass  # pg_restore says why it ended
        except (EngineError, OSError) as error:
            self.failure = error
        finally:
            with contextlib.suppress(OSError):
                self._child.close_input()

    def _look(self) -> None:
        if self._stopped.is_set():
            raise _Stopped


class _Stopped(Exception):
    """Nobody reads the script any more."""


def _nothing() -> None:
    """Nobody can ask a download to stop, except by leaving."""

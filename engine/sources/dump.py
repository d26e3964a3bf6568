"""The running dump of one database: bytes for the pipeline, followed by the archive's reader, judged at its end."""

from __future__ import annotations

from typing import Any

from engine.errors import SourceError
from engine.postgres.archive import LARGE_OBJECTS, TABLE_DATA, Archive, ArchiveReader
from engine.postgres.process import Child, Credentials
from engine.postgres.toc import Toc
from engine.progress import Progress

# From the end of its output to the end of the program; a healthy pg_dump takes milliseconds.
ENDING_SECONDS = 60.0
RIGHTS = (
    "The login needs CONNECT on the database, USAGE on its schemas, and SELECT on its tables, sequences and large "
    "objects; pg_read_all_data gives most of it (docs/configuration.md)."
)


class DumpStream:
    """Reader of a pg_dump's output. `finish` says whether it is to be trusted."""

    def __init__(self, child: Child, login: Credentials, progress: Progress) -> None:
        self._child = child
        self._login = login
        self._progress = progress
        self._reader = ArchiveReader()
        self._ended = False

    @property
    def pid(self) -> int:
        """The process id of pg_dump."""
        return self._child.pid

    def readinto(self, buffer: memoryview, /) -> int:
        """Fills the front of `buffer`; 0 only at the end of the output. Raises SourceError when the bytes cannot
        belong to a dump, and what `progress.checkpoint` raises while it waits."""
        if self._ended:
            return 0
        count = self._child.readinto(buffer, self._progress.checkpoint)
        if count == 0:
            self._ended = True
            return 0
        self._login.forget()  # it writes, so it has signed in
        self._reader.feed(buffer[:count])
        return count

    def finish(self) -> Archive:
        """Waits for pg_dump. Raises SourceError unless all was read, the program ended with status 0 and the archive
        is complete."""
        if not self._ended:
            raise SourceError("The dump was not read to its end.")
        status = self._child.wait(self._progress.checkpoint, seconds=ENDING_SECONDS)
        if status is None:
            raise SourceError("pg_dump closed its output but did not end.", transient=True)
        if status < 0:
            raise SourceError(f"pg_dump was ended by signal {-status}.", transient=True)
        if status:
            reason = self._child.complaint() or "it said nothing about the reason"
            raise SourceError(f"pg_dump failed (exit status {status}): {reason}.", hint=_hint(reason))
        return self._reader.finish()


def _hint(reason: str) -> str:
    """What to do about what pg_dump said."""
    if "permission denied" in reason or "may lack" in reason:
        return RIGHTS
    if "row-level security" in reason or "row security" in reason:
        return "The login must see every row: it needs BYPASSRLS, or must own the table (docs/configuration.md)."
    return ""


def table_fact(
    schema: str, name: str, *, dump_id: int | None = None, rows: int | None = None, offset: int | None = None,
    length: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    """What the manifest holds of one table with data."""
    return {"id": dump_id, "schema": schema, "name": name, "rows": rows, "offset": offset, "length": length}


def archive_facts(archive: Archive) -> dict[str, Any]:
    """What the manifest holds of an archive, and `owners`, the roles that its contents name."""
    facts: dict[str, Any] = {"archiveVersion": archive.version, "rowsFrom": "archive" if archive.rows_known else "sql"}
    if archive.toc is None:
        return facts | {
            "toc": None, "tables": [], "tablesWithoutData": [], "sequences": [], "largeObjects": None, "owners": [],
        }  # fmt: skip
    data = [block for block in archive.blocks if block.entry.description == TABLE_DATA]
    tables = [
        table_fact(
            block.entry.schema,
            block.entry.name,
            dump_id=block.entry.id,
            rows=block.rows,
            offset=block.offset,
            length=block.length,
        )
        for block in data
    ]
    created = {tuple(pair) for pair in _names(archive.toc, "TABLE")}
    for table in tables:
        if (table["schema"], table["name"]) not in created:
            # Settings that an extension keeps in a table of its own: only the rows that differ from its installation.
            table["ofExtension"] = True
    with_data = {(table["schema"], table["name"]) for table in tables}
    return facts | {
        "toc": {"offset": 0, "length": archive.toc.length},
        "tables": tables,
        "tablesWithoutData": [pair for pair in _names(archive.toc, "TABLE") if tuple(pair) not in with_data],
        "sequences": _names(archive.toc, "SEQUENCE"),
        "largeObjects": sum(
            block.large_objects for block in archive.blocks if block.entry.description == LARGE_OBJECTS
        ),
        "owners": sorted({entry.owner for entry in archive.toc.entries if entry.owner}),
    }


def _names(toc: Toc, description: str) -> list[list[str]]:
    return [[entry.schema, entry.name] for entry in toc.entries if entry.description == description]

"""Lists of runs as CSV and JSON, line by line, so that a long history takes no memory: the same rows as on the page."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from webapp.clock import rfc3339
from webapp.models import Run

COLUMNS = (
    "runId",
    "kind",
    "type",
    "configId",
    "status",
    "trigger",
    "identity",
    "createdAt",
    "startedAt",
    "finishedAt",
    "durationSeconds",
    "items",
    "bytesRead",
    "bytesStored",
    "problemCount",
    "backupId",
    "error",
)
# A spreadsheet takes a cell that begins so for a formula, and names of people and servers' words are in these cells.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def values(run: Run) -> tuple[Any, ...]:
    """A run in the order of COLUMNS; times are datetimes."""
    return (
        run.public_id,
        run.kind,
        run.type,
        run.config_id,
        run.state,
        run.trigger,
        run.identity,
        run.created_at,
        run.started_at,
        run.finished_at,
        run.duration_seconds,
        run.items,
        run.bytes_read,
        run.bytes_stored,
        run.problem_count,
        run.backup_id,
        run.error,
    )


def csv_of(rows: Iterable[Iterable[Any]], columns: Iterable[str]) -> Iterator[str]:
    """CSV as RFC 4180 has it, a heading first; times as RFC 3339, nothing for None."""
    yield _line(_cell(name) for name in columns)
    for row in rows:
        yield _line(_cell(value) for value in row)


def json_of(rows: Iterable[Iterable[Any]], columns: Iterable[str]) -> Iterator[str]:
    """A JSON array of objects."""
    names, before = tuple(columns), "["
    for row in rows:
        yield before + json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False, default=rfc3339)
        before = ",\n"
    yield "]\n" if before != "[" else "[]\n"


def _line(cells: Iterable[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(cells)
    return text.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return rfc3339(value)
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value

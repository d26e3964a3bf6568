"""Times in SQL, the same on SQLite and PostgreSQL: the day of a moment, and its seconds, which cost less to read."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Float, String
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class utc_day(FunctionElement[str]):
    """The day in UTC of a moment, as `2026-11-23`."""

    type = String()
    inherit_cache = True


class epoch(FunctionElement[float]):
    """A moment as seconds since 1970, good to a millisecond."""

    type = Float(asdecimal=False)
    inherit_cache = True


@compiles(utc_day)
def _day(element: utc_day, compiler: SQLCompiler, **options: Any) -> str:
    (moment,) = element.clauses
    return f"to_char({compiler.process(moment, **options)} AT TIME ZONE 'UTC', 'YYYY-MM-DD')"


@compiles(utc_day, "sqlite")
def _sqlite_day(element: utc_day, compiler: SQLCompiler, **options: Any) -> str:
    (moment,) = element.clauses
    return f"date({compiler.process(moment, **options)})"


@compiles(epoch)
def _epoch(element: epoch, compiler: SQLCompiler, **options: Any) -> str:
    (moment,) = element.clauses
    return f"CAST(extract(epoch FROM {compiler.process(moment, **options)}) AS double precision)"


@compiles(epoch, "sqlite")
def _sqlite_epoch(element: epoch, compiler: SQLCompiler, **options: Any) -> str:
    (moment,) = element.clauses
    return f"(julianday({compiler.process(moment, **options)}) - 2440587.5) * 86400.0"

"""What SQLite and PostgreSQL say in different words: the day of a moment, its seconds (which cost less to read), and
the sizes in a restore point's totals."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Float, String, cast
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from webapp.models import Backup


def total_of(name: str) -> ColumnElement[int]:
    """A number of a restore point's totals; more than 32 bits on every database."""
    return cast(Backup.totals[name].as_string(), BigInteger)


class utc_day(FunctionElement[str]):
    """The day in UTC of a moment, as `2026-11-23`."""

    type = String()
    inherit_cache = True


class day_there(FunctionElement[str]):
    """The day of a moment where clocks are so many seconds ahead of UTC, as `2026-11-23`."""

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


@compiles(day_there)
def _day_there(element: day_there, compiler: SQLCompiler, **options: Any) -> str:
    moment, ahead = (compiler.process(each, **options) for each in element.clauses)
    return f"to_char({moment} AT TIME ZONE 'UTC' + ({ahead}) * interval '1 second', 'YYYY-MM-DD')"


@compiles(day_there, "sqlite")
def _sqlite_day_there(element: day_there, compiler: SQLCompiler, **options: Any) -> str:
    moment, ahead = (compiler.process(each, **options) for each in element.clauses)
    return f"date({moment}, ({ahead}) || ' seconds')"


@compiles(epoch)
def _epoch(element: epoch, compiler: SQLCompiler, **options: Any) -> str:
    (moment,) = element.clauses
    return f"CAST(extract(epoch FROM {compiler.process(moment, **options)}) AS double precision)"


@compiles(epoch, "sqlite")
def _sqlite_epoch(element: epoch, compiler: SQLCompiler, **options: Any) -> str:
    (moment,) = element.clauses
    return f"(julianday({compiler.process(moment, **options)}) - 2440587.5) * 86400.0"

"""The sizes in a restore point's totals, for SQL."""

from __future__ import annotations

from sqlalchemy import BigInteger, ColumnElement, cast

from webapp.models import Backup


def total_of(name: str) -> ColumnElement[int]:
    """A number of a restore point's totals, for SQL; more than 32 bits on every database."""
    return cast(Backup.totals[name].as_string(), BigInteger)

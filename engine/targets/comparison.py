"""Compares a restored database with what was recorded when it was dumped: tables, exact rows, sequences, large
objects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.postgres import catalog
from engine.postgres.selection import Selection

if TYPE_CHECKING:
    import psycopg

    Session = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True)
class DatabaseReport:
    """How a restored database compares. `tables` and `rows` were found as recorded; `differences` are sentences."""

    database: str
    tables: int
    rows: int
    differences: tuple[str, ...]
    warnings: tuple[str, ...]


def compare(
    session: Session, facts: dict[str, Any], *, selection: Selection | None, look: Callable[[], None]
) -> tuple[int, int, list[str]]:
    """(tables, rows, differences) of the connected database. `look` is called between tables.

    Raises psycopg.Error when a table cannot be read.
    """
    chosen = set(selection.ids) if selection else set()
    expected = [table for table in facts["tables"] if selection is None or table["id"] in chosen]
    present = catalog.relations(session)
    tables = rows = 0
    differences = []
    for table in expected:
        look()
        schema, name, wanted = table["schema"], table["name"], table["rows"]
        if (schema, name) not in present:
            differences.append(f"The table {schema}.{name} is missing.")
            continue
        found = catalog.count_rows(session, schema, name)
        # An extension brings rows of its own into its table of settings; those of the dump come on top.
        if found != wanted and not (table.get("ofExtension") and found > wanted):
            differences.append(f"The table {schema}.{name} has {found} rows instead of {wanted}.")
            continue
        tables += 1
        rows += wanted
    if selection is None:
        differences += _missing("table", facts["tablesWithoutData"], present)
        differences += _missing("sequence", facts["sequences"], present)
        tables += sum((schema, name) in present for schema, name in facts["tablesWithoutData"])
        differences += _large_objects(session, facts)
    return tables, rows, differences


def _missing(kind: str, names: list[list[str]], present: set[tuple[str, str]]) -> list[str]:
    return [f"The {kind} {schema}.{name} is missing." for schema, name in names if (schema, name) not in present]


def _large_objects(session: Session, facts: dict[str, Any]) -> list[str]:
    wanted, found = facts["largeObjects"], catalog.large_objects(session)
    if wanted is None or wanted == found:
        return []
    return [f"There are {found} large objects instead of {wanted}."]

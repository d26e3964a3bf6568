"""Single tables out of a dump: which entries of its contents belong to them, and which bytes of the stream are enough
for `pg_restore` to restore them from a pipe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from engine.errors import TargetError
from engine.postgres.archive import TABLE_DATA
from engine.postgres.toc import Toc, TocEntry

TABLES = ("TABLE", "FOREIGN TABLE")
OTHER_RELATIONS = ("VIEW", "MATERIALIZED VIEW", "SEQUENCE")
# Comes with what it depends on, and brings along whatever else it needs (a trigger its function, …).
ATTACHED = frozenset(
    {
        TABLE_DATA,
        "DEFAULT",
        "CONSTRAINT",
        "CHECK CONSTRAINT",
        "INDEX",
        "TRIGGER",
        "RULE",
        "POLICY",
        "ROW SECURITY",
        "STATISTICS",
        "STATISTICS DATA",
        "SEQUENCE SET",
        "COMMENT",
        "ACL",
        "SECURITY LABEL",
    }
)
# Joins two things: comes only when both are there anyway.
JOINING = frozenset({"FK CONSTRAINT", "SEQUENCE OWNED BY", "TABLE ATTACH", "INDEX ATTACH"})
# A sequence that a table owns is restored with it. An identity column's sequence depends on its table.
OWNED = frozenset({"SEQUENCE"})
OWN_DATA = frozenset({TABLE_DATA, "STATISTICS DATA"})


@dataclass(frozen=True)
class Selection:
    """What to restore of a dump: the entries' dump ids in the order of the contents, which is also that of restoring,
    the byte ranges (offset, length) of the stream to read, in order, the tables as (schema, name), the extensions they
    need, and what the user should know."""

    ids: tuple[int, ...]
    ranges: tuple[tuple[int, int], ...]
    tables: tuple[tuple[str, str], ...]
    extensions: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def size(self) -> int:
        """Bytes to read."""
        return sum(length for _, length in self.ranges)


def select(toc: Toc, facts: dict[str, Any], tables: Sequence[str], *, database: str) -> Selection:
    """The selection for `[database:]schema.table` names. `facts` are those of the manifest, `toc` was parsed from the
    first `facts["toc"]["length"]` bytes of the stream. Raises TargetError for what is not a table of the dump."""
    roots = {_find(toc.entries, text, database) for text in tables}
    by_id = {entry.id: entry for entry in toc.entries}
    roots |= _partitions(by_id, roots)
    ids = _closure(by_id, roots)
    warnings = tuple(
        f"The foreign key {entry.name} is left out: it joins a table that is not selected."
        for entry in toc.entries
        if entry.description == "FK CONSTRAINT" and entry.id not in ids and roots.intersection(entry.dependencies)
    )
    chosen = tuple((by_id[each].schema, by_id[each].name) for each in sorted(roots))
    extensions = tuple(entry.name for entry in toc.entries if entry.id in ids and entry.description == "EXTENSION")
    order = tuple(entry.id for entry in toc.entries if entry.id in ids)
    return Selection(order, pieces(facts, ids), chosen, extensions, warnings)


def pieces(facts: dict[str, Any], ids: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """The byte ranges of the stream that make a valid input for `pg_restore -L` on a pipe: the contents, then the data
    of the selected entries in the order of the stream, neighbours joined."""
    wanted = set(ids)
    blocks = sorted((block["offset"], block["length"]) for block in facts["tables"] if block["id"] in wanted)
    ranges = [(facts["toc"]["offset"], facts["toc"]["length"])]
    for offset, length in blocks:
        last_offset, last_length = ranges[-1]
        if last_offset + last_length == offset:
            ranges[-1] = (last_offset, last_length + length)
        else:
            ranges.append((offset, length))
    return tuple(ranges)


def _find(entries: Sequence[TocEntry], text: str, database: str) -> int:
    """The dump id of the table that `text` names. Compared with the names that exist, so dots in names need quotes
    only where two readings fit."""
    spellings = (text, text.removeprefix(f"{database}:")) if text.startswith(f"{database}:") else (text,)
    relations = [entry for entry in entries if entry.description in (*TABLES, *OTHER_RELATIONS)]
    quoted = [entry for entry in relations if f"{_quote(entry.schema)}.{_quote(entry.name)}" in spellings]
    plain = [entry for entry in relations if f"{entry.schema}.{entry.name}" in spellings]
    found = quoted or plain
    if not found:
        raise TargetError(
            f"The dump of {database} holds no table {text}.",
            hint="Write schema.table as `ls` shows it.",
        )
    if len(found) > 1:
        first = found[0]
        raise TargetError(
            f"More than one table is meant by {text}.",
            hint=f"Put schema and table into quotes, such as {_quote(first.schema)}.{_quote(first.name)}.",
        )
    if found[0].description not in TABLES:
        raise TargetError(
            f"{text} is a {found[0].description.lower()}; only tables can be selected.",
            hint="Restore the whole database, or select the tables that it reads.",
        )
    return found[0].id


def _quote(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def _partitions(by_id: dict[int, TocEntry], roots: set[int]) -> set[int]:
    """The partitions, at any depth, of the partitioned tables among `roots`: its rows lie in them."""
    children: dict[int, list[int]] = {}
    for entry in by_id.values():
        if entry.description == "TABLE ATTACH":
            # Such an entry bears the child's name; the other table that it depends on is the parent.
            tables = [by_id[each] for each in entry.dependencies if each in by_id]
            named = {each.id for each in tables if (each.schema, each.name) == (entry.schema, entry.name)}
            for parent in {each.id for each in tables if each.description in TABLES} - named:
                children.setdefault(parent, []).extend(named)
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        new = set(children.get(waiting.pop(), ())) - found
        found |= new
        waiting.extend(new)
    return found


def _closure(by_id: dict[int, TocEntry], roots: set[int]) -> set[int]:
    """The tables, all that is attached to them, and the definitions that these need."""
    schemas = {entry.name: entry.id for entry in by_id.values() if entry.description == "SCHEMA"}
    ids: set[int] = set()
    waiting = list(roots)
    while waiting:
        while waiting:
            entry = by_id[waiting.pop()]
            if entry.id in ids:
                continue
            ids.add(entry.id)
            waiting.extend(each for each in entry.dependencies if each in by_id and each not in ids)
            if entry.schema in schemas:
                waiting.append(schemas[entry.schema])
        waiting = [entry.id for entry in by_id.values() if entry.id not in ids and _belongs(entry, ids, roots, by_id)]
    return ids


def _belongs(entry: TocEntry, ids: set[int], roots: set[int], by_id: dict[int, TocEntry]) -> bool:
    """Whether an entry comes with those that are selected already."""
    needs = {each for each in entry.dependencies if each in by_id}
    if entry.description in JOINING:
        return bool(needs) and needs <= ids
    if entry.description in OWN_DATA or entry.description in OWNED:
        return bool(needs & roots)
    if entry.description not in ATTACHED or not needs & ids:
        return False
    # A table that is there for its definition only comes bare, so that it pulls in nothing more.
    tables = {each for each in needs if by_id[each].description in TABLES}
    return not tables or bool(tables & roots) or entry.description in ("COMMENT", "ACL", "SECURITY LABEL")

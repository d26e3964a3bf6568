"""A restore by several jobs of pg_restore, from a scratch file in which the places of the data are filled in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import TargetError
from engine.postgres.selection import select
from engine.postgres.spooled import spool
from engine.postgres.toc import parse_toc
from tests.engine.pgfakes.use import dump, segments, target
from tests.support.postgres import PostgresServer, fresh_database


@pytest.fixture
def new(postgres: PostgresServer) -> Iterator[str]:
    """The name of a database of the newer server that is not there yet; dropped afterwards."""
    yield "a new database"
    postgres.drop_database("a new database")


@pytest.mark.parametrize("part", [False, True], ids=["whole", "one table"])
def test_several_jobs_restore_the_same(postgres: PostgresServer, tmp_path: Path, new: str, part: bool) -> None:
    """The places of the data are filled in, so that no job has to search; large objects are found all the same."""
    with fresh_database(postgres) as name:
        for table in ("a", "b", "c"):
            postgres.query(
                name, f"CREATE TABLE {table} AS SELECT g, repeat('{table}', 90) FROM generate_series(1, 30000) g"
            )
            postgres.query(name, f"ALTER TABLE {table} ADD PRIMARY KEY (g)")
        postgres.query(name, "SELECT lo_from_bytea(0, repeat('x', 100000)::bytea)")
        made = dump(postgres.url(name), tmp_path)
    toc = parse_toc(made.data)
    selection = select(toc, made.facts, ["public.b"], database=made.name) if part else None
    ranges = selection.ranges if selection else ((0, len(made.data)),)
    into = target(postgres, new, tmp_path)
    into.receive(made.facts, segments(made.data, ranges), tables=selection, jobs=3, size=len(made.data))
    report = into.finish()
    assert report.rows == (30_000 if part else 90_000)
    assert list(tmp_path.iterdir()) == []


def test_places_are_filled_in_where_the_data_lies(postgres: PostgresServer, tmp_path: Path) -> None:
    with fresh_database(postgres) as name:
        for table in ("a", "b"):
            postgres.query(name, f"CREATE TABLE {table} AS SELECT generate_series(1, 1000) AS v")
        made = dump(postgres.url(name), tmp_path)
    for selection in (None, select(parse_toc(made.data), made.facts, ["public.b"], database=made.name)):
        ranges = selection.ranges if selection else ((0, len(made.data)),)
        path = tmp_path / f"archive{selection is None}"
        spool(segments(made.data, ranges), path, facts=made.facts, ranges=ranges, look=lambda: None)
        written = path.read_bytes()
        toc = parse_toc(written)
        fields = {entry.id: entry.place_field for entry in toc.entries}
        for table in made.facts["tables"]:
            if selection and table["name"] == "a":
                continue
            field = written[fields[table["id"]] : fields[table["id"]] + 9]
            place = int.from_bytes(field[1:], "little")
            assert field[0] == 2
            assert written[place : place + table["length"]] == made.data[table["offset"] :][: table["length"]]


def test_no_room_for_several_jobs_is_told_before_anything_is_made(
    postgres: PostgresServer, tmp_path: Path, new: str
) -> None:
    with fresh_database(postgres) as name:
        made = dump(postgres.url(name), tmp_path)
    with pytest.raises(TargetError, match="restore with one job"):
        target(postgres, new, tmp_path).receive(made.facts, [made.data], jobs=2, size=1 << 60)
    with pytest.raises(TargetError, match="restore with one job"):
        target(postgres, new, tmp_path).probe(made.facts, jobs=2, size=1 << 60)
    assert new not in postgres.databases()

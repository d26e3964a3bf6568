"""A connection to PostgreSQL that breaks at any per cent of a dump: no success, nothing left, the next one works."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.errors import SourceError
from tests.engine.pgfakes.use import dump
from tests.support.cutting import cutting_proxy
from tests.support.postgres import PASSWORD, PostgresServer, fresh_database

ENDLESS = 1 << 60
ROWS = 15_000


@pytest.fixture(scope="module")
def database(postgres: PostgresServer) -> Iterator[str]:
    """Some megabytes in three tables."""
    with fresh_database(postgres) as name:
        for table in ("first", "second", "third"):
            rows = f"SELECT v, md5(v::text) AS t FROM generate_series(1, {ROWS}) v"
            postgres.query(name, f"CREATE TABLE {table} AS {rows}")
        yield name


@pytest.mark.parametrize("step", [20, pytest.param(1, marks=pytest.mark.full)], ids=["sample", "all"])
def test_a_connection_that_breaks_at_any_per_cent(
    postgres: PostgresServer, database: str, tmp_path: Path, step: int, record_property: Callable[[str, int], None]
) -> None:
    server, url, scratch = ("127.0.0.1", postgres.port), postgres.url(database), tmp_path / "scratch"

    def through(port: int) -> str:
        assert f":{postgres.port}/" in url
        return url.replace(f":{postgres.port}/", f":{port}/")

    with cutting_proxy(server, ENDLESS) as proxy:
        assert sum(dump(through(proxy.port), scratch).rows().values()) == 3 * ROWS
        total = proxy.sent
    places = [total * percent // 100 for percent in range(0, 100, step)] + [total - 200]
    for place in places:
        with cutting_proxy(server, place) as proxy, pytest.raises(SourceError) as caught:
            dump(through(proxy.port), scratch)
        assert proxy.sent == place  # it was cut where that was planned
        assert PASSWORD not in str(caught.value)
        assert list(scratch.iterdir()) == [], place
    record_property("trials", len(places))
    assert sum(dump(url, scratch).rows().values()) == 3 * ROWS

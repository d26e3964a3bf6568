"""The service whose own database is locked, gone or damaged: one sentence, the right status, and it goes on."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from tests.support.postgres import PostgresServer, fresh_database
from tests.webapp.site import Site
from tests.webapp.support import Hands, document
from webapp.installation import open_installation
from webapp.services import configurations, tick
from webapp.settings import read_settings

READS = ("configs", "history", "backups", "stats", "audit")


@pytest.fixture
def site(tmp_path: Path, hands: Hands) -> Iterator[Site]:
    yield from opened({"HOLDFAST_HOME": str(tmp_path / "home")}, hands)


def opened(environment: dict[str, str], hands: Hands) -> Iterator[Site]:
    installation = open_installation(read_settings(environment), clock=hands)
    configurations.store(installation, document())
    tick.tick(installation)
    made = Site(installation)
    assert made.api("GET", "me").status_code == 200  # the first use of a token is noted
    yield made
    installation.close()


@contextmanager
def impatient(engine: Engine) -> Iterator[None]:
    """Connections wait a moment for a lock, not half a minute."""

    def shorten(connection: Any, *rest: object) -> None:
        connection.execute("PRAGMA busy_timeout = 50")

    event.listen(engine, "checkout", shorten)
    try:
        yield
    finally:
        event.remove(engine, "checkout", shorten)


def test_a_database_that_somebody_holds_is_read_and_not_written(site: Site) -> None:
    path = site.installation.settings.home / "holdfast.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other, impatient(site.installation.database.engine):
        other.execute("BEGIN IMMEDIATE")
        assert {read: site.api("GET", read).status_code for read in READS} == dict.fromkeys(READS, 200)
        refused = site.api("POST", "create", json={"configId": "shop"})
        assert (refused.status_code, refused.content_type) == (503, "application/problem+json")
        assert "locked" in refused.json["detail"]
        assert "Another process holds it" in refused.json["hint"]
        other.execute("ROLLBACK")
        assert site.api("POST", "create", json={"configId": "shop"}).status_code == 202


def test_a_database_that_is_damaged(site: Site) -> None:
    site.installation.database.close()
    path = site.installation.settings.home / "holdfast.db"
    whole = path.read_bytes()
    for rest in ("-wal", "-shm"):
        path.with_name(path.name + rest).unlink(missing_ok=True)
    path.write_bytes(b"\0" * len(whole))
    broken = site.api("GET", "configs")
    assert broken.status_code == 503, broken.text
    assert site.app.test_client().get("/readyz").status_code == 503
    assert site.app.test_client().get("/healthz").status_code == 200
    site.installation.database.close()
    path.write_bytes(whole)
    assert site.api("GET", "configs").status_code == 200


def test_a_server_that_goes_away_and_comes_back(tmp_path: Path, hands: Hands, postgres: PostgresServer) -> None:
    """Also connections that were open meanwhile are made anew; and no password is told."""
    with fresh_database(postgres, "holdfast_gone") as name:
        environment = {"HOLDFAST_HOME": str(tmp_path / "home"), "HOLDFAST_DATABASE_URL": postgres.url(name)}
        for site in opened(environment, hands):
            postgres.query("postgres", f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            postgres.query(
                "postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
            )
            for method, options in (("GET", {}), ("POST", {"json": {"configId": "shop"}})):
                gone = site.api(method, "configs" if method == "GET" else "create", **options)
                assert (gone.status_code, gone.content_type) == (503, "application/problem+json")
                assert postgres.password not in gone.text
            assert site.app.test_client().get("/readyz").status_code == 503
            postgres.query("postgres", f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
            assert site.api("GET", "configs").status_code == 200
            assert tick.tick(site.installation).interrupted == ()

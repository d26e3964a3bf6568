"""Restores that replace a PostgreSQL database: swapped under the feet of those connected, undone, refused."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from engine.errors import TargetError
from engine.progress import Silent
from tests.support.postgres import PostgresServer, fresh_database
from tests.webapp.shelf import WHO
from tests.webapp.support import Hands, document
from webapp.errors import Invalid
from webapp.installation import Installation, open_installation
from webapp.models import RestorePlan
from webapp.services import backups, configurations, journal, replace_plans, replacing
from webapp.services.replace_plans import Changed, Wish
from webapp.services.work import Finished
from webapp.settings import read_settings


class Trial:
    """A database that was backed up, and then changed."""

    def __init__(self, installation: Installation, server: PostgresServer, name: str, cwd: Path) -> None:
        self.installation, self.server, self.name, self.cwd = installation, server, name, cwd
        self.told: list[str] = []
        server.query(name, "CREATE TABLE orders (id int primary key, what text)")
        server.query(name, "INSERT INTO orders SELECT n, 'as it was' FROM generate_series(1, 50) n")
        sources = {"databases": [{"url": server.url(name)}]}
        configurations.store(installation, document(type="database", sources=sources))
        order = backups.Order("shop", WHO)
        made = backups.create(installation, order, cwd=cwd, progress=Silent(), tell=self.told.append)
        assert made.error is None, made.error
        assert made.run.backup_id is not None
        self.backup = made.run.backup_id
        server.query(name, "DELETE FROM orders WHERE id > 7")

    def plan(self, **wish: Any) -> RestorePlan:
        return replace_plans.make(
            self.installation, Wish(self.backup, WHO, **wish), cwd=self.cwd, tell=self.told.append
        )

    def carry_out(self, plan: RestorePlan) -> Finished:
        plan = replacing.accept(self.installation, plan.public_id, plan_hash=plan.hash, confirm=plan.target)
        return replacing.execute(self.installation, WHO, plan, cwd=self.cwd, progress=Silent(), tell=self.told.append)

    def rows(self, name: str = "") -> int:
        return int(self.server.query(name or self.name, "SELECT count(*) FROM orders")[0][0])

    def names(self) -> set[str]:
        return {name for name in self.server.databases() if name.startswith(self.name)}


@pytest.fixture
def trial(tmp_path: Path, hands: Hands, postgres: PostgresServer) -> Iterator[Trial]:
    settings = read_settings({"HOLDFAST_HOME": str(tmp_path / "home"), "HOLDFAST_PG_BIN": str(postgres.bin)})
    installation = open_installation(settings, clock=hands)
    with fresh_database(postgres) as name:
        made = Trial(installation, postgres, name, tmp_path)
        yield made
        for each in made.names() - {name}:
            postgres.drop_database(each)
    installation.close()


def test_a_database_is_replaced_and_undone_with_all_that_holds_for_it(trial: Trial) -> None:
    server, name = trial.server, trial.name
    role = f"clerk_{name}"
    server.query("postgres", f"CREATE ROLE {role}")
    try:
        server.query("postgres", f"ALTER DATABASE {name} OWNER TO {role}")
        server.query("postgres", f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC")
        server.query("postgres", f"ALTER DATABASE {name} SET work_mem TO '7MB'")
        server.query("postgres", f"ALTER DATABASE {name} CONNECTION LIMIT 17")
        server.query("postgres", f"COMMENT ON DATABASE {name} IS 'the shop'")
        held = _held(trial)
        done = trial.carry_out(trial.plan())
        assert done.error is None, done.error
        assert trial.rows() == 50
        assert _held(trial) == held
        told = (done.run.result or {})["replaced"]
        assert trial.rows(told["keptAs"]) == 7
        back = replacing.undo(trial.installation, WHO, told["restoreId"], progress=Silent(), tell=trial.told.append)
        assert back.error is None, back.error
        assert trial.rows() == 7
        assert _held(trial) == held
        restored = trial.plan(targets=(server.url(name),))  # what was there before is a restore point too
        assert restored.document["restorePoint"] == {"configId": "shop", "own": False}
    finally:
        for each in trial.names():
            server.query("postgres", f"ALTER DATABASE {each} OWNER TO {server.user}")
        server.query("postgres", f"DROP ROLE {role}")


def _held(trial: Trial) -> Any:
    query = """
        SELECT pg_get_userbyid(datdba), datconnlimit,
               (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(datacl) a),
               shobj_description(oid, 'pg_database'),
               (SELECT array_agg(setconfig::text) FROM pg_db_role_setting WHERE setdatabase = oid)
        FROM pg_database WHERE datname = %s
    """
    return trial.server.query("postgres", query, (trial.name,))


def test_whoever_is_connected_is_sent_away_also_a_pool_that_comes_back_at_once(trial: Trial) -> None:
    plan = trial.plan()
    ended = threading.Event()
    met: set[int] = set()

    def pool() -> None:
        while not ended.is_set():
            try:
                with trial.server.connect(trial.name) as session:
                    while not ended.is_set():
                        met.add(session.execute("SELECT count(*) FROM orders").fetchone()[0])  # type: ignore[index]
            except psycopg.Error:
                continue

    threads = [threading.Thread(target=pool) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        done = trial.carry_out(plan)
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert done.error is None, done.error
    assert met <= {7, 50}
    assert trial.rows() == 50


def test_a_database_that_changed_since_the_plan_is_not_replaced(trial: Trial) -> None:
    plan = trial.plan()
    trial.server.query(trial.name, "UPDATE orders SET what = 'changed since' WHERE id = 1")
    with pytest.raises(Changed):
        trial.carry_out(plan)
    plan = trial.plan()
    trial.server.query(trial.name, "DELETE FROM orders WHERE id = 1")
    with pytest.raises(Changed, match=r"Rows: 7 then, 6 now\."):
        trial.carry_out(plan)
    assert trial.rows() == 6


def test_what_cannot_be_replaced_is_refused_in_a_sentence(trial: Trial) -> None:
    server = trial.server
    for target, reason in (
        ("postgres", "belongs to the server itself"),
        ("template1", "belongs to the server itself"),
        (f"{trial.name}_none", "There is no database"),
    ):
        with pytest.raises(TargetError, match=reason):
            trial.plan(targets=(server.url(target),))
    with pytest.raises(Invalid, match="takes whole databases, and public"):
        trial.plan(only=("public.orders",))
    server.query(trial.name, "CREATE PUBLICATION told FOR ALL TABLES")
    with pytest.raises(TargetError, match=r"has publications \(1\)"):
        trial.plan()
    server.query(trial.name, "DROP PUBLICATION told")
    server.query("postgres", f"ALTER DATABASE {trial.name} IS_TEMPLATE true")
    try:
        with pytest.raises(TargetError, match="is a template"):
            trial.plan()
    finally:
        server.query("postgres", f"ALTER DATABASE {trial.name} IS_TEMPLATE false")


def test_a_login_that_does_not_own_the_database_is_refused(trial: Trial) -> None:
    server, role = trial.server, f"guest_{trial.name}"
    server.query("postgres", f"CREATE ROLE {role} LOGIN PASSWORD 'guest' CREATEDB")
    try:
        with pytest.raises(TargetError, match=f"as whom {role} may not act"):
            trial.plan(targets=(server.url(trial.name, user=role, password="guest"),))
        server.query("postgres", f"ALTER DATABASE {trial.name} OWNER TO {role}")
        server.query("postgres", f"ALTER ROLE {role} NOCREATEDB")
        with pytest.raises(TargetError, match="may not create and rename databases"):
            trial.plan(targets=(server.url(trial.name, user=role, password="guest"),))
    finally:
        server.query("postgres", f"ALTER DATABASE {trial.name} OWNER TO {server.user}")
        server.query("postgres", f"DROP ROLE {role}")


def test_what_was_kept_is_dropped_when_its_time_is_over(trial: Trial, hands: Hands) -> None:
    done = trial.carry_out(trial.plan())
    kept = (done.run.result or {})["replaced"]["keptAs"]
    assert trial.names() == {trial.name, kept}
    assert journal.settle(trial.installation, tell=trial.told.append) == []
    until = journal.listing(trial.installation)[0].kept_until
    assert until is not None
    hands.now = until
    assert len(journal.settle(trial.installation, tell=trial.told.append)) == 1
    assert trial.names() == {trial.name}
    assert trial.rows() == 50

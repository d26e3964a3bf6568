"""What `./run` alone does: a real backup and restore of what every checkout has."""

from __future__ import annotations

from tests.e2e_cli.shop import Shop
from tests.support.postgres import PostgresServer, fresh_database


def test_the_first_start_and_the_second(shop: Shop) -> None:
    first = shop.cli("first-run", code=0)
    assert "A real backup was made, restored and compared" in first.stdout
    assert str(shop.repository) in first.stdout
    assert str(shop.cli.home / "backup.key") in first.stdout
    assert "./run backup-cli create --type full" in first.stdout
    assert "recovery code" in first.stderr
    second = shop.cli("first-run", code=0)
    assert "incremental" in second.stdout
    assert " 0 new" in second.stdout
    assert "recovery code" not in second.stderr
    assert list((shop.cli.home / "spool").iterdir()) == []
    assert list(shop.cli.folder.iterdir()) == []
    (_, point) = shop.points()
    assert point["verifiedAt"]
    kinds = [run["kind"] for run in shop.cli("list", "--runs", "--json", code=0).json]
    assert kinds == ["verify", "restore", "create"] * 2


def test_with_a_database(shop: Shop, postgres18: PostgresServer) -> None:
    with fresh_database(postgres18) as name:
        postgres18.query(name, "CREATE TABLE t (v int); INSERT INTO t SELECT generate_series(1, 10)")
        before = postgres18.databases()
        shop.cli.environment["DATABASE_URL"] = postgres18.url(name)
        outcome = shop.cli("first-run", code=0)
        assert f"the database {name}: 1 table," in outcome.stdout
        assert f"{name}_restored_" in outcome.stdout
        assert postgres18.databases() == before
        shop.cli.environment["DATABASE_URL"] = postgres18.url("no_such_database")
        assert "There is no database" in shop.cli("first-run", code=1).stderr

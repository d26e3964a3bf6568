"""Restores of databases that are stopped in the middle, and by several connections at once."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from tests.e2e_cli.test_databases import Database, _programs, database18

__all__ = ["database18"]
_SECONDS = 60


def _working(database: Database) -> list[str]:
    """Databases that a restore is filling."""
    return [name for name in database.server.databases() if "_restore_" in name and database.name[:20] in name]


def test_a_killed_restore_never_has_the_databases_name_and_is_swept_by_the_next(
    database18: Database, tmp_path: Path
) -> None:
    shop = database18.shop
    made = shop.cli("create", "--type", "database", "--json", code=0).json["backupId"]
    server = database18.server
    target = f"{database18.name}_restored_copy"
    url = server.url(target)
    endless = _programs(tmp_path / "bin", "pg_restore", "head -c 5000 >/dev/null\nexec sleep 600")
    started = shop.cli.start("restore", "--backup", made, "--to", url, env=endless)
    deadline = time.monotonic() + _SECONDS
    while not _working(database18):
        assert started.running(), started.wait()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(started.pid, signal.SIGKILL)
    started.wait()
    assert target not in server.databases()
    (leftover,) = _working(database18)
    outcome = shop.cli("restore", "--backup", made, "--to", url, code=0)
    assert f"{leftover}” was dropped again" in outcome.stderr
    assert _working(database18) == []
    assert database18.fingerprint(target) == database18.fingerprint()
    server.drop_database(target)


def test_several_jobs_give_the_same_database(database18: Database) -> None:
    shop = database18.shop
    made = shop.cli("create", "--type", "database", "--json", code=0).json["backupId"]
    shop.cli("restore", "--backup", made, "--jobs", "4", "--json", code=0)
    (restored,) = database18.restored()
    assert database18.fingerprint(restored) == database18.fingerprint()
    assert list((shop.cli.home / "spool").iterdir()) == []
    database18.server.drop_database(restored)

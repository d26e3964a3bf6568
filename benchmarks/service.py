"""How fast the API answers after years: `python -m benchmarks.service` makes a database of 100,000 runs and prints a
Markdown table of the slowest in twenty answers (p95) and of the processor time of one.

The rows are generated, the application is the real one in this process, without a network. `--database` names a
PostgreSQL database to use instead of SQLite; it must be empty."""

from __future__ import annotations

import argparse
import math
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from engine.ids import new_id, spell
from webapp import create_app
from webapp.installation import Installation, open_installation
from webapp.models import Backup, BackupCopy, Destination, Run
from webapp.processes import live_long
from webapp.services import accounts, audit, configurations, figures, schedules, tokens
from webapp.services.access import SYSTEM
from webapp.services.tokens import Wish
from webapp.settings import read_settings

CONFIGURATIONS = 100
BATCH = 10_000
KEPT = timedelta(days=30)
STATES = ("succeeded",) * 17 + ("warning", "failed", "interrupted")
PATHS = (
    "configs",
    "history",
    "history?status=failed",
    "history?since=30d&kind=create",
    "history/config-050",
    "backups",
    "backups?configId=config-050",
    "stats?since=30d",
    "stats?since=365d",
    "stats?since=30d&configId=config-050",
    "audit",
)


def fill(installation: Installation, count: int, *, configured: int = CONFIGURATIONS, kept: timedelta = KEPT) -> None:
    """A year of `count` runs of `configured` configurations; each one that went well has a restore point at one place,
    which the retention has removed when it is older than `kept`."""
    chance, now = random.Random(20261123), datetime.now(UTC)
    for number in range(configured):
        places = [{"type": "local", "config": {"path": f"./place-{number % 3}"}}]
        name = f"config-{number:03}"
        document = {"id": name, "name": name, "type": "files", "schedule": "0 2 * * *", "destinations": places}
        configurations.store(installation, document)
    schedules.refresh(installation)
    with installation.database.transaction() as session:
        where = {"kind": "local", "settings": {"path": "./place"}, "created_at": now}
        place = Destination(name="place", place="local:place", **where)
        session.add(place)
        session.flush()
        place_id = place.id
    rows = list(_runs(count, configured, chance, now))
    for first in range(0, count, BATCH):
        part = rows[first : first + BATCH]
        points = [_point(row, now, now - kept) for row in part if row["backup_id"]]
        with installation.database.transaction() as session:
            session.execute(insert(Run), part)
            session.execute(insert(Backup), points)
            copies = [
                {
                    "backup_id": each["id"],
                    "destination_id": place_id,
                    "state": "removed" if each["deleted_at"] else "present",
                }
                for each in points
            ]
            session.execute(insert(BackupCopy), copies)
    with installation.database.transaction() as session:
        figures.rebuild(session)
    for number in range(500):
        audit.add(installation, "local:bench", "run.create", f"run-{number}")


def _runs(count: int, configured: int, chance: random.Random, now: datetime) -> Iterator[dict[str, Any]]:
    step = timedelta(days=365) / count
    for number in range(count):
        state = chance.choice(STATES)
        began = now - step * (count - number)
        good = state in ("succeeded", "warning")
        yield {
            "id": number + 1,
            "public_id": spell("run", new_id()),
            "kind": "create" if number % 10 else "verify",
            "state": state,
            "config_id": f"config-{number % configured:03}",
            "backup_id": spell("bk", new_id()) if good and number % 10 else None,
            "type": "files",
            "trigger": "schedule",
            "identity": "system",
            "host": "bench",
            "created_at": began,
            "started_at": began,
            "finished_at": began + timedelta(seconds=chance.uniform(1, 900)),
            "arguments": {},
            "bytes_read": chance.randrange(1 << 34),
            "bytes_stored": chance.randrange(1 << 30),
            "cause": None if good else chance.choice(("Unavailable", "SourceError", "AccessDenied")),
            "result": {"files": {"total": 1000, "new": 3}, "destinations": [{"name": "place", "status": state}]},
        }


def _point(run: dict[str, Any], now: datetime, oldest: datetime) -> dict[str, Any]:
    total = run["bytes_read"]
    return {
        "id": run["id"],
        "public_id": run["backup_id"],
        "config_id": run["config_id"],
        "run_id": run["id"],
        "sequence": run["id"],
        "manifest_hash": "0" * 64,
        "type": "files",
        "started_at": run["started_at"],
        "finished_at": run["finished_at"],
        "totals": {"bytes": total, "bytesRead": total, "bytesNew": total // 20, "bytesStored": total // 40},
        "databases": [],
        "paths": ["/srv/uploads"],
        "tags": {},
        "program": "bench",
        "host": "bench",
        "deleted_at": now if run["finished_at"] < oldest else None,
    }


def measure(installation: Installation, rounds: int) -> list[tuple[str, float, float, float]]:
    """Each path with the median and p95 of its answers, and the processor time of one, in milliseconds."""
    user = accounts.add(installation, SYSTEM, "bench", "super_admin").user
    secret = tokens.create(installation, SYSTEM, user, Wish("bench", "super_admin")).secret
    client = create_app(installation.settings, installation=installation).test_client()
    live_long()  # as the service does
    headers = {"Authorization": f"Bearer {secret}"}
    found = []
    for path in PATHS:
        client.get(f"/api/backup/{path}", headers=headers)
        walls, began = [], time.process_time()
        for _ in range(rounds):
            start = time.perf_counter()
            answer = client.get(f"/api/backup/{path}", headers=headers)
            walls.append((time.perf_counter() - start) * 1000)
            assert answer.status_code == 200, answer.text
        cpu = (time.process_time() - began) * 1000 / rounds
        walls.sort()
        found.append((path, at(walls, 0.5), at(walls, 0.95), cpu))
    return found


def at(values: Sequence[float], part: float) -> float:
    return values[math.ceil(len(values) * part) - 1]


@contextmanager
def opened(description: str, *, rounds: int, **filling: Any) -> Iterator[tuple[Installation, int]]:
    """What the command line asks for: an installation that `fill` filled, and how often each address is asked for."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--runs", type=int, default=100_000, help="how many runs the database holds")
    parser.add_argument("--rounds", type=int, default=rounds, help="how often each address is asked for")
    parser.add_argument("--database", help="a PostgreSQL database to use; SQLite in a new folder when left out")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as folder:
        environment = {"HOLDFAST_HOME": str(Path(folder) / "home")}
        if options.database:
            environment["HOLDFAST_DATABASE_URL"] = options.database
        installation = open_installation(read_settings(environment))
        fill(installation, options.runs, **filling)
        yield installation, options.rounds
        installation.close()


def main() -> None:
    """Fills, measures, prints."""
    with opened("The API after years.", rounds=100) as (installation, rounds):
        print("| `GET /api/backup/…` | median | p95 | processor |\n|---|---|---|---|")
        for path, half, most, cpu in measure(installation, rounds):
            print(f"| `{path}` | {half:.1f} ms | {most:.1f} ms | {cpu:.1f} ms |")


if __name__ == "__main__":
    main()

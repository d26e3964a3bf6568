"""How fast the pages answer after years: `python -m benchmarks.pages` makes a database of 100,000 runs of 200
configurations with 20,000 restore points and prints, for each page, the median and the slowest in twenty (p95) of its
answers, the processor time, the number of queries and the bytes of one.

The rows are generated, the application is the real one in this process, without a network."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from flask.testing import FlaskClient
from sqlalchemy import event, select

from benchmarks.service import at, opened
from webapp import create_app
from webapp.installation import Installation
from webapp.models import Backup, Run
from webapp.processes import live_long
from webapp.services import accounts
from webapp.services.access import SYSTEM

CONFIGURATIONS, KEPT = 200, timedelta(days=90)
PASSWORD = "correct horse battery"
LISTS = (
    "/",
    "/backups",
    "/backups?show=risk",
    "/backups?page=2",
    "/backups/config-050",
    "/runs",
    "/runs?status=failed",
    "/runs?backup=config-050",
    "/restore-points",
    "/restore-points?backup=config-050",
    "/restore-points?state=damaged",
    "/restore-points?state=unchecked",
    "/restore-points?state=trash",
    "/restores",
    "/stats",
    "/stats?period=365d",
    "/verification",
    "/destinations",
    "/destinations/1",
    "/notifications",
    "/audit",
    "/users",
    "/tokens",
    "/settings",
    "/health",
)
FRAGMENTS = ("/running", "/runs/{run}/live")


def measure(installation: Installation, rounds: int) -> list[tuple[str, int, float, float, float, int, int]]:
    """Of each page: its path, its status, median, p95 and (median) processor time in milliseconds, queries, bytes."""
    client, asked = _signed_in(installation), list[str]()
    live_long()  # as the service does

    def note(*arguments: Any) -> None:
        if str(arguments[2]).lstrip().startswith(("SELECT", "WITH")):
            asked.append(str(arguments[2]))

    event.listen(installation.database.engine, "before_cursor_execute", note)
    with installation.database.reading() as session:
        run = session.scalar(select(Run.public_id).order_by(Run.id.desc()).limit(1))
        point = session.scalar(select(Backup.public_id).order_by(Backup.id.desc()).limit(1))
    found = []
    for path in (*LISTS, f"/restore-points/{point}", *(each.format(run=run) for each in FRAGMENTS)):
        client.get(path)
        walls, worked = [], []
        for _ in range(rounds):
            asked.clear()
            start, began = time.perf_counter(), time.process_time()
            answer = client.get(path)
            walls.append((time.perf_counter() - start) * 1000)
            worked.append((time.process_time() - began) * 1000)
        walls.sort()
        cpu = at(sorted(worked), 0.5)  # other work on the machine slows some of them
        found.append((path, answer.status_code, at(walls, 0.5), at(walls, 0.95), cpu, len(asked), len(answer.data)))
    return found


def _signed_in(installation: Installation) -> FlaskClient:
    made = accounts.add(installation, SYSTEM, "bench", "super_admin")
    app = create_app(installation.settings, installation=installation)
    app.config["WTF_CSRF_ENABLED"] = False
    client = app.test_client()
    client.post("/sign-in", data={"name": "bench", "password": made.password})
    client.post("/account/password", data={"present": made.password, "new": PASSWORD, "again": PASSWORD})
    return client


def main() -> None:
    """Fills, measures, prints."""
    with opened("The pages after years.", rounds=40, configured=CONFIGURATIONS, kept=KEPT) as (installation, rounds):
        print("| Page | status | median | p95 | processor | queries | bytes |\n|---|---|---|---|---|---|---|")
        for path, status, half, most, cpu, queries, size in measure(installation, rounds):
            print(f"| `{path}` | {status} | {half:.1f} ms | {most:.1f} ms | {cpu:.1f} ms | {queries} | {size} |")


if __name__ == "__main__":
    main()

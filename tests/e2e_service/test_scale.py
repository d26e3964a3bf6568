"""Ten workers on one queue, metadata in PostgreSQL: what is due in one minute runs once each, whoever is killed."""

from __future__ import annotations

import random
import subprocess
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from tests.support.postgres import PostgresServer, fresh_database
from tests.support.service import Service, running
from tests.webapp.support import document
from webapp.models import Backup, Run, Schedule
from webapp.models.run import ACTIVE, SUCCEEDED
from webapp.services import configurations, destinations, schedules

WORKERS = 10
YEARLY = "0 0 1 1 *"


@pytest.mark.parametrize("count", [40, pytest.param(1000, marks=pytest.mark.full)])
def test_what_is_due_in_one_minute_runs_once_each(
    tmp_path: Path, postgres: PostgresServer, count: int, seed: int
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.txt").write_text("hello")
    with (
        fresh_database(postgres) as name,
        running(tmp_path / "home", {"HOLDFAST_DATABASE_URL": postgres.url(name)}) as service,
    ):
        destinations.add(service.installation, "disk", "local", {"path": "./backups"}, tell=lambda text: None)
        names = [f"c-{number}" for number in range(count)]
        for config_id in names:
            sources = {"paths": [{"path": str(source)}]}
            configurations.store(
                service.installation,
                document(id=config_id, type="files", sources=sources, schedule=YEARLY, destinations=[{"ref": "disk"}]),
            )
        make_due(service)
        workers = [service.start(HOLDFAST_QUEUES="backup") for _ in range(WORKERS)]
        service.start(HOLDFAST_QUEUES="system")
        service.start("scheduler")
        service.start("scheduler")
        kill_some(service, workers, random.Random(seed), kills=3, each=count // 5)
        service.until(lambda: finished(service) == count, seconds=180 + 10 * count)
        with service.installation.database.reading() as session:
            slots = session.execute(
                select(Run.config_id, Run.scheduled_for).where(Run.scheduled_for.is_not(None))
            ).all()
            good = Counter(session.scalars(select(Run.config_id).where(Run.state == SUCCEEDED)))
            active = session.scalar(select(func.count(Run.id)).where(Run.state.in_(ACTIVE)))
            points = set(session.scalars(select(Backup.config_id)))
        assert Counter(config_id for config_id, _ in slots) == Counter(names)
        assert good == Counter(names)
        assert points == set(names)
        assert active == 0


def make_due(service: Service) -> None:
    schedules.refresh(service.installation)
    slot = service.installation.clock() - timedelta(minutes=1)
    with service.installation.database.transaction() as session:
        session.execute(update(Schedule).values(next_at=slot))


def finished(service: Service) -> int:
    with service.installation.database.reading() as session:
        query = select(func.count(func.distinct(Run.config_id))).where(Run.state == SUCCEEDED)
        return session.scalar(query) or 0


def kill_some(
    service: Service, workers: list[subprocess.Popen[bytes]], dice: random.Random, *, kills: int, each: int
) -> None:
    """Each time some more have ended a worker is killed, and another takes its place."""
    for number in range(1, kills + 1):
        service.until(lambda number=number: finished(service) >= number * each, seconds=180 + 10 * number * each)
        victim = workers.pop(dice.randrange(len(workers)))
        victim.kill()
        victim.wait()
        workers.append(service.start(HOLDFAST_QUEUES="backup"))

"""Work for the queue: the run is inserted and committed, and only then sent, so that no worker ever looks for a row
that is not there. When Redis is away the run waits, and services/tick.py sends it later."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from webapp.errors import Unavailable
from webapp.installation import Installation
from webapp.models import Backup, Configuration, Run
from webapp.queue import BACKUP, RESTORE, opened
from webapp.services import configurations, runs, schedules, secrets
from webapp.services.repositories import silent
from webapp.services.runs import NewRun


def submit(installation: Installation, new: NewRun, *, sealed: Mapping[str, Any] | None = None) -> Run:
    """The queued run. `sealed` is what its work needs and no row, log or queue may show. Raises Busy, NotFound."""
    queue = new.queue or _queue(installation, new)
    run = runs.put(installation, replace(new, queue=queue, sealed=_seal(installation, sealed)))
    with suppress(Unavailable):
        send(installation, [run])
    return run


def backup(
    installation: Installation,
    identity: str,
    config_id: str,
    *,
    as_type: str | None = None,
    tags: Mapping[str, str] | None = None,
    trigger: str = "manual",
) -> Run:
    """A backup of a configuration, for this run perhaps of another type. Raises NotFound, Busy."""
    configurations.find(installation, config_id)
    arguments: dict[str, Any] = {"tags": dict(tags or {})}
    if as_type is not None:
        arguments["type"] = as_type
    new = NewRun("create", identity, config_id=config_id, type=as_type, arguments=arguments, trigger=trigger)
    return submit(installation, new)


def verification(installation: Installation, identity: str, point: Backup, *, read_percent: int = 100) -> Run:
    """A check of a restore point, everywhere it is."""
    arguments = {"readPercent": read_percent}
    new = NewRun("verify", identity, config_id=point.config_id, backup_id=point.public_id, arguments=arguments)
    return submit(installation, new)


def restore(
    installation: Installation, identity: str, point: Backup, arguments: Mapping[str, Any], sealed: Mapping[str, Any]
) -> Run:
    """A restore to new places; targets may hold passwords, so they are among what is `sealed`."""
    new = NewRun(
        "restore",
        identity,
        config_id=point.config_id,
        backup_id=point.public_id,
        type=point.type,
        arguments={"jobs": 1, **arguments},
    )
    return submit(installation, new, sealed=sealed)


def send(installation: Installation, waiting: list[Run]) -> None:
    """Puts committed runs into their queues. Raises Unavailable."""
    if not waiting:
        return
    with opened(installation.settings) as queue:
        for run in waiting:
            assert run.queue is not None
            queue.send(run.queue, run.public_id)


def unsealed(installation: Installation, run: Run) -> dict[str, Any]:
    """What was sealed with a run. Raises KeyMissing, WrongKey."""
    if run.sealed is None:
        return {}
    opened_values = secrets.unseal(installation.settings, run.sealed, bound=_bound(), tell=silent)
    return {name: json.loads(text) for name, text in opened_values.items()}


def _seal(installation: Installation, values: Mapping[str, Any] | None) -> bytes | None:
    if not values:
        return None
    texts = {name: json.dumps(value) for name, value in values.items()}
    return secrets.seal(installation.settings, texts, bound=_bound(), may_generate=False, tell=silent)


def _bound() -> str:
    return "run"


def _queue(installation: Installation, new: NewRun) -> str:
    """Restores have a queue of their own: they never wait behind backups. So has the tick: only short work is there."""
    if new.kind == "restore":
        return RESTORE
    if new.kind != "create" or new.config_id is None:
        return BACKUP
    with installation.database.reading() as session:
        configuration = session.get(Configuration, new.config_id)
    return BACKUP if configuration is None else schedules.queue_of(configuration)

"""The check that a configuration asks for after each of its backups (`verify.afterBackup`): a run of its own, of the
trigger AFTER, whose arguments name the run that made the restore point."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from webapp.installation import Installation
from webapp.models import Configuration, Run
from webapp.models.run import SUCCEEDED, WARNING

AFTER = "after-backup"
_WHOLE = 100


def percent(document: Mapping[str, Any], run: Run) -> int | None:
    """How much of the data is to be read back after this run; None when nothing is."""
    asked = document.get("verify") or {}
    is_good = run.kind == "create" and run.state in (SUCCEEDED, WARNING) and run.backup_id is not None
    return asked.get("readData", _WHOLE) if is_good and asked.get("afterBackup") else None


def queue(session: Session, installation: Installation, run: Run) -> None:
    """Puts the check of a backup that a worker made into the queue of that worker, in the transaction that ends the
    run, so that it is never forgotten and never asked for twice; the next tick sends it. Who backs up without a service
    carries the check out in the same process: nobody else would."""
    from webapp.services import runs  # which needs this module

    if run.queue is None or run.config_id is None:
        return
    configuration = session.get(Configuration, run.config_id)
    share = None if configuration is None else percent(configuration.document, run)
    if share is None:
        return
    new = runs.NewRun(
        "verify",
        run.identity,
        config_id=run.config_id,
        backup_id=run.backup_id,
        trigger=AFTER,
        arguments={"readPercent": share, "afterRun": run.public_id},
        queue=run.queue,
    )
    runs.insert_run(session, installation, new)

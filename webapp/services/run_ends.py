"""What is told of a run's end: the event that notifications follow, and its entry in the audit log."""

from __future__ import annotations

from sqlalchemy.orm import Session

from webapp.installation import Installation
from webapp.models.event import Event
from webapp.models.run import Run
from webapp.services import audit


def tell(session: Session, installation: Installation, run: Run) -> None:
    """Writes both in the transaction that ended the run, so that none of the three is ever without the others."""
    assert run.finished_at is not None
    details = {"kind": run.kind, "trigger": run.trigger}
    event = Event(kind=run.state, config_id=run.config_id, run_id=run.public_id, at=run.finished_at, details=details)
    session.add(event)
    audit.record(
        session,
        installation,
        run.identity,
        f"run.{run.kind}",
        run.public_id,
        outcome=run.state,
        after={"config": run.config_id, "backup": run.backup_id},
        error=run.error,
        duration_seconds=(run.finished_at - run.started_at).total_seconds() if run.started_at else None,
    )

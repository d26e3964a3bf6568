"""What follows from a run's end: its event for notifications, a check, the figures of the day, an audit entry."""

from __future__ import annotations

from sqlalchemy.orm import Session

from webapp.installation import Installation
from webapp.models.event import Event
from webapp.models.run import Run
from webapp.services import after_backup, audit, figures


def tell(session: Session, installation: Installation, run: Run) -> None:
    """Writes them in the transaction that ended the run, so that none of them is ever without the others."""
    assert run.finished_at is not None
    details = {"kind": run.kind, "trigger": run.trigger}
    event = Event(kind=run.state, config_id=run.config_id, run_id=run.public_id, at=run.finished_at, details=details)
    session.add(event)
    after_backup.queue(session, installation, run)
    if run.kind in (figures.CREATE, figures.RESTORE):
        figures.recount(session, run.config_id, run.created_at)
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

"""The same work once more, after a run that did not end well: a new run that names the one that it repeats."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from webapp.errors import Conflict, NotFound
from webapp.installation import Installation
from webapp.models import Run
from webapp.models.run import CANCELLED, FAILED, INTERRUPTED, WARNING
from webapp.services import runs, submit
from webapp.services.runs import NewRun

# A restore needs its targets, which are gone with its end; a clean-up asks questions.
NEEDED = {"create": "backups.create", "verify": "backups.verify"}
"""The permission that it takes to repeat a run of this kind; those of other kinds are not repeated so."""
_STATES = {"create": (FAILED, INTERRUPTED, CANCELLED, WARNING), "verify": (FAILED, INTERRUPTED, CANCELLED)}


def can_repeat(run: Run) -> bool:
    """Whether it ended in a way that makes it worth while."""
    return run.state in _STATES.get(run.kind, ())


def repeat(installation: Installation, identity: str, public_id: str) -> Run:
    """The new run; the one that repeats it already, when there is one. Raises NotFound, Busy, Conflict."""
    run = runs.find(installation, public_id)
    if not can_repeat(run):
        raise Conflict("This run is not one that can be tried again.", hint="Start what it did from its own page.")
    known = repeated_by(installation, run)
    if known is not None:
        return known
    arguments: dict[str, Any] = dict(run.arguments)
    # Of the configuration's own type a backup takes what the configuration says now.
    new = NewRun(
        run.kind,
        identity,
        config_id=run.config_id,
        backup_id=run.backup_id if run.kind == "verify" else None,
        type=arguments.get("type"),
        arguments=arguments,
        attempt=run.attempt + 1,
        retry_of=run.public_id,
    )
    try:
        return submit.submit(installation, new)
    except NotFound:  # the database takes one repetition of a run, and somebody was faster
        known = repeated_by(installation, run)
        if known is None:
            raise
        return known


def repeated_by(installation: Installation, run: Run) -> Run | None:
    """The run that repeats this one."""
    with installation.database.reading() as session:
        return session.scalars(select(Run).where(Run.retry_of == run.public_id)).first()

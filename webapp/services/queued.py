"""A queued run is carried out: claimed, worked on, watched, ended. What stops it before it starts ends it as failed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import EngineError
from webapp.errors import Conflict, Invalid, ServiceError, Unavailable
from webapp.installation import Installation
from webapp.models import Run
from webapp.models.run import FAILED, QUEUED
from webapp.services import run_lines, runs, submit, work
from webapp.services.runs import Outcome
from webapp.services.watchdog import Signs, Watchdog
from webapp.services.work import Finished

if TYPE_CHECKING:
    from webapp.services.keyrings import Tell

Carry = Callable[[Installation, Run, Path, Signs, "Tell"], Finished]


def carry_out(
    installation: Installation, public_id: str, *, cwd: Path, stop: threading.Event, end: Callable[[], None]
) -> Run:
    """Works on the run to its end, if it is still to be had. `stop` asks to stop because the service stops; `end` ends
    this process and its children at once, and is called when the work does not heed a request to stop."""
    run = runs.find(installation, public_id)
    if run.state != QUEUED:
        return run  # sent twice, cancelled, or taken by another worker
    signs = Signs(stop)
    with Watchdog(installation, run, signs, end):
        try:
            _KINDS[run.kind](installation, run, cwd, signs, _teller(installation, run))
        except Conflict as error:
            _refuse(installation, run, error)
        except (EngineError, ServiceError, OSError, KeyError) as error:
            _refuse(installation, run, error)
    return runs.fetch(installation, run.id)


def _refuse(installation: Installation, run: Run, error: Exception) -> None:
    """It never started: what it was asked for cannot be done. One that somebody else has is left alone."""
    message, hint = work.words(error)
    outcome = Outcome(FAILED, error=message, hint=hint, cause=type(error).__name__)
    runs.finish(installation, run.id, outcome, only_from=(QUEUED,))


def _teller(installation: Installation, run: Run) -> Tell:
    def tell(text: str) -> None:
        try:
            run_lines.add(installation, run.id, text)
        except Unavailable:
            return  # a line less is no reason to stop a backup

    return tell


def _create(installation: Installation, run: Run, cwd: Path, signs: Signs, tell: Tell) -> Finished:
    from webapp.services import backups

    assert run.config_id is not None
    order = backups.Order(
        run.config_id,
        run.identity,
        as_type=run.arguments.get("type"),
        tags=run.arguments.get("tags", {}),
        trigger=run.trigger,
        run_id=run.id,
    )
    return backups.create(installation, order, cwd=cwd, progress=signs, tell=tell)


def _restore(installation: Installation, run: Run, cwd: Path, signs: Signs, tell: Tell) -> Finished:
    from webapp.services import restores

    assert run.backup_id is not None
    sealed = submit.unsealed(installation, run)
    order = restores.Order(
        run.backup_id,
        run.identity,
        targets=tuple(sealed.get("targets", ())),
        only=tuple(run.arguments.get("only", ())),
        jobs=run.arguments.get("jobs", 1),
        verify=run.arguments.get("verify", False),
        run_id=run.id,
    )
    typed_in = Path(sealed.get("cwd", cwd))
    return restores.restore(installation, order, cwd=typed_in, progress=signs, tell=tell)


def _verify(installation: Installation, run: Run, cwd: Path, signs: Signs, tell: Tell) -> Finished:
    from webapp.services import verifications

    order = verifications.Order(
        run.identity,
        backup=run.backup_id,
        config_id=None if run.backup_id else run.config_id,
        read_percent=run.arguments.get("readPercent", verifications.WHOLE),
        run_id=run.id,
    )
    return verifications.verify(installation, order, progress=signs, tell=tell)


def _cleanup(installation: Installation, run: Run, cwd: Path, signs: Signs, tell: Tell) -> Finished:
    from webapp.services import cleanup, cleanup_plans, cleanup_requests

    order = cleanup_plans.Order(
        run.identity, config_id=run.config_id, at_once=run.arguments.get("now", False), run_id=run.id
    )
    plan = cleanup_plans.plan(installation, order, progress=signs, tell=tell)
    plan, confirmed = cleanup_requests.bound(plan, run.arguments)
    return cleanup.apply(installation, plan, confirmed=confirmed, progress=signs, tell=tell)


def _sync(installation: Installation, run: Run, cwd: Path, signs: Signs, tell: Tell) -> Finished:
    from webapp.services import healing

    asked = run.arguments
    order = healing.Order(run.identity, asked.get("target"), repair=asked.get("repair", False), run_id=run.id)
    return healing.sync_destinations(installation, order, progress=signs, tell=tell)


def _export(installation: Installation, run: Run, cwd: Path, signs: Signs, tell: Tell) -> Finished:
    from webapp.services import exports

    return exports.carry_out(installation, run, progress=signs, tell=tell)


def _unknown(installation: Installation, run: Run, cwd: Path, signs: Signs, tell: Tell) -> Finished:
    raise Invalid(f"Runs of the kind {run.kind} cannot be queued.")


class _Kinds(dict[str, Carry]):
    def __missing__(self, kind: str) -> Carry:
        return _unknown


_KINDS = _Kinds(create=_create, restore=_restore, verify=_verify, cleanup=_cleanup, sync=_sync, export=_export)

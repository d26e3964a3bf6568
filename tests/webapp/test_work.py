"""How a run is brought to its end, whatever the work does, and which restore point a new one leans on."""

from __future__ import annotations

from typing import Any

import pytest

from engine.errors import Cancelled, SourceError
from engine.progress import Silent
from tests.webapp.support import document
from webapp.errors import Unavailable
from webapp.installation import Installation
from webapp.models import Run
from webapp.services import configurations, runs, work
from webapp.services.heartbeat import Heartbeat
from webapp.services.runs import NewRun
from webapp.services.work import Ended, Finished


def _carry_out(installation: Installation, act: Any) -> Finished:
    configurations.store(installation, document())
    new = NewRun("create", "local:test", config_id="shop", type="full")
    return work.carry_out(installation, new, Silent(), act)


def _raise(error: BaseException) -> Any:
    def act(run: Run, watch: Heartbeat) -> Ended:
        raise error

    return act


@pytest.mark.parametrize(
    ("error", "state", "message"),
    [
        (Cancelled(), "cancelled", "The operation was cancelled."),
        (SourceError("It is gone.", hint="Look."), "failed", "It is gone."),
        (OSError(28, "No space left on device", "/x"), "failed", "/x: No space left on device."),
        (RuntimeError("can't start new thread"), "failed", "There is not enough memory for this."),
        (ValueError("postgresql://u:canary@h/d"), "failed", "does not expect (ValueError)"),
    ],
    ids=["cancelled", "engine", "system", "memory", "unforeseen"],
)
def test_what_the_work_raises_is_recorded(
    installation: Installation, error: Exception, state: str, message: str
) -> None:
    finished = _carry_out(installation, _raise(error))
    row = runs.find(installation, finished.run.public_id)
    assert finished.error is error
    assert row.state == finished.run.state == state
    assert message in str(row.error)
    assert "canary" not in str(row.error)
    assert work.document(row, ())["error"] == row.error


def test_a_second_ctrl_c_goes_on_and_is_recorded(installation: Installation) -> None:
    with pytest.raises(KeyboardInterrupt):
        _carry_out(installation, _raise(KeyboardInterrupt()))
    (row,) = runs.listing(installation)
    assert row.state == "cancelled"


def test_work_that_succeeds_while_our_database_is_gone_is_a_warning(installation: Installation) -> None:
    path = installation.settings.home / "holdfast.db"

    def act(run: Run, watch: Heartbeat) -> Ended:
        installation.database.close()
        path.with_name("holdfast.db-wal").unlink(missing_ok=True)
        path.write_bytes(b"no database" * 1000)
        return Ended("succeeded", {"type": "full"}, "bk_made")

    finished = _carry_out(installation, act)
    assert (finished.run.state, finished.run.backup_id, finished.error) == ("warning", "bk_made", None)
    assert "could not be recorded" in str(finished.run.error)
    assert work.document(finished.run, ())["type"] == "full"
    with pytest.raises(Unavailable, match="not a database"):
        runs.listing(installation)


def test_problems_are_kept_and_told_again(installation: Installation) -> None:
    def act(run: Run, watch: Heartbeat) -> Ended:
        watch.problem("file", "/a", "permission denied")
        return Ended("warning", {}, "bk_made")

    finished = _carry_out(installation, act)
    assert finished.problems == (("file", "/a", "permission denied"),)
    kept = runs.problems(installation, finished.run.id)
    assert tuple((row.kind, row.path, row.reason) for row in kept) == finished.problems
    told = work.document(finished.run, finished.problems)["problems"]
    assert told == [{"kind": "file", "path": "/a", "reason": "permission denied"}]

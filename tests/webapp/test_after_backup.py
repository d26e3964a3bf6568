"""`verify.afterBackup`: each backup that ended well is read back by a run of its own, which names the first."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from engine.progress import Silent
from tests.webapp.shelf import WHO, Shelf
from webapp.models import Run
from webapp.services import after_backup, backups, queued, runs, submit

CHECKED = {"afterBackup": True, "readData": 40}


def work_on(shelf: Shelf, run: Run) -> Run:
    return queued.carry_out(
        shelf.installation, run.public_id, cwd=shelf.source, stop=threading.Event(), end=lambda: None
    )


def backed_up(shelf: Shelf) -> Run:
    (shelf.source / "file").write_text("content")
    return work_on(shelf, submit.backup(shelf.installation, WHO, "shop"))


def checks(shelf: Shelf) -> list[Run]:
    return runs.listing(shelf.installation, kind="verify")


def test_a_worker_leaves_the_check_to_a_run_of_its_own(shelf: Shelf) -> None:
    shelf.configure(verify=CHECKED)
    made = backed_up(shelf)
    assert made.state == "succeeded", made.error
    assert len(checks(shelf)) == 1
    (check,) = checks(shelf)
    assert (check.state, check.trigger, check.queue, check.identity) == ("queued", "after-backup", "backup", WHO)
    assert (check.config_id, check.backup_id) == ("shop", made.backup_id)
    assert check.arguments == {"readPercent": 40, "afterRun": made.public_id}
    done = work_on(shelf, check)
    assert (done.state, (done.result or {})["backupsChecked"]) == ("succeeded", 1), done.error
    assert len(checks(shelf)) == 1


def test_damage_ends_the_check_and_not_the_backup(shelf: Shelf) -> None:
    shelf.configure(verify={"afterBackup": True})
    made = backed_up(shelf)
    packs = shelf.installation.settings.home / "backups" / "packs"
    for pack in packs.rglob("*"):
        if pack.is_file():
            pack.write_bytes(b"\0" * pack.stat().st_size)
    (check,) = checks(shelf)
    assert work_on(shelf, check).state == "failed"
    assert runs.fetch(shelf.installation, made.id).state == "succeeded"


@pytest.mark.parametrize("wanted", [None, {"afterBackup": False, "readData": 40}])
def test_nobody_is_checked_who_did_not_ask(shelf: Shelf, wanted: dict[str, object] | None) -> None:
    shelf.configure(**({} if wanted is None else {"verify": wanted}))
    backed_up(shelf)
    assert checks(shelf) == []


def test_what_failed_is_not_checked(shelf: Shelf, tmp_path: Path) -> None:
    shelf.configure(verify=CHECKED)
    shelf.source.rename(tmp_path / "away")
    run = submit.backup(shelf.installation, WHO, "shop")
    assert work_on(shelf, run).state == "failed"
    assert checks(shelf) == []


def test_without_a_queue_nothing_is_left_waiting(shelf: Shelf) -> None:
    """Whoever backs up in this process carries the check out, too: cli/commands/create.py."""
    shelf.configure(verify=CHECKED)
    (shelf.source / "file").write_text("content")
    order = backups.Order("shop", WHO)
    made = backups.create(shelf.installation, order, cwd=shelf.source, progress=Silent(), tell=shelf.told.append)
    assert checks(shelf) == []
    assert after_backup.percent({"verify": CHECKED}, made.run) == 40
    assert after_backup.percent({"verify": {"afterBackup": True}}, made.run) == 100

"""The next run of a configuration ends what its killed predecessor left at a destination, and nothing of others."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from datetime import timedelta

import pytest

from engine.progress import Silent
from engine.repository.session import Session, end_dead, running
from tests.support.faults import run_and_wait
from tests.webapp.shelf import Shelf
from webapp.processes import process_mark
from webapp.services import backups

HOUR = timedelta(hours=1)


class Dying(Silent):
    """The process is killed as soon as something was read: its session is there by then."""

    def advance(self, *, items: int = 0, read: int = 0, stored: int = 0) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_run_leaves_no_session_behind_the_next(shelf: Shelf) -> None:
    shelf.configure()
    first = shelf.backup()
    (shelf.source / "new").write_text("new")

    def killed() -> None:
        order = backups.Order("shop", "local:test")
        own = replace(shelf.installation, process=process_mark())
        backups.create(own, order, cwd=shelf.source, progress=Dying(), tell=shelf.told.append)

    assert run_and_wait(killed) == -signal.SIGKILL
    assert len(running(shelf.repository())) == 1
    shelf.hands.now += timedelta(days=400)  # later than any time that the disk shows
    second = shelf.backup()
    assert running(shelf.repository()) == {}
    assert not list((shelf.installation.settings.home / "backups" / "fences").glob("*"))
    shelf.check([first, second])


@pytest.mark.parametrize(
    ("config_id", "process", "ahead", "ended"),
    [
        ("shop", "gone", HOUR, 1),
        ("shop", "gone", timedelta(), 0),
        ("shop", "alive", HOUR, 0),
        ("shop", "", HOUR, 0),
        ("other", "gone", HOUR, 0),
    ],
    ids=["dead", "just now", "alive", "by nobody knows whom", "of another configuration"],
)
def test_only_what_is_dead_for_certain_is_ended(
    shelf: Shelf, config_id: str, process: str, ahead: timedelta, ended: int
) -> None:
    shelf.configure()
    shelf.backup()
    repository = shelf.repository()
    Session(repository, b"w" * 16, config_id, shelf.hands, process=process).start()
    (renewed_at,) = running(repository).values()
    count = end_dead(repository, "shop", is_gone=lambda mark: mark == "gone", now=renewed_at + ahead)
    assert (count, len(running(repository))) == (ended, 1 - ended)


def test_a_session_that_cannot_be_read_is_left_alone(shelf: Shelf) -> None:
    shelf.configure()
    shelf.backup()
    repository = shelf.repository()
    Session(repository, b"w" * 16, "shop", shelf.hands, process="gone").start()
    (marker,) = (shelf.installation.settings.home / "backups" / "sessions").iterdir()
    marker.chmod(0o600)
    marker.write_bytes(b"rot")
    (renewed_at,) = running(repository).values()
    assert end_dead(repository, "shop", is_gone=lambda mark: True, now=renewed_at + HOUR) == 0
    assert len(running(repository)) == 1

"""`doctor` on what a cleanup would put in order: forgotten trash, marks and sessions, and that none happens."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest

from engine.repository.session import Session
from tests.webapp.shelf import Shelf
from webapp.services import configurations, doctor, restore_points, upkeep

MONTH, DAY = timedelta(days=30), timedelta(days=1)


@pytest.fixture
def shelf(shelf: Shelf) -> Shelf:
    shelf.configure(retention={"last": 3, "keepMin": 1})
    return shelf


def said(shelf: Shelf) -> list[str]:
    """Warnings about the destination."""
    return [message for message, _ in upkeep.stale(shelf.installation, shelf.place(), shelf.repository())]


def neglected(shelf: Shelf) -> list[str]:
    """Warnings about the configuration."""
    configuration = configurations.find(shelf.installation, "shop")
    (series,) = restore_points.series(shelf.installation, config_id="shop")
    return [message for message, _ in upkeep.neglected(shelf.installation, configuration, series)]


def test_trash_and_marks_are_stale_when_no_cleanup_comes(shelf: Shelf) -> None:
    shelf.series(4)
    shelf.clean()
    day = f"{shelf.hands.now:%Y-%m-%d}"
    shelf.hands.now += timedelta(days=21)
    assert said(shelf) == []
    shelf.hands.now += DAY
    (message, *_) = said(shelf)
    assert message == f"Restore points lie in its trash since {day}."
    shelf.clean()
    day = f"{shelf.hands.now:%Y-%m-%d}"
    shelf.hands.now += timedelta(days=14)
    assert said(shelf) == []
    shelf.hands.now += DAY
    assert said(shelf) == [f"Space was marked to be freed there on {day}, and is not yet."]
    shelf.clean()
    assert said(shelf) == []


def test_sessions_of_killed_backups_are_told(shelf: Shelf) -> None:
    shelf.series(4)
    Session(shelf.repository(), b"w" * 16, "shop", shelf.hands).start()
    (marker,) = (shelf.installation.settings.home / "backups" / "sessions").iterdir()
    written = marker.stat().st_mtime
    os.utime(marker, (0, (shelf.hands.now - timedelta(hours=11)).timestamp()))
    assert said(shelf) == []
    os.utime(marker, (0, (shelf.hands.now - timedelta(hours=13)).timestamp()))
    assert said(shelf) == [f"A backup was killed there on {shelf.hands.now - timedelta(hours=13):%Y-%m-%d} or later."]
    os.utime(marker, (0, written - timedelta(hours=13).total_seconds()))
    shelf.clean(at_once=True, confirmed=["shop"])
    assert said(shelf) == []


def test_a_retention_that_nobody_applies_is_told(shelf: Shelf) -> None:
    assert neglected(shelf) == []
    shelf.backup()
    assert neglected(shelf) == []
    shelf.hands.now += MONTH
    shelf.backup()
    assert neglected(shelf) == ["Its retention has never been applied."]
    last = f"{shelf.hands.now:%Y-%m-%d}"
    shelf.clean()
    assert neglected(shelf) == []
    shelf.hands.now += MONTH
    assert neglected(shelf) == [f"Its retention has not been applied since {last}."]
    shelf.configure()
    assert neglected(shelf) == []


def test_doctor_says_it_with_what_to_do(shelf: Shelf) -> None:
    shelf.backup()
    shelf.hands.now += MONTH
    shelf.backup()
    found = doctor.examine(shelf.installation.settings, opened=lambda: shelf.installation, cwd=shelf.source)
    (finding,) = [each for each in found if "retention" in each.message]
    assert (finding.check, finding.level) == ("backups of shop", "warning")
    assert "backup-cli cleanup" in finding.hint

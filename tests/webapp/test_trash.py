"""What is taken on record of tombstones that lie at a destination."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta

from engine.ids import parse
from engine.repository.forget import forget
from tests.webapp.shelf import Shelf
from webapp.services import records, repositories, trash


def test_an_old_tombstone_begins_its_delay_when_it_is_met(shelf: Shelf) -> None:
    """It may have been put back to hurry a removal."""
    shelf.configure()
    backup = shelf.backup()
    repository = shelf.repository()
    with closing(repository.storage):
        forget(repository, parse("bk", backup), reason="old", now=shelf.hands() - timedelta(days=90))
        repositories.adopt(shelf.installation, shelf.place(), repository)
    (copy,) = records.find(shelf.installation, backup).copies
    assert (copy.trashed_at, copy.removal_reason) == (shelf.hands.now, "old")
    assert [each.id for each in trash.here(shelf.installation, shelf.place())] == [copy.id]

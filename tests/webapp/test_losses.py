"""Which restore points may be given up, and what stays on record of those that were."""

from __future__ import annotations

from contextlib import closing

import pytest

from engine import ids
from engine.progress import Silent
from engine.repository import layout
from engine.repository.check import CORRUPT, WRONG_KEY, Damage, check
from engine.repository.forget import read_tombstone
from tests.webapp.shelf import WHO, Shelf
from webapp.errors import NotFound
from webapp.services import audit, cleanup, losses, pins, records, repositories, restore_points, trash
from webapp.services.restore_points import listing


@pytest.fixture
def points(shelf: Shelf) -> list[str]:
    """Two restore points."""
    shelf.configure()
    return [shelf.backup(), shelf.backup()]


def accept(shelf: Shelf, backup: str, *, kind: str = CORRUPT, hit: bool = True) -> Silent:
    """After a repair that left one damage; the problems that were told."""
    damage = Damage("packs/ab", kind, "It is.", {backup} if hit else set())
    watch = Silent()
    with closing(shelf.repository().storage):
        losses.accept(shelf.installation, shelf.place(), shelf.repository(), [backup], [damage], by=WHO, watch=watch)
    return watch


def test_what_other_keys_may_open_is_never_given_up(shelf: Shelf, points: list[str]) -> None:
    watch = accept(shelf, points[0], kind=WRONG_KEY)
    assert [(path, "other keys" in reason) for _, path, reason in watch.problems] == [(points[0], True)]
    assert shelf.repository().removed_ids() == set()


def test_the_loss_is_told_for_ever(shelf: Shelf, points: list[str]) -> None:
    accept(shelf, points[0])
    note = read_tombstone(shelf.repository(), ids.parse("bk", points[0]))
    assert (note.sequence, note.reason) == (1, "lost: packs/ab is corrupt")
    *_, entry = audit.every(shelf.installation)
    assert (entry.action, entry.object, entry.identity) == ("backup.given_up", points[0], WHO)
    shelf.hands.now += cleanup.TRASH_DELAY
    shelf.clean()
    assert shelf.repository().manifest_ids() == [ids.parse("bk", points[1])]
    assert [each.public_id for each in listing(shelf.installation)] == points[::-1]
    (copy,) = listing(shelf.installation)[1].copies
    assert (copy.state, copy.removal_reason) == ("lost", "lost: packs/ab is corrupt")
    restore_points.refresh(shelf.installation, tell=repositories.silent)
    (copy,) = listing(shelf.installation)[1].copies
    assert copy.state == "lost"


def test_a_pin_brings_it_back_as_it_is(shelf: Shelf, points: list[str]) -> None:
    accept(shelf, points[0])
    assert pins.pin(shelf.installation, points[0], identity=WHO, tell=repositories.silent).recalled
    (copy,) = records.find(shelf.installation, points[0]).copies
    assert (copy.state, copy.trashed_at, copy.removal_reason) == ("damaged", None, None)
    assert shelf.repository().removed_ids() == set()


def test_a_number_of_which_nobody_knows_the_name_is_given_up(shelf: Shelf, points: list[str]) -> None:
    """After the database was lost: the chain tells that there was one."""
    shelf.backup()
    repository = shelf.repository()
    repository.storage.delete(layout.manifest(ids.parse("bk", points[1])))
    (damage,) = check(repository, progress=Silent()).errors
    assert damage.object == "number 2 of shop"
    (name,) = losses.named(shelf.installation, shelf.place().name, [damage.object])
    losses.accept(shelf.installation, shelf.place(), repository, [name], [damage], by=WHO, watch=Silent())
    assert check(repository, progress=Silent()).errors == []
    *_, entry = audit.every(shelf.installation)
    assert (entry.action, entry.object) == ("backup.given_up", "number 2 of shop")


def test_what_is_on_record_of_tombstones_is_what_lies_there(shelf: Shelf, points: list[str]) -> None:
    accept(shelf, points[0])
    buried, held = trash.notes(shelf.installation, shelf.place())
    identity = ids.parse("bk", points[0])
    assert buried == {identity: read_tombstone(shelf.repository(), identity)}
    assert held == {ids.parse("bk", points[1])}


def test_names_must_be_those_of_restore_points_there(shelf: Shelf, points: list[str]) -> None:
    name = shelf.place().name
    assert losses.named(shelf.installation, name, [points[0][:12], points[0]]) == (points[0],)
    stranger = ids.spell("bk", bytes(layout.ID_BYTES))
    assert losses.named(shelf.installation, name, [stranger]) == (stranger,)  # its manifest may never have been read
    for text in ("bk_nothing", "shop2@latest"):
        with pytest.raises(NotFound):
            losses.named(shelf.installation, name, [text])

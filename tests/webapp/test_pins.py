"""Pins and holds: they keep a restore point until they end, bring it back from the trash, and are shown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from engine.ids import parse
from tests.webapp.shelf import Shelf
from webapp.errors import Invalid, NotFound, Unavailable
from webapp.services import pins

WEEK = timedelta(days=7)


@pytest.fixture
def shelf(shelf: Shelf) -> Shelf:
    shelf.configure(retention={"last": 2, "keepMin": 1})
    return shelf


def pin(shelf: Shelf, backup: str, reason: str = "lawsuit", until_at: datetime | None = None) -> pins.Pinned:
    told = shelf.told.append
    return pins.pin(shelf.installation, backup, identity="local:test", reason=reason, until_at=until_at, tell=told)


def test_a_pin_keeps_a_point_until_it_is_taken_away(shelf: Shelf) -> None:
    ids = shelf.series(5)
    assert pin(shelf, ids[0]).recalled == ()
    assert shelf.gone(shelf.clean(confirmed=["shop"]))["backups"] == ids[2:0:-1]
    shelf.hands.now += WEEK
    shelf.clean(confirmed=["shop"])
    assert set(shelf.listed()) == {ids[0], ids[3], ids[4]}
    backup, hold = pins.unpin(shelf.installation, ids[0])
    assert (backup.public_id, hold.reason) == (ids[0], "lawsuit")
    assert shelf.gone(shelf.clean(confirmed=["shop"]))["backups"] == [ids[0]]


def test_a_hold_ends_with_its_day(shelf: Shelf) -> None:
    ids = shelf.series(5)
    pin(shelf, ids[0], until_at=shelf.hands.now + WEEK)
    shelf.hands.now += WEEK - timedelta(seconds=1)
    assert ids[0] not in shelf.gone(shelf.clean(confirmed=["shop"]))["backups"]
    shelf.hands.now += timedelta(seconds=1)
    assert shelf.gone(shelf.clean(confirmed=["shop"]))["backups"] == [ids[0]]


def test_pinning_again_replaces_the_hold(shelf: Shelf) -> None:
    ids = shelf.series(1)
    pin(shelf, ids[0], until_at=shelf.hands.now + WEEK)
    pin(shelf, ids[0], reason="for good")
    hold = shelf.listed()[ids[0]].hold
    assert hold is not None
    assert (hold.reason, hold.until_at, hold.identity, hold.created_at) == (
        "for good",
        None,
        "local:test",
        shelf.hands.now,
    )


def test_a_point_comes_back_from_the_trash(shelf: Shelf) -> None:
    ids = shelf.series(4)
    shelf.clean(confirmed=["shop"])
    assert shelf.listed()[ids[0]].copies[0].trashed_at == shelf.hands.now
    assert pin(shelf, ids[0]).recalled == ("backups",)
    assert shelf.listed()[ids[0]].copies[0].trashed_at is None
    assert parse("bk", ids[0]) not in shelf.repository().removed_ids()
    shelf.hands.now += WEEK
    assert shelf.gone(shelf.clean(confirmed=["shop"]), "removed") == {"backups": [ids[1]]}
    shelf.check([ids[0]])


def test_a_destination_that_was_away_gives_it_back_at_the_next_cleanup(shelf: Shelf) -> None:
    ids = shelf.series(4)
    shelf.clean(confirmed=["shop"])
    home = shelf.installation.settings.home / "backups"
    home.rename(home.with_name("away"))
    with pytest.raises(Unavailable, match="still lies in the trash"):
        pin(shelf, ids[0])
    home.with_name("away").rename(home)
    shelf.hands.now += WEEK
    done = shelf.clean()
    assert shelf.gone(done, "recalled") == {"backups": [ids[0]]}
    assert shelf.gone(done, "removed") == {"backups": [ids[1]]}
    assert shelf.listed()[ids[0]].copies[0].trashed_at is None


def test_a_point_that_is_gone_cannot_be_pinned(shelf: Shelf) -> None:
    ids = shelf.series(4)
    shelf.clean(at_once=True, confirmed=["shop"])
    with pytest.raises(NotFound):
        pin(shelf, ids[0])
    with pytest.raises(NotFound, match="not pinned"):
        pins.unpin(shelf.installation, ids[3])


@pytest.mark.parametrize("reason", ["", "  ", "x" * 1001, "two\nlines"])
def test_a_reason_that_nobody_can_read_is_refused(shelf: Shelf, reason: str) -> None:
    (backup,) = shelf.series(1)
    with pytest.raises(Invalid, match="reason"):
        pin(shelf, backup, reason=reason)


def test_an_end_that_is_past_is_refused(shelf: Shelf) -> None:
    (backup,) = shelf.series(1)
    with pytest.raises(Invalid, match="future"):
        pin(shelf, backup, until_at=datetime(2020, 1, 1, tzinfo=UTC))
    assert shelf.listed()[backup].hold is None

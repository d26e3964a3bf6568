"""A run that backs up only a part of a configuration counts nowhere as a backup of it: not for its protection, not as a
proof, not for the time between backups, not for what is overdue."""

from __future__ import annotations

from datetime import timedelta

import pytest

from engine.progress import Silent
from tests.webapp.shelf import WHO, Shelf
from tests.webapp.site import Site, person
from webapp.services import backups, overdue, proofs, protection, schedules, stats

MONTH = timedelta(days=30)


def part(shelf: Shelf) -> str:
    """The files alone, a day later; the restore point's id."""
    shelf.hands.now += timedelta(days=1)
    (shelf.source / "more").write_text(f"{shelf.hands.now}")
    order = backups.Order("shop", WHO, as_type="files")
    made = backups.create(shelf.installation, order, cwd=shelf.source, progress=Silent(), tell=shelf.told.append)
    assert made.run.backup_id is not None, made.error
    return made.run.backup_id


def verdicts(shelf: Shelf) -> tuple[protection.Protection, proofs.Proof, float | None]:
    """Of `shop`: is it protected, was it proved, and for how long there was no new backup."""
    (proof,) = proofs.of_all(shelf.installation)
    found = stats.stats(shelf.installation, period=MONTH, config_id="shop", look=False)
    return protection.of_one(shelf.installation, "shop"), proof, found.attained[0].rpo_seconds


def test_everybody_counts_the_same_restore_points(shelf: Shelf) -> None:
    shelf.configure(type="full", objectives={"rpoMinutes": 2 * 24 * 60}, schedule="0 2 * * *")
    schedules.refresh(shelf.installation)
    whole, made_at = shelf.backup(), shelf.hands.now
    shelf.verify(part(shelf))
    for _ in range(3):
        part(shelf)
    judged, proof, rpo = verdicts(shelf)
    assert [reason.text for reason in judged.reasons] == [
        "Its newest restore point is too old.",
        "No restore point of it was ever checked.",
    ]
    assert (proof.state, proof.checked_at) == (proofs.NEVER, judged.checked_at)
    assert judged.newest is not None
    assert (proof.newest, judged.newest.public_id) == (whole, whole)
    assert (proof.points, protection.points(shelf.installation, ["shop"])) == (1, {"shop": 1})
    assert rpo == (shelf.hands.now - made_at).total_seconds() == 4 * 86400
    assert overdue.look(shelf.installation) == ["shop"]
    newest = shelf.backup(shelf.hands.now + timedelta(hours=1))
    checked = person(Site(shelf.installation)).get("/verification").text
    assert newest in checked
    shelf.verify(newest)
    judged, proof, rpo = verdicts(shelf)
    assert (judged.status, rpo) == (protection.PROTECTED, 4 * 86400 + 3600)
    assert proof.checked_at == judged.checked_at == shelf.hands.now


def test_a_configuration_of_files_alone_is_whole_with_them(shelf: Shelf) -> None:
    shelf.configure()
    shelf.verify(shelf.backup())
    judged, proof, rpo = verdicts(shelf)
    assert (protection.points(shelf.installation), proof.points, rpo) == ({"shop": 1}, 1, 0)
    assert proof.checked_at == judged.checked_at == shelf.hands.now


@pytest.mark.parametrize(("age", "is_old"), [(MONTH, False), (MONTH + timedelta(seconds=1), True)])
def test_the_same_day_makes_a_check_old_for_both(shelf: Shelf, age: timedelta, is_old: bool) -> None:
    shelf.configure()
    point = shelf.backup()
    shelf.check([point])
    shelf.verify(point)
    shelf.hands.now += age
    judged, proof, _ = verdicts(shelf)
    assert proof.state == (proofs.STALE if is_old else proofs.PROVED)
    assert any("was checked for 30 days" in reason.text for reason in judged.reasons) is is_old

"""Whatever the calendar, the policy and the state of restore points: what `cleanup` may never remove stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete

from engine.ids import parse
from engine.repository.forget import recall
from tests.webapp.shelf import Shelf
from webapp.errors import ConfirmationNeeded
from webapp.models import Backup, BackupCopy, Hold
from webapp.models.backup import DAMAGED, PRESENT
from webapp.services import trash

COUNT = 8
counts = st.integers(0, 3)
policies = st.fixed_dictionaries(
    {
        "last": st.integers(1, 3),
        "hourly": counts,
        "daily": counts,
        "weekly": counts,
        "monthly": counts,
        "yearly": counts,
    }
    | {"keepMin": st.integers(1, 4)}
)


@dataclass(frozen=True)
class Kind:
    """What is on record of a restore point; `minutes` is its age."""

    minutes: int
    is_damaged: bool
    is_verified: bool
    is_held: bool


def rarely() -> st.SearchStrategy[bool]:
    return st.integers(0, 4).map(lambda number: number == 0)


kinds = st.lists(
    st.builds(Kind, st.integers(-50_000, 600_000), rarely(), rarely(), rarely()),
    min_size=COUNT,
    max_size=COUNT,
    unique_by=lambda kind: kind.minutes,
)


@pytest.fixture
def shelf(shelf: Shelf) -> Shelf:
    shelf.configure()
    shelf.series(COUNT)
    return shelf


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chosen=kinds, policy=policies)
def test_what_must_stay_stays(shelf: Shelf, chosen: list[Kind], policy: dict[str, int]) -> None:
    names = list(shelf.state)
    shelf.configure(retention=policy, timezone="Europe/Berlin")
    _put_down(shelf, names, chosen)
    by_name = dict(zip(names, chosen, strict=True))
    good = sorted(
        (n for n in names if not by_name[n].is_damaged and by_name[n].minutes >= 0), key=lambda n: by_name[n].minutes
    )
    first = shelf.clean()
    if isinstance(first.error, ConfirmationNeeded):
        assert shelf.gone(first) == {"backups": []}
        gone = set(shelf.gone(shelf.clean(confirmed=["shop"]))["backups"])
    else:
        assert first.error is None, first.error
        gone = set(shelf.gone(first)["backups"])
        assert len(gone) <= COUNT / 2
    stays = set(names) - gone
    assert set(good[: policy["keepMin"]]) | set(good[: policy["last"]]) <= stays
    assert {n for n in names if by_name[n].is_held or by_name[n].minutes < 0} <= stays
    assert set([n for n in good if by_name[n].is_verified][:1]) <= stays
    assert good or stays == set(names)
    assert shelf.repository().removed_ids() == {parse("bk", name) for name in gone}
    assert shelf.gone(shelf.clean()) == {"backups": []}  # a second one finds nothing more
    _bring_back(shelf, gone)


def _put_down(shelf: Shelf, names: Sequence[str], chosen: Sequence[Kind]) -> None:
    """Makes the rows say so; the restore points themselves stay as they are."""
    now = shelf.hands.now
    with shelf.installation.database.transaction() as session:
        session.execute(delete(Hold))
        for name, kind in zip(names, chosen, strict=True):
            backup = session.query(Backup).filter_by(public_id=name).one()
            backup.started_at = now - timedelta(minutes=kind.minutes)
            copy = session.query(BackupCopy).filter_by(backup_id=backup.id).one()
            copy.state = DAMAGED if kind.is_damaged else PRESENT
            copy.verified_at = now if kind.is_verified else None
            if kind.is_held:
                session.add(Hold(backup_id=backup.id, reason="held", identity="local:test", created_at=now))


def _bring_back(shelf: Shelf, names: set[str]) -> None:
    repository = shelf.repository()
    for name in names:
        recall(repository, parse("bk", name))
        trash.recalled(shelf.installation, shelf.place(), parse("bk", name))

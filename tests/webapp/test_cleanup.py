"""`cleanup` through its services, on real repositories: what stays and why, trash, brakes, and what is freed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from engine.errors import Corrupt, Unavailable
from engine.ids import parse
from engine.progress import Silent
from engine.repository.forget import forget
from tests.webapp.shelf import Shelf, going, kept, local
from webapp.errors import Busy, ConfirmationNeeded, NotFound
from webapp.models import BackupCopy
from webapp.models.backup import REMOVED
from webapp.services import cleanup, cleanup_plans, configurations, pins, repositories, restore_points, runs
from webapp.services.runs import CLEANUP, NewRun

BERLIN = ZoneInfo("Europe/Berlin")
WEEK, DAY, HOUR = timedelta(days=7), timedelta(days=1), timedelta(hours=1)


def newest_of_each(points: dict[str, datetime], period: Callable[[datetime], str], count: int) -> set[str]:
    """The oracle: the newest point of each of the newest `count` periods, in Berlin."""
    by_period: dict[str, str] = {}
    for name in sorted(points, key=points.__getitem__):
        by_period[period(points[name].astimezone(BERLIN))] = name
    newest = sorted(by_period.items(), key=lambda item: points[item[1]])[-count:]
    return {name for _, name in newest}


def test_a_calendar_of_months_through_the_end_of_summer_time(shelf: Shelf) -> None:
    """Cleaned up after every fourth backup, what stays is what the policy says of the whole calendar."""
    policy = {"hourly": 5, "daily": 4, "weekly": 3, "monthly": 4, "keepMin": 1}
    shelf.configure(timezone="Europe/Berlin", retention=policy)
    first = datetime(2026, 5, 3, 22, 30, tzinfo=UTC)
    times = [first + timedelta(days=6) * number for number in range(28)]
    times += [datetime(2026, 10, 24, 21, 30, tzinfo=UTC) + HOUR * number for number in range(7)]
    points: dict[str, datetime] = {}
    for number, at in enumerate(sorted(times)):
        points[shelf.backup(at)] = at
        if number % 4 == 3:
            assert shelf.clean(confirmed=["shop"]).run.state == "succeeded"
    plan = shelf.plan()
    wanted = (
        newest_of_each(points, lambda at: f"{at:%Y-%m-%d %H %z}", 5)
        | newest_of_each(points, lambda at: f"{at:%Y-%m-%d}", 4)
        | newest_of_each(points, lambda at: f"{at:%G %V}", 3)
        | newest_of_each(points, lambda at: f"{at:%Y-%m}", 4)
    )
    assert set(kept(plan)) == wanted
    # The hour from 2 to 3 came twice that night, so both its points are the newest of an hour.
    twice = [name for name, at in points.items() if f"{at.astimezone(BERLIN):%m-%d %H}" == "10-25 02"]
    assert [reasons[0] for name, reasons in kept(plan).items() if name in twice] == ["hourly 3", "hourly 4"]
    shelf.clean(confirmed=["shop"])
    shelf.hands.now += WEEK
    shelf.clean()
    assert set(shelf.listed()) == wanted
    shelf.check(sorted(wanted)[:3])


def test_each_destination_counts_by_its_own_retention(shelf: Shelf) -> None:
    places = [local("near"), local("far", retention={"last": 5, "keepMin": 1})]
    shelf.configure(places=places, retention={"last": 3, "keepMin": 1})
    ids = shelf.series(6)
    plan = shelf.plan()
    assert list(going(plan, "near")) == ids[2::-1]
    assert list(going(plan, "far")) == ids[:1]
    done = shelf.clean(confirmed=["shop"])
    assert shelf.gone(done) == {"near": ids[2::-1], "far": ids[:1]}
    shelf.hands.now += WEEK
    shelf.clean()
    assert set(shelf.listed()) == set(ids[1:])
    shelf.check(ids[1:3])  # from the far one


def test_retention_counts_what_is_there(shelf: Shelf) -> None:
    """A destination that missed runs keeps its older points instead."""
    shelf.configure(places=["near", "far"], retention={"last": 3, "keepMin": 1})
    ids = shelf.series(4)
    far = shelf.installation.settings.home / "far"
    far.rename(far.with_name("away"))
    shelf.installation.settings.home.joinpath("far").touch()
    for _ in range(3):
        (shelf.source / "more").write_text(str(len(ids)))
        _create_with_warning(shelf)
    far.unlink()
    far.with_name("away").rename(far)
    plan = shelf.plan()
    assert list(going(plan, "far")) == ids[:1]
    assert list(going(plan, "near")) == ids[::-1]


def _create_with_warning(shelf: Shelf) -> None:
    from webapp.services import backups

    shelf.hands.now += DAY
    order = backups.Order("shop", "local:test")
    made = backups.create(shelf.installation, order, cwd=shelf.source, progress=Silent(), tell=shelf.told.append)
    assert made.run.state == "warning", made.error


def test_without_a_retention_nothing_is_removed(shelf: Shelf) -> None:
    shelf.configure()
    ids = shelf.series(5)
    plan = shelf.plan()
    assert list(kept(plan)) == ids[::-1]
    assert "names no retention" in plan.places[0].parts[0].rules.why
    done = shelf.clean()
    assert (done.run.state, shelf.gone(done)) == ("succeeded", {"backups": []})


def test_a_deleted_configuration_is_cleaned_up_only_by_name(shelf: Shelf) -> None:
    shelf.configure(retention={"last": 1, "keepMin": 1})
    ids = shelf.series(3)
    configurations.delete(shelf.installation, "shop")
    plan = shelf.plan()
    assert going(plan) == {}
    assert "was deleted" in plan.places[0].parts[0].rules.why
    assert list(going(shelf.plan(config_id="shop"))) == ids[1::-1]
    with pytest.raises(NotFound):
        shelf.plan(config_id="nobody")


def test_an_own_retention_that_cannot_be_told_apart_keeps_everything(shelf: Shelf) -> None:
    """The destination with the longer retention is named by a variable that is not set any more."""
    shelf.configure(retention={"last": 1, "keepMin": 1})
    shelf.series(3)
    shelf.configure(places=[local("${NOT_SET}", retention={"last": 50})], retention={"last": 1, "keepMin": 1})
    plan = shelf.plan()
    assert going(plan) == {}
    assert "retention of its own" in plan.places[0].parts[0].rules.why


def test_the_last_verified_point_and_those_of_the_future_stay(shelf: Shelf) -> None:
    shelf.configure(retention={"last": 2, "keepMin": 1})
    ids = shelf.series(5)
    shelf.verify(ids[1])
    ahead = shelf.backup(shelf.hands.now + timedelta(days=40))
    shelf.hands.now -= timedelta(days=40)
    plan = shelf.plan()
    assert kept(plan)[ids[1]] == ("the last verified restore point",)
    assert "made in the future" in kept(plan)[ahead][0]
    assert set(going(plan)) == {ids[0], ids[2]}


def test_a_damaged_point_never_stands_for_a_period(shelf: Shelf) -> None:
    shelf.configure(retention={"last": 2, "keepMin": 2})
    ids = shelf.series(4)
    with shelf.installation.database.transaction() as session:
        backup = shelf.listed()[ids[3]]
        copy = session.query(BackupCopy).filter_by(backup_id=backup.id).one()
        copy.state = "damaged"
    assert set(kept(shelf.plan())) == {ids[1], ids[2]}


def test_more_than_half_of_the_points_wants_a_word(shelf: Shelf) -> None:
    shelf.configure(retention={"last": 2, "keepMin": 1})
    shelf.configure("other", retention={"last": 4, "keepMin": 1})
    ids = shelf.series(5)
    for _ in range(5):
        shelf.backup(config_id="other")
    refused = shelf.clean()
    assert isinstance(refused.error, ConfirmationNeeded)
    assert "3 of 5 restore points" in refused.error.message
    assert "--config shop --confirm shop" in refused.error.hint
    # What nobody has to confirm is done all the same.
    assert len(shelf.gone(refused)["backups"]) == 1
    assert set(shelf.listed()) == set(ids)
    assert len(going(shelf.plan())) == 3
    agreed = shelf.clean(confirmed=["shop"])
    assert (agreed.error, len(shelf.gone(agreed)["backups"])) == (None, 3)


def test_more_than_thirty_percent_of_the_bytes_wants_a_word(shelf: Shelf) -> None:
    shelf.configure(retention={"last": 6, "keepMin": 1})
    shelf.backup(noise=3_000_000)
    shelf.hands.now += WEEK
    shelf.series(6, noise=100_000)
    refused = shelf.clean()
    assert isinstance(refused.error, ConfirmationNeeded)
    assert "% of the stored bytes" in refused.error.message
    assert shelf.gone(refused) == {"backups": []}


def test_one_destination_that_fails_does_not_stop_the_others(shelf: Shelf) -> None:
    shelf.configure(places=["near", "far"], retention={"last": 3, "keepMin": 1})
    ids = shelf.series(4)
    shutil.rmtree(shelf.installation.settings.home / "far")
    done = shelf.clean()
    assert (done.run.state, done.error) == ("warning", None)
    assert shelf.gone(done) == {"near": ids[:1], "far": []}
    assert [problem[1] for problem in done.problems] == ["far"]
    shutil.rmtree(shelf.installation.settings.home / "near")
    assert isinstance(shelf.clean().error, Unavailable)


@pytest.mark.parametrize("is_known", [True, False])
def test_nothing_goes_while_a_restore_point_cannot_be_read(shelf: Shelf, is_known: bool) -> None:
    shelf.configure(retention={"last": 3, "keepMin": 1})
    ids = shelf.series(4)
    manifests = shelf.installation.settings.home / "backups" / "manifests"
    broken = manifests / (parse("bk", ids[2]).hex() if is_known else "77" * 16)
    broken.unlink(missing_ok=True)
    broken.write_bytes(b"not a manifest")
    names = {path.name for path in manifests.iterdir()}
    done = shelf.clean()
    assert isinstance(done.error, Corrupt)
    assert shelf.gone(done) == {"backups": []}
    assert {path.name for path in manifests.iterdir()} == names


def test_what_another_installation_removed_leaves_the_list_with_its_reason(shelf: Shelf) -> None:
    shelf.configure(retention={"last": 9})
    ids = shelf.series(4)
    repository = shelf.repository()
    identity = parse("bk", ids[0])
    forget(repository, identity, reason="by somebody else", now=shelf.hands())
    restore_points.refresh(shelf.installation, tell=shelf.told.append)
    copy = shelf.listed()[ids[0]].copies[0]
    assert (copy.state, copy.removal_reason, copy.trashed_at) == ("present", "by somebody else", shelf.hands.now)
    (shelf.installation.settings.home / "backups" / "manifests" / identity.hex()).unlink()
    adopted = repositories.adopt(shelf.installation, shelf.place(), repository)
    assert (adopted.removed, adopted.lost) == ((ids[0],), ())
    assert ids[0] not in shelf.listed()
    with shelf.installation.database.reading() as session:
        row = session.query(BackupCopy).filter_by(id=copy.id).one()
    assert (row.state, row.removal_reason) == (REMOVED, "by somebody else")
    # Without a tombstone it is a loss, and stays on the list.
    (shelf.installation.settings.home / "backups" / "manifests" / parse("bk", ids[1]).hex()).unlink()
    assert repositories.adopt(shelf.installation, shelf.place(), repository).lost == (ids[1],)
    assert ids[1] in shelf.listed()


def test_an_old_tombstone_that_is_put_back_hurries_nothing(shelf: Shelf) -> None:
    shelf.configure(retention={"last": 9})
    ids = shelf.series(2)
    forget(shelf.repository(), parse("bk", ids[0]), reason="old", now=shelf.hands() - timedelta(days=90))
    assert shelf.gone(shelf.clean(), "removed") == {"backups": []}
    shelf.hands.now += WEEK
    assert shelf.gone(shelf.clean(), "removed") == {"backups": [ids[0]]}


def test_a_point_in_the_trash_is_no_parent_and_its_heirs_restore(shelf: Shelf) -> None:
    shelf.configure(type="differential", retention={"last": 2, "keepMin": 1})
    (shelf.source / "large").write_bytes(bytes(range(256)) * 40_000)
    ids = shelf.series(4)
    assert [shelf.listed()[name].type for name in ids] == ["full", "differential", "differential", "differential"]
    shelf.clean(confirmed=["shop"])
    fifth = shelf.backup()
    assert shelf.listed()[fifth].type == "full"
    shelf.clean(at_once=True, confirmed=["shop"])
    shelf.check(shelf.listed())


def test_a_pin_that_comes_between_plan_and_deed_counts(shelf: Shelf) -> None:
    shelf.configure(retention={"last": 3, "keepMin": 1})
    ids = shelf.series(5)
    plan = shelf.plan(at_once=True)
    assert set(going(plan)) == set(ids[:2])
    pins.pin(shelf.installation, ids[0], identity="local:test", tell=shelf.told.append)
    done = cleanup.apply(shelf.installation, plan, confirmed=["shop"], progress=Silent(), tell=shelf.told.append)
    assert shelf.gone(done) == shelf.gone(done, "removed") == {"backups": [ids[1]]}


def test_a_cleanup_that_is_cancelled_says_so_and_the_next_one_goes_on(shelf: Shelf) -> None:
    shelf.configure(retention={"last": 3, "keepMin": 1})
    ids = shelf.series(5)
    plan = shelf.plan()

    class Stop(Silent):
        def checkpoint(self) -> None:
            from engine.errors import Cancelled

            raise Cancelled

    done = cleanup.apply(shelf.installation, plan, confirmed=["shop"], progress=Stop(), tell=shelf.told.append)
    assert done.run.state == "cancelled"
    assert len(shelf.gone(shelf.clean(confirmed=["shop"]))["backups"]) == 2
    shelf.check(ids)


def test_only_one_cleanup_at_a_time(shelf: Shelf) -> None:
    shelf.configure(retention={"last": 3})
    shelf.series(2)
    other = runs.start(shelf.installation, NewRun(CLEANUP, "local:other"))
    with pytest.raises(Busy, match=other.public_id):
        shelf.clean()
    runs.finish(shelf.installation, other.id, runs.Outcome("succeeded"))
    assert shelf.clean().run.state == "succeeded"


def test_nothing_to_do_is_no_failure(shelf: Shelf) -> None:
    done = cleanup.apply(
        shelf.installation,
        cleanup_plans.Plan(cleanup_plans.Order("local:test")),
        confirmed=(),
        progress=Silent(),
        tell=shelf.told.append,
    )
    assert done.run.state == "succeeded"
    assert shelf.plan().places == ()

"""`stats`: figures that can be checked by hand, on SQLite and PostgreSQL, and none where there is nothing to tell."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import event, select

from cli.exits import exit_code
from tests.support.command import CommandLine
from tests.webapp.points import Shop
from tests.webapp.support import Hands, document
from webapp.errors import NotFound
from webapp.installation import Installation, open_installation
from webapp.models import Backup, BackupCopy
from webapp.services import configurations, destinations, figures, restore_points, runs, stats
from webapp.services.repositories import silent
from webapp.services.runs import NewRun, Outcome
from webapp.settings import read_settings

MONTH = timedelta(days=30)
LARGE = 5 * 2**40


@pytest.fixture
def filled(either_home: dict[str, str], hands: Hands) -> Iterator[Installation]:
    """Ten runs of `shop` that took 1 to 10 seconds, others that ended badly, an old one, and one of `other`."""
    installation = open_installation(read_settings(either_home), clock=hands)
    for name in ("shop", "other", "idle"):
        configurations.store(installation, document(id=name))
    hands.now -= timedelta(days=40)
    _run(installation, hands, "shop", "failed", 500)
    hands.now += timedelta(days=39)
    for seconds in range(1, 11):
        _run(installation, hands, "shop", "warning" if seconds == 5 else "succeeded", seconds, number=seconds)
    for state in ("failed", "interrupted", "cancelled"):
        _run(installation, hands, "shop", state, 100)
    _run(installation, hands, "other", "succeeded", 3, number=1)
    runs.start(installation, NewRun("create", "local:test", config_id="other"))
    runs.start(installation, NewRun("verify", "local:test"))
    yield installation
    installation.close()


def _run(installation: Installation, hands: Hands, config: str, state: str, seconds: int, *, number: int = 0) -> None:
    run = runs.start(installation, NewRun("create", "local:test", config_id=config))
    hands.now += timedelta(seconds=seconds)
    runs.finish(installation, run.id, Outcome(state))
    if not number:
        return
    totals = {"bytes": LARGE, "bytesRead": 100, "bytesNew": LARGE // 5, "bytesStored": LARGE // 10, "files": 1}
    with installation.database.transaction() as session:
        session.add(
            Backup(
                public_id=f"bk_{config}{number}",
                config_id=config,
                run_id=run.id,
                sequence=number,
                manifest_hash="",
                type="full",
                started_at=hands.now,
                finished_at=hands.now,
                totals=totals,
                program="test",
                host="here",
            )
        )
        figures.recount(session, config, hands.now)


def test_runs_are_counted_and_measured(filled: Installation) -> None:
    found = stats.stats(filled, period=MONTH, config_id="shop").runs
    assert found.by_status == {"succeeded": 9, "warning": 1, "failed": 1, "cancelled": 1, "interrupted": 1}
    assert found.success_rate == pytest.approx(10 / 12)
    assert (found.duration_p50, found.duration_p95) == (5, 10)
    every = stats.stats(filled, period=MONTH).runs
    assert (every.by_status["running"], every.by_status["succeeded"]) == (1, 10)
    assert every.success_rate == pytest.approx(11 / 13)


def test_what_was_promised_and_attained(filled: Installation, hands: Hands) -> None:
    hands.now += timedelta(hours=2)
    run = runs.start(filled, NewRun("restore", "local:test", config_id="shop"))
    hands.now += timedelta(minutes=4)
    runs.finish(filled, run.id, Outcome("succeeded"))
    found = {each.config_id: each for each in stats.stats(filled, period=MONTH).attained}
    assert (found["shop"].rto_seconds, found["idle"].rpo_seconds, found["idle"].rto_seconds) == (240, None, None)
    assert found["shop"].rpo_seconds == 300 + 3 + 2 * 3600 + 240
    assert found["other"].rpo_seconds == 2 * 3600 + 240


def test_failures_have_causes(filled: Installation, hands: Hands) -> None:
    for cause in ("SourceError", "SourceError", "Unavailable"):
        run = runs.start(filled, NewRun("create", "local:test", config_id="shop"))
        runs.finish(filled, run.id, Outcome("failed", cause=cause))
    found = stats.stats(filled, period=MONTH, config_id="shop").failures
    assert found == {"SourceError": 2, "unknown": 2, "Unavailable": 1}


def test_the_period_counts(filled: Installation) -> None:
    longer = stats.stats(filled, period=timedelta(days=60), config_id="shop")
    assert longer.runs.by_status["failed"] == 2
    later = replace(filled, clock=lambda: filled.clock() + timedelta(days=90))
    nothing = stats.stats(later, period=MONTH)
    assert (nothing.runs.by_status, nothing.runs.success_rate) == ({}, None)
    assert (nothing.runs.duration_p50, nothing.runs.duration_p95) == (None, None)
    assert (nothing.bytes.backups, nothing.bytes.total) == (0, 0)
    assert (nothing.bytes.deduplication_ratio, nothing.bytes.reduction_ratio) == (None, None)


def test_bytes_are_summed_beyond_32_bits(filled: Installation) -> None:
    found = stats.stats(filled, period=MONTH).bytes
    assert (found.backups, found.total, found.read) == (11, 11 * LARGE, 1100)
    assert (found.deduplication_ratio, found.reduction_ratio) == (5, 10)
    assert stats.stats(filled, period=MONTH, config_id="other").bytes.total == LARGE


def test_restore_points_of_each_configuration(filled: Installation, hands: Hands) -> None:
    hands.now += timedelta(hours=2)
    found = {series.config_id: series for series in stats.stats(filled, period=MONTH).series}
    assert {name: series.count for name, series in found.items()} == {"shop": 10, "other": 1, "idle": 0}
    assert found["other"].newest_age == timedelta(hours=2)
    assert (found["idle"].newest_at, found["idle"].newest_age, found["idle"].bytes) == (None, None, 0)
    assert found["shop"].bytes == 10 * LARGE
    assert [series.config_id for series in stats.stats(filled, period=MONTH, config_id="idle").series] == ["idle"]


def test_the_list_works_there_too(filled: Installation, hands: Hands) -> None:
    assert [backup.public_id for backup in restore_points.listing(filled, limit=2)] == ["bk_other1", "bk_shop10"]
    assert len(restore_points.listing(filled, status="succeeded", since=hands.now - MONTH)) == 11


def test_a_configuration_that_never_was(filled: Installation) -> None:
    with pytest.raises(NotFound) as raised:
        stats.stats(filled, period=MONTH, config_id="nobody")
    assert exit_code(raised.value) == 10


@pytest.mark.parametrize("number", [1, 20, 21])
def test_percentiles(filled: Installation, hands: Hands, number: int) -> None:
    """The smallest duration that so many of the runs did not exceed."""
    configurations.store(filled, document(id="many"))
    for seconds in random.Random(number).sample(range(1, number + 1), number):
        _run(filled, hands, "many", "succeeded", seconds)
    found = stats.stats(filled, period=MONTH, config_id="many").runs
    assert (found.duration_p50, found.duration_p95) == (math.ceil(number / 2), math.ceil(number * 95 / 100))


def test_figures_by_day(filled: Installation, hands: Hands) -> None:
    """Two days, one backup that went to two destinations and is in one of them only counted there."""
    disks = [
        destinations.add(filled, name, "local", {"path": f"./{name}"}, tell=silent).destination
        for name in ("near", "far")
    ]
    with filled.database.transaction() as session:
        for backup in session.scalars(select(Backup).where(Backup.config_id == "other")):
            session.add_all(BackupCopy(backup_id=backup.id, destination_id=disk.id, state="present") for disk in disks)
            figures.recount(session, "other", backup.finished_at)
    hands.now += timedelta(days=1)
    _run(filled, hands, "other", "failed", 5)
    found = stats.document(stats.stats(filled, period=MONTH), None)
    first, second = found["trend"]
    ended = {state: count for state, count in first["runs"].items() if state not in ("running", "interrupted")}
    assert ended == {"succeeded": 10, "warning": 1, "failed": 1, "cancelled": 1}
    assert (second["runs"], second["bytesStored"]) == ({"failed": 1}, 0)
    assert first["day"] < second["day"]
    each = LARGE // 10
    assert (first["bytesStored"], first["byType"]) == (11 * each, {"full": 11 * each})
    assert first["byConfig"] == {"shop": 10 * each, "other": each}
    assert first["byDestination"] == {"near": each, "far": each}
    assert found["storedByType"] == {"full": 11 * each}
    (alone,) = stats.stats(filled, period=MONTH, config_id="shop").days
    assert (alone.by_config, alone.by_destination) == ({"shop": 10 * each}, {})


def test_days_until_a_destination_is_full(filled: Installation, hands: Hands) -> None:
    """By what all configurations added there, also when only one is asked for."""
    disk = destinations.add(filled, "near", "local", {"path": "./near"}, tell=silent).destination
    with filled.database.transaction() as session:
        for backup in session.scalars(select(Backup).where(Backup.config_id == "other")):
            session.add(BackupCopy(backup_id=backup.id, destination_id=disk.id, state="present"))
            figures.recount(session, "other", backup.finished_at)
    for config_id in (None, "shop"):
        (place,) = stats.stats(filled, period=MONTH, config_id=config_id).storage
        assert place.days_until_full is not None
        assert place.place.free_bytes is not None
        # The disk is in use while this runs.
        days = (hands.now - figures.start_of(figures.day_of(hands.now - MONTH))) / timedelta(days=1)
        assert place.days_until_full == pytest.approx(place.place.free_bytes / (LARGE // 10 / days), rel=1e-3)


def test_few_queries_whatever_the_history(filled: Installation) -> None:
    asked: list[str] = []
    event.listen(filled.database.engine, "before_cursor_execute", lambda *args: asked.append(args[2]))
    stats.stats(filled, period=MONTH, config_id="shop")
    assert len([statement for statement in asked if not statement.startswith("BEGIN")]) <= 12


def test_the_command_tells_what_lies_at_destinations(cli: CommandLine) -> None:
    shop = Shop.at(cli)
    (shop.source / "file").write_bytes(bytes(range(256)) * 4000)
    shop.configure()
    shop.create()
    shop.create()
    answer = cli("stats", "--since", "1d", "--config", "shop", "--json", code=0).json
    (place,) = answer["destinations"]
    packs = [path.stat().st_size for path in (cli.home / "backups" / "packs").rglob("*") if path.is_file()]
    assert (place["packs"], place["bytes"], place["copies"]) == (len(packs), sum(packs), 2)
    assert answer["runs"]["byStatus"] == {"succeeded": 2}
    assert answer["bytes"]["total"] == 2 * 256 * 4000
    assert answer["bytes"]["deduplicationRatio"] > 1.5
    assert datetime.fromisoformat(answer["since"]).tzinfo is not None
    text = cli("stats", code=0).stdout
    assert "2 succeeded" in text
    assert "backups" in text
    (cli.home / "backups").rename(cli.home / "away")
    gone = cli("stats", "--json", code=0).json["destinations"][0]
    assert (gone["status"], gone["packs"], gone["bytes"]) == ("unreachable", None, None)


def test_nothing_yet_and_nobody(cli: CommandLine) -> None:
    assert "none" in cli("stats", code=0).stdout
    assert cli("stats", "--json", code=0).json["runs"]["successRate"] is None
    assert "There is no configuration nobody." in cli("stats", "--config", "nobody", code=10).stderr

"""Schedules in their zones over sixty days with both clock changes, and what is due: once, caught up once, paused."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from tests.support.command import CommandLine
from tests.webapp.support import Hands, document
from webapp.errors import Invalid
from webapp.installation import Installation, open_installation
from webapp.models import Run
from webapp.models.run import SUCCEEDED
from webapp.services import audit, configurations, runs, schedules
from webapp.services.access import SYSTEM
from webapp.services.runs import Outcome
from webapp.settings import read_settings

ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu")
# Sixty days each around a change of the clock in spring and in autumn, of either half of the world.
STARTS = (datetime(2026, 2, 20, tzinfo=UTC), datetime(2026, 9, 20, tzinfo=UTC))
DAYS = 60


@pytest.fixture
def shop(installation: Installation) -> None:
    configurations.store(installation, document(schedule="0 2 * * *", timezone="Europe/Berlin"))


def end(installation: Installation, run: Run) -> None:
    """The run as a worker would carry it out, at once."""
    new = runs.NewRun("create", run.identity, config_id=run.config_id, type=run.type, run_id=run.id)
    runs.start(installation, new)
    assert runs.finish(installation, run.id, Outcome(SUCCEEDED))


def due(installation: Installation) -> list[Run]:
    schedules.refresh(installation)
    return schedules.start_due(installation)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("start", STARTS, ids=["spring", "autumn"])
@pytest.mark.parametrize("time", ["30 1", "15 2", "30 2", "0 3"])
def test_sixty_days_have_sixty_slots(zone: str, start: datetime, time: str) -> None:
    minute, hour = map(int, time.split())
    here = ZoneInfo(zone)
    until = start + timedelta(days=DAYS)
    found = [slot.astimezone(here) for slot in schedules.preview(f"{time} * * *", zone, start, DAYS + 2)]
    found = [slot for slot in found if slot.astimezone(UTC) <= until]
    assert Counter(slot.date() for slot in found).most_common(1)[0][1] == 1
    days = {(start + timedelta(days=number)).astimezone(here).date() for number in range(1, DAYS)}
    assert days <= {slot.date() for slot in found}
    moved = [slot for slot in found if (slot.hour, slot.minute) != (hour, minute)]
    assert len(moved) <= 1
    for slot in moved:  # only where the clock skipped it: the next minute that there is
        wanted = slot.replace(hour=hour, minute=minute)
        assert wanted.astimezone(UTC).astimezone(here) != wanted
        assert slot - timedelta(hours=1) < wanted < slot


def test_skipped_and_repeated_times_of_berlin() -> None:
    spring = schedules.preview("30 2 * * *", "Europe/Berlin", datetime(2026, 3, 28, 12, tzinfo=UTC), 2)
    assert spring == [datetime(2026, 3, 29, 1, 0, tzinfo=UTC), datetime(2026, 3, 30, 0, 30, tzinfo=UTC)]
    autumn = schedules.preview("30 2 * * *", "Europe/Berlin", datetime(2026, 10, 24, 12, tzinfo=UTC), 2)
    assert autumn == [datetime(2026, 10, 25, 0, 30, tzinfo=UTC), datetime(2026, 10, 26, 1, 30, tzinfo=UTC)]
    second_pass = datetime(2026, 10, 25, 1, 10, tzinfo=UTC)
    assert schedules.preview("30 2 * * *", "Europe/Berlin", second_pass, 1) == autumn[1:]


@pytest.mark.usefixtures("shop")
def test_sixty_simulated_days_run_each_slot_once(installation: Installation, hands: Hands) -> None:
    hands.now = datetime(2026, 10, 1, 9, tzinfo=UTC)
    configurations.store(installation, document(schedule="30 2 * * *", timezone="Europe/Berlin"))
    for _ in range(DAYS * 4):
        hands.now += timedelta(hours=6)
        for run in due(installation):
            end(installation, run)
        assert due(installation) == []
    slots = sorted(run.scheduled_for for run in runs.listing(installation, limit=1000) if run.scheduled_for)
    expected = schedules.preview("30 2 * * *", "Europe/Berlin", datetime(2026, 10, 1, 9, tzinfo=UTC), DAYS)
    assert slots == expected


@pytest.mark.usefixtures("shop")
def test_what_was_missed_is_caught_up_once(installation: Installation, hands: Hands) -> None:
    assert due(installation) == []
    hands.now += timedelta(days=5)
    (run,) = due(installation)
    assert (run.trigger, run.state, run.queue) == ("schedule", "queued", "backup")
    assert run.scheduled_for == datetime(2026, 11, 28, 1, 0, tzinfo=UTC)
    assert due(installation) == []
    end(installation, run)
    assert due(installation) == []


@pytest.mark.usefixtures("shop")
def test_a_slot_waits_for_the_run_that_is_active(installation: Installation, hands: Hands) -> None:
    due(installation)
    by_hand = runs.start(installation, runs.NewRun("create", "local:test", config_id="shop"))
    hands.now += timedelta(days=1)
    runs.beat(installation, by_hand.id, runs.Counters())
    assert due(installation) == []
    runs.finish(installation, by_hand.id, Outcome(SUCCEEDED))
    assert len(due(installation)) == 1


@pytest.mark.usefixtures("shop")
def test_pauses_are_not_caught_up(installation: Installation, hands: Hands) -> None:
    shop = configurations.find(installation, "shop")
    schedules.pause(installation, "shop", actor="local:maria")
    assert schedules.upcoming(installation, shop, 3) == []
    hands.now += timedelta(days=5)
    assert due(installation) == []
    schedules.resume(installation, "shop")
    noted = {entry.action: entry.identity for entry in audit.listing(installation, SYSTEM)}
    assert (noted["schedule.paused"], noted["schedule.resumed"]) == ("local:maria", "system")
    assert due(installation) == []
    first, second = schedules.upcoming(installation, shop, 2)
    assert (first, second - first) == (datetime(2026, 11, 29, 1, 0, tzinfo=UTC), timedelta(days=1))
    configurations.store(installation, document(id="never"))
    with pytest.raises(Invalid, match="no schedule"):
        schedules.pause(installation, "never")


@pytest.mark.usefixtures("shop")
def test_disabled_changed_and_deleted(installation: Installation, hands: Hands) -> None:
    due(installation)
    configurations.store(installation, document(schedule="0 2 * * *", enabled=False))
    hands.now += timedelta(days=2)
    assert due(installation) == []
    configurations.store(installation, document(schedule="0 2 * * *"))
    assert due(installation) == []
    configurations.store(installation, document(schedule="*/5 * * * *"))
    hands.now += timedelta(minutes=6)
    (run,) = due(installation)
    end(installation, run)
    configurations.delete(installation, "shop")
    hands.now += timedelta(days=2)
    assert due(installation) == []


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize("jump", [timedelta(hours=1), timedelta(days=1), timedelta(days=3650)])
def test_a_clock_that_jumps_ahead_and_back(installation: Installation, hands: Hands, jump: timedelta) -> None:
    due(installation)
    begun = hands.now
    hands.now += jump
    for run in due(installation):
        end(installation, run)
    hands.now = begun + timedelta(minutes=1)
    schedules.correct(installation)
    for day in range(1, 4):
        hands.now = begun + timedelta(days=day, minutes=1)
        for run in due(installation):
            end(installation, run)
    slots = [run.scheduled_for for run in runs.listing(installation, limit=1000) if run.scheduled_for]
    assert len(slots) == len(set(slots))
    expected = schedules.preview("0 2 * * *", "Europe/Berlin", begun, 3)
    assert sorted(slot for slot in slots if slot <= hands.now) == expected


def test_a_new_time_leaves_the_secrets_of_a_configuration_as_they_are(cli: CommandLine, hands: Hands) -> None:
    url = "postgresql://u:CANARY-of-a-password@db/shop"
    whole = document(type="database", sources={"databases": [{"url": url}]})
    (cli.folder / "shop.json").write_text(json.dumps(whole))
    cli("config", "import", "shop.json", code=0)
    cli("schedule", "--config", "shop", "--cron", "5 4 * * *", code=0)
    opened = open_installation(read_settings({"HOLDFAST_HOME": str(cli.home)}), clock=hands)
    try:
        assert configurations.typed(opened, configurations.find(opened, "shop")) == {**whole, "schedule": "5 4 * * *"}
    finally:
        opened.close()
    shown = cli("config", "export", "shop", code=0).stdout
    (cli.folder / "shown.json").write_text(shown)
    refused = cli("config", "import", "shown.json", code=2)
    assert "CANARY" not in shown
    assert "reads (hidden)" in refused.stderr

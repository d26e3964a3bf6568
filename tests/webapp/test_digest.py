"""The digest, destinations that are nearly full, reminders of what is overdue, and a log that does not grow."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, func, select, text

from tests.support.post import MailServer, mail_server
from tests.webapp.support import Hands, document
from webapp.errors import SettingsInvalid
from webapp.installation import Installation, open_installation
from webapp.models import Delivery, Event
from webapp.services import (
    configurations,
    delivery_log,
    destinations,
    digest,
    fullness,
    notifications,
    overdue,
    runs,
    schedules,
)
from webapp.services.repositories import silent
from webapp.services.runs import NewRun, Outcome
from webapp.settings import read_settings

BOSS, OPS = "boss@example.com", "ops@example.com"


@pytest.fixture
def post() -> Iterator[MailServer]:
    with mail_server() as server:
        yield server


@pytest.fixture
def house(either_home: dict[str, str], hands: Hands, post: MailServer) -> Iterator[Installation]:
    """Made on Monday 2026-11-23 at three in the morning in Berlin; a daily digest goes to BOSS."""
    yield from opened(either_home, hands, post)


def opened(home: dict[str, str], hands: Hands, post: MailServer, **more: str) -> Iterator[Installation]:
    environment = {
        **home,
        "HOLDFAST_SMTP_URL": post.url,
        "HOLDFAST_MAIL_FROM": "holdfast@example.com",
        "HOLDFAST_TIMEZONE": "Europe/Berlin",
        "HOLDFAST_DIGEST": "daily",
        "HOLDFAST_DIGEST_TO": BOSS,
        "HOLDFAST_NOTIFY": OPS,
        **more,
    }
    installation = open_installation(read_settings(environment), clock=hands)
    configurations.store(installation, document(schedule="0 * * * *"))
    yield installation
    installation.close()


@pytest.fixture
def small(fresh_home: dict[str, str], hands: Hands, post: MailServer) -> Iterator[Installation]:
    yield from opened(fresh_home, hands, post, HOLDFAST_DIGEST="weekly")


def subjects(post: MailServer, recipient: str) -> list[str]:
    return [str(mail["Subject"]) for mail in post.mails if recipient in str(mail["To"])]


def test_one_digest_a_day_at_eight(house: Installation, hands: Hands, post: MailServer) -> None:
    assert not digest.prepare(house), "there is nothing to tell of the time before it was set up"
    run = runs.start(house, NewRun("create", "system", config_id="shop"))
    runs.finish(house, run.id, Outcome("failed", cause="Unavailable"))
    hands.now = datetime(2026, 11, 23, 6, 59, tzinfo=UTC)
    assert not digest.prepare(house)
    hands.now += timedelta(minutes=1)
    assert digest.prepare(house)
    assert not digest.prepare(house), "once"
    notifications.deliver_due(house)
    assert subjects(post, BOSS) == ["FAILED: 0 of 1 backups are protected"]
    (mail,) = [each for each in post.mails if BOSS in str(each["To"])]
    for part in ("1 failed", "Unavailable (1×)", "Shop: not protected, 0 restore points", "no restore point yet"):
        assert part in mail.get_body(("plain",)).get_content()
        assert part in mail.get_body(("html",)).get_content()
    hands.now += timedelta(days=3, hours=1)
    assert digest.prepare(house), "late after a stop"
    assert not digest.prepare(house)


def test_two_ticks_at_once_write_one_digest(house: Installation, hands: Hands) -> None:
    """Both have seen that it is due before either writes."""
    hands.now = datetime(2026, 11, 23, 7, 30, tzinfo=UTC)
    seen = threading.Semaphore(0)

    def note(connection: object, cursor: object, statement: str, *rest: object) -> None:
        if "max(events.at)" in statement:
            seen.release()

    event.listen(house.database.engine, "after_cursor_execute", note)
    with ThreadPoolExecutor(2) as pool:
        with house.database.transaction() as session:
            if session.get_bind().dialect.name == "postgresql":
                session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": digest._LOCK})
            written = [pool.submit(digest.prepare, house) for _ in range(2)]
            assert all(seen.acquire(timeout=30) for _ in written)
        assert sorted(each.result() for each in written) == [False, True]
    with house.database.reading() as session:
        assert session.scalar(select(func.count(Event.id)).where(Event.kind == "digest")) == 1


def test_a_weekly_digest_comes_on_monday(small: Installation, hands: Hands) -> None:
    hands.now = datetime(2026, 11, 29, 22, 0, tzinfo=UTC)
    assert digest.prepare(small), "the one of the Monday on which it was set up"
    hands.now = datetime(2026, 11, 30, 6, 59, tzinfo=UTC)
    assert not digest.prepare(small)
    hands.now += timedelta(minutes=1)
    assert digest.prepare(small)


@pytest.mark.parametrize(("digest", "to", "word"), [("hourly", BOSS, "daily"), ("daily", "", "HOLDFAST_DIGEST_TO")])
def test_a_digest_that_cannot_be(digest: str, to: str, word: str) -> None:
    with pytest.raises(SettingsInvalid) as raised:
        read_settings({"HOLDFAST_DIGEST": digest, "HOLDFAST_DIGEST_TO": to})
    assert word in str(raised.value)


def test_a_destination_that_is_nearly_full(
    house: Installation, hands: Hands, post: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = [40]
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: (100, 100 - room[0], room[0]))
    destinations.add(house, "cellar", "local", {"path": "./cellar"}, tell=silent)
    assert fullness.look(house) == []
    room[0] = 4
    assert fullness.look(house) == ["cellar"]
    assert fullness.look(house) == [], "once in the reminder interval"
    hands.now += timedelta(hours=24)
    assert fullness.look(house) == ["cellar"]
    notifications.deliver_due(house)
    assert subjects(post, OPS) == 2 * ["Warning: cellar is nearly full"]


def test_what_is_overdue_is_told_again(house: Installation, hands: Hands, post: MailServer) -> None:
    schedules.refresh(house)
    hands.now += timedelta(hours=3)
    assert overdue.look(house) == ["shop"]
    notifications.deliver_due(house)
    hands.now += timedelta(hours=23, minutes=59)
    assert overdue.look(house) == []
    hands.now += timedelta(minutes=1)
    assert overdue.look(house) == ["shop"]
    assert overdue.look(house) == []
    notifications.deliver_due(house)
    assert len(subjects(post, OPS)) == 2


def test_the_log_does_not_grow_for_ever(house: Installation, hands: Hands, post: MailServer) -> None:
    def count(what: Any) -> int:
        with house.database.reading() as session:
            return session.scalar(select(func.count()).select_from(what)) or 0

    for _ in range(3):
        run = runs.start(house, NewRun("create", "system", config_id="shop"))
        runs.finish(house, run.id, Outcome("failed"))
        hands.now += timedelta(days=2)
        notifications.deliver_due(house)
    before = count(Event)
    hands.now += timedelta(days=84)
    assert delivery_log.prune(house) == 0, "none is older than ninety days and one more"
    hands.now += timedelta(days=5)
    assert delivery_log.prune(house) == 2
    assert (count(Delivery), count(Event)) == (1, before - 2)
    hands.now += timedelta(days=30)
    assert delivery_log.prune(house) == 1
    assert count(Event) == before - 2, "the newest says whether the next success is a recovery"

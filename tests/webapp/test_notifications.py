"""Notifications: who is told what, once and not in storms, through real servers, and what becomes of what fails."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from tests.support.post import MailServer, Receiver, mail_server, receiver
from tests.webapp.support import Hands, document
from webapp.errors import Invalid, Unavailable
from webapp.installation import Installation, open_installation
from webapp.models import Event
from webapp.services import configurations, heartbeats, notifications, runs
from webapp.services.runs import NewRun, Outcome
from webapp.settings import read_settings

OPS, BOSS = "ops@example.com", "boss@example.com"
PLACES = [{"name": "cellar", "error": None}, {"name": "attic", "error": "The disk is away."}]


@pytest.fixture
def post() -> Iterator[MailServer]:
    with mail_server() as server:
        yield server


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as found:
        yield found


@pytest.fixture
def house(either_home: dict[str, str], hands: Hands, post: MailServer) -> Iterator[Installation]:
    """An installation with the configuration `shop`, whose failures go to OPS and whose successes to BOSS."""
    yield from _house(either_home, hands, post)


@pytest.fixture
def small(fresh_home: dict[str, str], hands: Hands, post: MailServer) -> Iterator[Installation]:
    """The same on SQLite alone, for what does not depend on the database."""
    yield from _house(fresh_home, hands, post)


def _house(home: dict[str, str], hands: Hands, post: MailServer, **environment: str) -> Iterator[Installation]:
    whole = {
        **home,
        "HOLDFAST_SMTP_URL": post.url,
        "HOLDFAST_MAIL_FROM": "holdfast@example.com",
        "HOLDFAST_URL": "https://backup.example.com",
        **environment,
    }
    installation = open_installation(read_settings(whole), clock=hands)
    configure(installation)
    yield installation
    installation.close()


def configure(installation: Installation, on_failure: tuple[str, ...] = (OPS,), **changes: Any) -> None:
    told = {"onSuccess": [BOSS], "onFailure": list(on_failure)}
    configurations.store(installation, document(notifications=told, timezone="Europe/Berlin", **changes))


def ended(installation: Installation, state: str = "failed", *, kind: str = "create", **outcome: Any) -> None:
    """A run that took 65 seconds."""
    hands = installation.clock
    assert isinstance(hands, Hands)
    run = runs.start(installation, NewRun(kind, "user:maria", config_id="shop"))
    hands.now += timedelta(seconds=65)
    bad = {"error": "The server is away.", "hint": "Start it."} if state == "failed" else {}
    runs.finish(installation, run.id, Outcome(state, **{**bad, **outcome}))


def subjects(post: MailServer) -> list[tuple[str, str]]:
    """(address, subject) of all that came in."""
    return [(str(mail["To"]), str(mail["Subject"])) for mail in post.mails]


def test_a_failure_is_told_once_with_what_to_do(house: Installation, post: MailServer) -> None:
    ended(house)
    assert notifications.deliver_due(house) == notifications.Delivered(taken=1, sent=1)
    assert notifications.deliver_due(house) == notifications.Delivered()
    (mail,) = post.mails
    assert subjects(post) == [(OPS, "FAILED: Shop: backup failed")]
    for form in ("plain", "html"):
        body = mail.get_body((form,))
        assert body is not None
        text = body.get_content()
        for words in ("The server is away.", "Start it.", "1 min 5 s", "03:00 CET", "https://backup.example.com/runs/"):
            assert words in text
    assert notifications.log(house)[0].sent_at is not None


def test_successes_and_warnings_go_to_whom_they_concern(house: Installation, post: MailServer) -> None:
    ended(house, "succeeded", backup_id="bk_x")
    ended(house, "warning", result={"destinations": PLACES})
    ended(house, "cancelled")
    ended(house, "succeeded", kind="cleanup")
    notifications.deliver_due(house)
    assert subjects(post) == [(BOSS, "OK: Shop: backup succeeded"), (OPS, "Warning: Shop: backup missed a destination")]
    assert "attic: The disk is away." in post.mails[1].as_string()


def test_the_same_trouble_is_no_storm(house: Installation, post: MailServer, hands: Hands) -> None:
    for _ in range(5):
        ended(house)
        hands.now += timedelta(hours=1)
        notifications.deliver_due(house)
    assert len(post.mails) == 1
    hands.now += timedelta(hours=20)
    ended(house)
    notifications.deliver_due(house)
    assert "The same happened 4 more times" in post.mails[1].as_string().replace("\n", " ")


def test_what_works_again_is_told_and_trouble_after_it_too(house: Installation, post: MailServer) -> None:
    for state in ("failed", "succeeded", "failed"):
        ended(house, state)
        notifications.deliver_due(house)
    recovered = "OK: Shop: backup works again"
    assert sorted(subjects(post)) == sorted(
        [
            (OPS, "FAILED: Shop: backup failed"),
            (OPS, recovered),
            (BOSS, recovered),
            (OPS, "FAILED: Shop: backup failed"),
        ]
    )


def test_overdue_and_tampering_are_told(small: Installation, post: MailServer, hands: Hands) -> None:
    with small.database.transaction() as session:
        session.add(Event(kind="missed", config_id="shop", at=hands.now, details={"newestAt": None}))
    ended(small, "warning", problems=[("tampering", "cellar", "bk_1 was deleted.")])
    notifications.deliver_due(small)
    assert [subject for _, subject in subjects(post)] == [
        "FAILED: Shop: backup is overdue",
        "FAILED: Shop: backup found that backups were tampered with",
    ]
    assert "bk_1 was deleted." in post.mails[1].as_string()


def test_a_mail_server_that_is_down_is_tried_again(house: Installation, post: MailServer, hands: Hands) -> None:
    post.refusal = "451 try later"
    ended(house)
    assert notifications.deliver_due(house).failed == 1
    assert notifications.deliver_due(house).failed == 0
    for _ in range(2):
        hands.now += timedelta(minutes=2)
        assert notifications.deliver_due(house).failed == 1
    post.refusal = ""
    hands.now += timedelta(minutes=4)
    assert notifications.deliver_due(house).sent == 1
    assert len(post.mails) == 1


def test_tries_end(small: Installation, post: MailServer, hands: Hands) -> None:
    post.refusal = "451 try later"
    ended(small)
    for _ in range(12):
        notifications.deliver_due(small)
        hands.now += timedelta(hours=1)
    (delivery,) = notifications.log(small)
    assert (delivery.state, delivery.tries, delivery.error) == ("given-up", 8, "The mail server answered 451.")


def test_an_address_that_is_gone_is_left_out_and_told(house: Installation, post: MailServer) -> None:
    configure(house, on_failure=(OPS, "gone@example.com"))
    post.answers["gone@example.com"] = "550 no such user"
    ended(house)
    notifications.deliver_due(house)
    notifications.deliver_due(house)
    assert subjects(post) == [
        (OPS, "FAILED: Shop: backup failed"),
        (OPS, "Warning: gone@example.com gets no more messages"),
    ]
    ended(house, "succeeded")
    ended(house)
    notifications.deliver_due(house)
    assert [each.state for each in notifications.log(house) if each.shown == "gone@example.com"] == ["given-up"]
    post.answers.clear()
    notifications.send_test(house, "gone@example.com")
    ended(house, "succeeded")
    notifications.deliver_due(house)
    assert (subjects(post)[-1][1], len({to for to, _ in subjects(post)[-3:]})) == ("OK: Shop: backup works again", 3)


@pytest.mark.parametrize("name", ["Shop\r\nBcc: eve@example.com", "Shop\x0bBcc: eve@example.com", "Sh\u2028op" * 90])
def test_no_name_becomes_a_header(small: Installation, post: MailServer, name: str) -> None:
    with small.database.transaction() as session:
        session.get_one(type(configurations.find(small, "shop")), "shop").name = name
    ended(small, error="<script>alert(1)</script>\r\n.\r\nRCPT TO:<eve@example.com>")
    notifications.deliver_due(small)
    (mail,) = post.mails
    assert mail["Bcc"] is None
    assert {str(value) for key, value in mail.items() if key == "To"} == {OPS}
    html = mail.get_body(("html",))
    assert html is not None
    assert "<script>" not in html.get_content()


def test_a_webhook_is_told(fresh_home: dict[str, str], hands: Hands, post: MailServer, hook: Receiver) -> None:
    url = hook.url.replace("http://", "json://") + "/canary-token"
    environment = {"HOLDFAST_NOTIFY_PRIVATE": "yes", "HOLDFAST_NOTIFY": url}
    for installation in _house(fresh_home, hands, post, **environment):
        ended(installation)
        assert notifications.deliver_due(installation).sent == 2
        ((path, body),) = hook.requests
        assert path == "/canary-token"
        assert "The server is away." in body
        assert {each.shown for each in notifications.log(installation)} == {OPS, "json://…"}


def test_secrets_of_channels_are_in_no_log_and_no_row(
    fresh_home: dict[str, str], hands: Hands, post: MailServer, hook: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    hook.status = 500
    environment = {"HOLDFAST_NOTIFY_PRIVATE": "yes", "HOLDFAST_NOTIFY": hook.url.replace("http", "json") + "/canary"}
    for installation in _house(fresh_home, hands, post, **environment):
        ended(installation)
        notifications.deliver_due(installation)
        assert hook.requests != []
        assert "canary" not in caplog.text + repr(installation.settings)
        files = [path.read_bytes() for path in installation.settings.home.glob("holdfast.db*")]
        assert not any(b"canary" in content for content in files)


def test_a_variable_that_is_not_set_is_told_in_the_log(small: Installation) -> None:
    configure(small, on_failure=("${SLACK_URL}",))
    ended(small)
    assert notifications.deliver_due(small).sent == 0
    assert notifications.log(small)[0].error == "The variable SLACK_URL is not set."


def test_the_test_message(small: Installation, post: MailServer) -> None:
    notifications.send_test(small, OPS)
    assert subjects(post) == [(OPS, "OK: Holdfast can reach you")]
    post.refusal = "554 no"
    with pytest.raises(Unavailable, match="554"):
        notifications.send_test(small, OPS)
    for wrong in ("nobody", "a@b\r\nBcc: c@d"):
        with pytest.raises(Invalid):
            notifications.send_test(small, wrong)
    for wrong in ("nothing://x", "syslog://", "a@@b@c"):
        with pytest.raises(Unavailable):
            notifications.send_test(small, wrong)


def test_watchdogs_hear_of_each_run(fresh_home: dict[str, str], hands: Hands, post: MailServer, hook: Receiver) -> None:
    environment = {"HOLDFAST_NOTIFY_PRIVATE": "yes", "HOLDFAST_HEARTBEAT_URL": f"{hook.url}/service"}
    for installation in _house(fresh_home, hands, post, **environment):
        configure(installation, pingUrl=f"{hook.url}/shop")
        for state in ("succeeded", "failed", "failed"):
            ended(installation, state)
        notifications.deliver_due(installation)
        assert [path for path, _ in hook.requests] == ["/shop", "/shop/fail", "/shop/fail"]
        assert heartbeats.send(installation) == ""
        assert hook.requests[-1][0] == "/service"
        hook.status, hook.location = 302, f"{hook.url}/elsewhere"
        assert heartbeats.send(installation) == "The watchdog answered 302."
        assert [path for path, _ in hook.requests].count("/elsewhere") == 0


def test_an_event_is_taken_over_by_one_alone(house: Installation) -> None:
    ended(house)
    with house.database.reading() as session:
        number = session.scalars(select(Event.id)).one()
    assert [notifications._take(house, number) for _ in range(2)] == [True, False]
    assert len(notifications.log(house)) == 1

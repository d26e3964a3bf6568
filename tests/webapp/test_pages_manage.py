"""Notifications, the audit log, settings and health on the pages: also empty, broken and under attack."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.post import MailServer, mail_server
from tests.webapp.reading import queries, said, words
from tests.webapp.shelf import Shelf
from tests.webapp.site import PASSWORD, Browser, Site, person
from tests.webapp.support import Hands, document
from tests.webapp.test_audit import tamper
from webapp import embedded_redis
from webapp.installation import open_installation
from webapp.models import SilencedRecipient
from webapp.services import (
    accounts,
    audit,
    configurations,
    destinations,
    keyrings,
    notifications,
    pulses,
    recipients,
    runs,
)
from webapp.services.access import SYSTEM
from webapp.services.runs import NewRun, Outcome
from webapp.settings import KNOWN, read_settings

SECRET = "CANARY-secret-value"


@pytest.fixture
def ada(site: Site) -> Browser:
    return person(site, "ada", "admin")


@pytest.fixture
def root(site: Site) -> Browser:
    return person(site, "rita", "super_admin")


def test_what_is_not_there_is_404(root: Browser) -> None:
    for path in ("/destinations/99", f"/destinations/{'9' * 30}", f"/audit/{'9' * 30}", "/users/none"):
        assert root.get(path).status_code == 404, path


# The audit log


def test_everybody_sees_their_own_entries_and_a_super_admin_all(site: Site, ada: Browser, root: Browser) -> None:
    own = words(ada, "/audit")
    assert "user:ada" in own
    assert "user:rita" not in own
    assert "user:rita" in words(root, "/audit")
    foreign = next(entry for entry in audit.listing(site.installation, SYSTEM) if entry.identity == "user:rita")
    assert ada.get(f"/audit/{foreign.sequence}").status_code == 404
    assert "user:rita" not in ada.get("/audit/export").text
    assert ada.submit("/audit/check", form="/account").status_code == 403


def test_entries_are_filtered_and_paged(site: Site, root: Browser) -> None:
    for number in range(60):
        audit.add(site.installation, "system", "thing.done", f"t{number}", outcome="failed" if number % 2 else "done")
    first = root.get("/audit?action=thing")
    assert len(re.findall(r">t\d+<", first.text)) == 40
    older = re.search(r'href="(/audit\?before=[^"]+)"', first.text)
    assert older
    assert len(re.findall(r">t\d+<", root.get(html.unescape(older[1])).text)) == 20
    assert len(re.findall(r">t\d+<", root.get("/audit?action=thing.done&outcome=failed").text)) == 30
    assert "t7" in words(root, "/audit?object=t7")
    assert "No entry matches." in words(root, "/audit?first=2030-01-01")
    assert "No entry matches." in words(root, "/audit?who=%25")
    assert len(re.findall(r">t\d+<", root.get("/audit?first=2026-11-23&last=2026-11-23&action=thing").text)) == 40


def test_a_filter_that_cannot_be_meant_is_told(root: Browser) -> None:
    for query in (
        "first=yesterday",
        "first=0001-01-01",
        "outcome=fine",
        "before=x",
        f"who={'x' * 300}",
        "before=-1",
    ):
        assert root.get(f"/audit?{query}").status_code == 400, query
        assert root.get(f"/audit/export?{query}&format=tape").status_code == 400, query


def test_a_changed_entry_is_named_in_red(site: Site, root: Browser) -> None:
    root.submit("/audit/check", form="/audit")
    assert "entries, whole" in words(root, "/audit")
    tamper(site.installation, "UPDATE audit_entries SET identity = 'user:nobody' WHERE sequence = 2")
    assert "entry 2 was changed after being written." in words(root, "/audit")
    assert "This entry was changed after it was written." in words(root, "/audit/2")
    root.submit("/audit/check", form="/audit")
    page = words(root, "/audit?action=thing")
    assert "It shows at entry 2: It was changed after it was written." in page
    assert "broken" in page


def test_an_entry_shows_what_changed_and_traces_to_administrators_alone(site: Site, root: Browser) -> None:
    facts = {"before": {"role": "admin", "password": SECRET}, "after": {"role": "<b>"}, "trace": "Traceback: x.py"}
    audit.add(site.installation, "user:mona", "user.changed", "us_1", **facts)
    entry = audit.listing(site.installation, SYSTEM)[0].sequence
    page = root.get(f"/audit/{entry}").text
    assert "&lt;b&gt;" in page
    assert "Traceback: x.py" in page
    assert SECRET not in page
    mona = person(site, "mona", "manager")
    assert "us_1" in words(mona, f"/audit/{entry}")
    assert "Traceback" not in mona.get(f"/audit/{entry}").text


def test_the_export_has_all_and_is_no_formula(site: Site, root: Browser) -> None:
    audit.add(site.installation, "system", "thing.done", "=HYPERLINK(1)")
    lines = root.get("/audit/export?format=jsonl&action=thing").text.splitlines()
    assert [json.loads(line)["object"] for line in lines] == ["=HYPERLINK(1)"]
    rows = list(csv.DictReader(io.StringIO(root.get("/audit/export?format=csv&action=thing").text)))
    assert [row["object"] for row in rows] == ["'=HYPERLINK(1)"]


# Notifications


@pytest.fixture
def told(tmp_path: Path, hands: Hands) -> Iterator[tuple[Site, MailServer]]:
    """An installation that tells ops@example.com of all, and shop's failures to a channel."""
    with mail_server() as post:
        environment = {
            "HOLDFAST_HOME": str(tmp_path / "told"),
            "HOLDFAST_SMTP_URL": post.url,
            "HOLDFAST_MAIL_FROM": "holdfast@example.com",
            "HOLDFAST_NOTIFY": "ops@example.com",
        }
        installation = open_installation(read_settings(environment), clock=hands)
        channel = {"onFailure": [f"json://127.0.0.1:1/{SECRET}"], "onSuccess": []}
        configurations.store(installation, document(notifications=channel))
        yield Site(installation), post
        installation.close()


def test_who_is_told_is_shown_without_secrets(told: tuple[Site, MailServer]) -> None:
    ada = person(told[0], "ada", "admin")
    page = ada.get("/notifications").text
    assert "ops@example.com" in page
    assert "json://…" in page
    assert SECRET not in page
    assert "what goes wrong (shop)" in words(ada, "/notifications").replace("( ", "(")


def test_nobody_is_told_is_a_warning(ada: Browser) -> None:
    assert "Nobody is told when a backup fails." in words(ada, "/notifications")


def test_a_test_that_does_not_arrive_tells_why_and_nothing_of_the_address(told: tuple[Site, MailServer]) -> None:
    ada = person(told[0], "ada", "admin")
    typed = f"json://127.0.0.1:1/{SECRET}"
    refused = ada.submit("/notifications/test-new", form="/notifications", recipient=typed)
    assert refused.status_code == 503
    assert "The test message did not arrive" in said(refused)
    assert SECRET not in refused.text
    refused = ada.submit("/notifications/test-new", form="/notifications", recipient="nobody")
    assert refused.status_code == 422
    key = recipients.fingerprint(typed)
    ada.submit("/notifications/test", form="/notifications", key=key)
    assert "The test message did not arrive" in words(ada, "/notifications")
    ada.submit("/notifications/test", form="/notifications", key="0" * 64)
    assert "Nobody is told under this name now." in words(ada, "/notifications")


def test_who_was_given_up_is_switched_on_by_a_test_that_arrives(told: tuple[Site, MailServer]) -> None:
    site, post = told
    installation, key = site.installation, recipients.fingerprint("ops@example.com")
    with installation.database.transaction() as session:
        now = installation.clock()
        session.add(SilencedRecipient(recipient=key, shown="ops@example.com", reason="There is no such box.", at=now))
    ada = person(site, "ada", "admin")
    assert "There is no such box." in words(ada, "/notifications")
    ada.submit("/notifications/test", form="/notifications", key=key)
    page = words(ada, "/notifications")
    assert "The test message to ops@example.com was sent." in page
    assert "There is no such box." not in page
    assert [str(mail["To"]) for mail in post.mails] == ["ops@example.com"]


def test_a_message_that_failed_shows_its_last_error(told: tuple[Site, MailServer]) -> None:
    site, post = told
    post.refusal = "451 The queue is full"
    run = runs.start(site.installation, NewRun("create", "system", config_id="shop"))
    runs.finish(site.installation, run.id, Outcome("failed", error="The disk is full."))
    notifications.deliver_due(site.installation)
    ada = person(site, "ada", "admin")
    page = words(ada, "/notifications")
    assert "The mail server answered 451." in page
    assert "1 try, the next" in page
    assert SECRET not in ada.get("/notifications").text


# Settings and health


def test_every_variable_is_shown_and_no_secret(tmp_path: Path, hands: Hands) -> None:
    environment = {
        "HOLDFAST_HOME": str(tmp_path / "home"),
        "HOLDFAST_SMTP_URL": f"smtp://user:{SECRET}@127.0.0.1:1",
        "REDIS_URL": f"redis://:{SECRET}@127.0.0.1:1/0",
        "HOLDFAST_SECRET_KEY": SECRET * 3,
        "HOLDFAST_HEARTBEAT_URL": f"https://example.com/{SECRET}",
        "HOLDFAST_NOTIFY": f"slack://{SECRET}",
    }
    installation = open_installation(read_settings(environment), clock=hands)
    root = person(Site(installation), "rita", "super_admin")
    page = root.get("/settings").text
    assert SECRET not in root.get("/notifications").text
    assert [name for name in KNOWN - {"HOLDFAST_VENV"} if name not in page] == []
    assert SECRET not in page
    assert "There are no keys yet." in page
    installation.close()


def test_a_kit_needs_the_password_and_its_code_is_typed_back(shelf: Shelf, root: Browser) -> None:
    shelf.configure()
    shelf.backup()
    refused = root.submit("/settings/kit", form="/settings", password="wrong", format="text")
    assert refused.status_code == 422
    assert "It is not your present password." in said(refused)
    made = root.submit("/settings/kit", form="/settings", password=PASSWORD, format="text")
    assert made.headers["Content-Disposition"] == 'attachment; filename="recovery-kit.txt"'
    code = re.search(r"(?:[A-Z2-7]{4}-\s*){13}[A-Z2-7]{4}", made.text)
    assert code
    assert "recovery code never typed back" in root.get("/settings").text.lower()
    wrong = root.submit("/settings/code", form="/settings", code="AAAA-" * 13 + "AAAA")
    assert wrong.status_code == 422
    assert "AAAA-AAAA" not in wrong.text
    root.submit("/settings/code", form="/settings", code=code[0])
    assert keyrings.is_code_confirmed(shelf.installation.settings)
    actions = {entry.action for entry in audit.listing(shelf.installation, SYSTEM)}
    assert {"key.kit_made", "key.code_confirmed", "password.refused"} <= actions


def test_the_parts_of_the_service_are_looked_at(shelf: Shelf, ada: Browser) -> None:
    page = words(ada, "/health")
    assert "Redis does not answer" in page
    assert "It has never reported here." in page
    server = embedded_redis.start(shelf.installation.settings)
    try:
        pulses.beat(shelf.installation)
        page = words(ada, "/health")
        assert "It reported 0 s ago." in page
        assert "There is none: what waits there is not carried out." in page
        shelf.hands.now += timedelta(minutes=5)
        assert "The scheduler has not reported since 2026-11-23 02:00 UTC." in words(ada, "/health")
    finally:
        server.kill()
        server.wait()


def test_every_check_is_run_on_demand(shelf: Shelf, ada: Browser) -> None:
    shelf.configure()
    shelf.backup()
    checked = ada.submit("/health/check", form="/health")
    assert checked.status_code == 200
    assert "Nobody has typed the recovery code back" in said(checked)


def test_pages_ask_little_however_much_there_is(shelf: Shelf, root: Browser) -> None:
    for number in range(12):
        path = str(shelf.installation.settings.home / f"place-{number}")
        destinations.add(shelf.installation, f"place-{number}", "local", {"path": path}, tell=shelf.told.append)
        accounts.add(shelf.installation, SYSTEM, f"user-{number}", "manager")
        shelf.configure(f"shop-{number}", places=(f"p{number}",))
    shelf.backup(config_id="shop-1")
    for path in (
        "/destinations",
        "/destinations/1",
        "/notifications",
        "/audit",
        "/users",
        "/users/rita",
        "/tokens",
        "/settings",
        "/health",
        "/account",
    ):
        asked = queries(shelf.installation, root, path)
        assert len(asked) <= 12, (path, asked)
        assert len(root.get(path).data) < 40_000, path

"""The audit log: part of the change, no secrets, and whatever is changed, removed or cut off is found."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tests.support.command import CommandLine
from tests.webapp.support import Hands, document
from webapp.installation import Installation, open_installation
from webapp.roles import ADMIN
from webapp.services import audit
from webapp.services.access import Actor, local_actor
from webapp.settings import read_settings

ROOT = local_actor("local:root")
MARIA = Actor("user:maria", ADMIN, user_id=1, address="10.0.0.7")
TRIGGERS = {
    "sqlite": ("DROP TRIGGER audit_entries_no_update", "DROP TRIGGER audit_entries_no_delete"),
    "postgresql": ("DROP TRIGGER audit_entries_stay ON audit_entries",),
}


@pytest.fixture
def log(either_home: dict[str, str], hands: Hands) -> Iterator[Installation]:
    """An installation whose log has six entries."""
    installation = open_installation(read_settings(either_home), clock=hands)
    for number in range(6):
        hands.now += timedelta(milliseconds=1, microseconds=number)
        audit.add(installation, MARIA if number % 2 else ROOT, "user.added", f"us_{number}", after={"n": number})
    yield installation
    installation.close()


def tamper(installation: Installation, *statements: str) -> None:
    """What somebody who may do anything in the database can do."""
    engine = installation.database.engine
    with engine.begin() as connection:
        for statement in (*TRIGGERS[engine.dialect.name], *statements):
            connection.execute(text(statement))


def test_an_untouched_log_is_good(log: Installation) -> None:
    verdict = audit.verify(log)
    assert (verdict.entries, verdict.witnessed, verdict.flaws) == (6, 6, ())
    newest = audit.listing(log, ROOT, limit=1)[0]
    assert (newest.identity, newest.address, newest.hash) == ("user:maria", "10.0.0.7", verdict.head)


def test_an_entry_falls_with_its_change(log: Installation) -> None:
    def change() -> None:
        with log.database.transaction() as session:
            audit.record(session, log, ROOT, "user.added", "us_never")
            raise RuntimeError("the change failed")

    with pytest.raises(RuntimeError):
        change()
    audit.add(log, ROOT, "user.added", "us_later")
    assert [entry.sequence for entry in audit.listing(log, ROOT, limit=2)] == [7, 6]
    assert audit.verify(log).flaws == ()


@pytest.mark.parametrize(
    "statement", ["UPDATE audit_entries SET identity = 'user:nobody'", "DELETE FROM audit_entries WHERE sequence = 6"]
)
def test_the_database_itself_refuses_changes(log: Installation, statement: str) -> None:
    with pytest.raises(DBAPIError, match="only ever added to"), log.database.engine.begin() as connection:
        connection.execute(text(statement))
    assert audit.verify(log).entries == 6


@pytest.mark.parametrize(
    "column",
    "at identity address action object outcome duration_ms before after error trace previous_hash hash".split(),
)
def test_any_changed_value_is_found(log: Installation, column: str) -> None:
    value = {"duration_ms": "7", "at": "'2020-01-01 00:00:00.000000'", "after": "'{}'"}.get(column, "'x'")
    tamper(log, f"UPDATE audit_entries SET {column} = {value} WHERE sequence = 3")
    assert 3 in {flaw.sequence for flaw in audit.verify(log).flaws}


@pytest.mark.parametrize("gone", ["sequence = 1", "sequence = 3", "sequence = 6", "sequence > 4", "sequence > 0"])
def test_removed_and_cut_entries_are_found(log: Installation, gone: str) -> None:
    tamper(log, f"DELETE FROM audit_entries WHERE {gone}")
    assert audit.verify(log).flaws != ()


def test_a_chain_made_anew_contradicts_the_home(log: Installation) -> None:
    entries = list(audit.every(log))
    previous, statements = audit.BEGINNING, []
    for entry in entries:
        entry.previous_hash, entry.identity = previous, "user:somebody-else"
        previous = entry.hash = audit.entry_hash(entry)
        statements.append(
            f"UPDATE audit_entries SET identity = '{entry.identity}', previous_hash = '{entry.previous_hash}', "
            f"hash = '{entry.hash}' WHERE sequence = {entry.sequence}"
        )
    tamper(log, *statements)
    assert {flaw.sequence for flaw in audit.verify(log).flaws} == {1, 2, 3, 4, 5, 6}


def test_many_writers_make_one_chain(log: Installation) -> None:
    def write(who: int) -> None:
        for number in range(8):
            audit.add(log, f"user:{who}", "run.create", f"run_{number}")

    threads = [threading.Thread(target=write, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    verdict = audit.verify(log)
    assert (verdict.entries, verdict.flaws) == (38, ())


def test_secrets_do_not_get_in(installation: Installation) -> None:
    whole = document(
        sources={"databases": [{"url": "postgresql://shop:canary-1@db/shop"}]},
        destinations=[{"type": "s3", "config": {"bucket": "b", "secretAccessKey": "canary-2"}}],
        notifications={"onFailure": ["slack://canary-3/canary-3", "ops@example.com"]},
        pingUrl="https://ping.example/canary-4",
    )
    before = {"password": "canary-5", "nested": [{"apiToken": "canary-6"}], "url": "smtp://a:canary-7@mail"}
    trace = "could not open postgresql://shop:canary-8@db/shop"
    audit.add(installation, ROOT, "config.changed", "shop", before=before, after=whole, error=trace, trace=trace)
    kept = json.dumps(audit.described(audit.listing(installation, ROOT)[0], with_trace=True))
    assert "canary" not in kept
    assert "ops@example.com" in kept


def test_hostile_text_is_kept_harmless_and_short(log: Installation) -> None:
    audit.add(log, "user:\0\udcff" + "x" * 300, "a" * 99, "o" * 999, error="e" * 99_999)
    entry = audit.listing(log, ROOT, limit=1)[0]
    assert entry.identity.startswith("user:\\x00\\udcff")
    assert (len(entry.identity), len(entry.action), len(entry.object)) == (200, 64, 200)
    assert audit.verify(log).flaws == ()


def test_who_may_not_read_all_reads_their_own(log: Installation) -> None:
    assert {entry.identity for entry in audit.listing(log, MARIA)} == {"user:maria"}
    page = audit.listing(log, ROOT, limit=4)
    assert [entry.sequence for entry in page] == [6, 5, 4, 3]
    assert [entry.sequence for entry in audit.listing(log, ROOT, after=page[-1].sequence)] == [2, 1]
    assert audit.listing(log, ROOT, action="user.gone") == []


def test_the_commands(cli: CommandLine, hands: Hands) -> None:
    installation = open_installation(read_settings({"HOLDFAST_HOME": str(cli.home)}), clock=hands)
    for number in range(3):
        audit.add(installation, MARIA, "user.added", f"us_{number}")
    assert [entry["object"] for entry in cli("audit", "list", "--json", code=0).json["entries"]] == [
        "us_2",
        "us_1",
        "us_0",
    ]
    assert "user:maria" in cli("audit", "list", code=0).stdout
    assert cli("audit", "verify", "--json", code=0).json["status"] == "good"
    assert [json.loads(line)["sequence"] for line in cli("audit", "export", code=0).stdout.splitlines()] == [1, 2, 3]
    tamper(installation, "DELETE FROM audit_entries WHERE sequence = 3")
    installation.close()
    assert "ends at 2" in cli("audit", "verify", code=6).stdout

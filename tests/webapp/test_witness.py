"""What somebody deleted, put back or replaced at a destination is told by the next run and by `verify`; once, and never
for what Holdfast did itself."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from engine import ids
from engine.repository import layout
from engine.repository.forget import empty_trash, forget
from engine.repository.repository import Repository
from tests.support.command import CommandLine
from tests.webapp.points import Shop
from webapp.installation import open_installation
from webapp.services import records, repositories
from webapp.settings import read_settings


@pytest.fixture
def shop(cli: CommandLine) -> Shop:
    """A configuration with one file and no restore point."""
    made = Shop.at(cli)
    (made.source / "file").write_bytes(b"x" * 1000)
    made.configure()
    return made


def manifest(shop: Shop, backup: str, place: str = "backups") -> Path:
    return shop.cli.home / place / layout.manifest(ids.parse("bk", backup))


def run(shop: Shop, config_id: str = "shop") -> tuple[int, list[dict[str, Any]]]:
    """Exit code of a `create`, and what it says of tampering."""
    outcome = shop.cli("create", "--config", config_id, "--json")
    return outcome.code, [each for each in outcome.json["problems"] if each["kind"] == "tampering"]


def verified(shop: Shop) -> list[tuple[str, str]]:
    """Kind and reason of what `verify` finds; its exit code fits."""
    outcome = shop.cli("verify", "--json")
    errors = [(error["kind"], error["reason"]) for error in outcome.json["errors"]]
    assert outcome.code == (6 if errors else 0), outcome
    return errors


@contextmanager
def opened(shop: Shop, place: str = "backups") -> Iterator[Repository]:
    """The repository of a destination, as another installation with the same key would open it."""
    installation = open_installation(read_settings({"HOLDFAST_HOME": str(shop.cli.home)}))
    try:
        keyring = repositories.open_keyring(installation, may_create=False, tell=repositories.silent)
        (chosen,) = [
            each
            for each in repositories.used_destinations(installation)
            if str(each.settings["path"]).strip("./") == place
        ]
        yield repositories.open_repository(installation, chosen, keyring)
    finally:
        installation.close()


def test_a_deleted_point_is_told_by_the_next_run_and_by_verify(shop: Shop) -> None:
    names = [shop.create() for _ in range(3)]
    manifest(shop, names[1]).unlink()
    code, problems = run(shop)
    assert (code, [problem["path"] for problem in problems]) == (3, ["backups"])
    assert problems[0]["reason"].startswith("Number 2 of shop, made 20")
    assert "UTC, was here and is gone" in problems[0]["reason"]
    assert run(shop) == (0, [])  # it was told, and the run is good
    ((kind, reason),) = verified(shop)
    assert (kind, reason[:16]) == ("deleted", "Number 2 of shop")


def test_an_older_state_of_the_whole_destination_is_told(shop: Shop) -> None:
    for _ in range(2):
        shop.create()
    place, older = shop.cli.home / "backups", shop.cli.home / "older"
    shutil.copytree(place, older)
    for _ in range(2):
        shop.create()
    shutil.rmtree(place)
    older.rename(place)
    errors = verified(shop)
    assert [kind for kind, _ in errors] == ["rolled-back", "rolled-back"]
    assert [reason[:16] for _, reason in errors] == ["Number 3 of shop", "Number 4 of shop"]
    made = shop.create()  # verify told of it, so the run need not
    sequences = {point["backupId"]: point["sequence"] for point in shop.cli("list", "--json", code=0).json}
    assert sequences[made] == 5
    assert {reason[:16] for _, reason in verified(shop)} == {"Number 3 of shop", "Number 4 of shop"}


def test_a_replaced_manifest_is_told_by_the_next_run(shop: Shop) -> None:
    names = [shop.create() for _ in range(3)]
    assert run(shop) == (0, [])
    one, two = manifest(shop, names[0]), manifest(shop, names[1])
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    code, problems = run(shop)
    assert code == 3
    told = [problem["reason"].partition(":")[0] for problem in problems]
    assert told == [f"Number {number} of shop was damaged or replaced" for number in (1, 2)]


def test_a_copy_of_the_destination_is_no_tampering(shop: Shop) -> None:
    """A disk that was copied shows other times; each manifest is read again once, and found right."""
    for _ in range(3):
        shop.create()
    for path in (shop.cli.home / "backups").rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            path.unlink()
            path.write_bytes(data)
    assert run(shop) == (0, [])
    assert verified(shop) == []


def test_what_a_clean_up_removed_is_no_tampering_until_it_is_put_back(shop: Shop) -> None:
    names = [shop.create() for _ in range(3)]
    path, identity = manifest(shop, names[0]), ids.parse("bk", names[0])
    old, now = path.read_bytes(), datetime.now(UTC)
    with opened(shop) as repository:
        forget(repository, identity, reason="daily 7", now=now)
        assert empty_trash(repository, [identity], delay=timedelta(0), now=now)
    assert run(shop) == (0, [])
    assert verified(shop) == []
    path.write_bytes(old)
    shop.cli("list", code=0)  # looks at the destination as well; that hides nothing
    code, (problem,) = run(shop)
    assert code == 3
    assert "Number 1 of shop" in problem["reason"]
    assert "is here again" in problem["reason"]


def test_a_lost_or_older_database_is_no_tampering(shop: Shop) -> None:
    shop.create()
    database = shop.cli.home / "holdfast.db"
    older = database.read_bytes()
    names = [shop.create() for _ in range(2)]
    with opened(shop) as repository:
        forget(repository, ids.parse("bk", names[0]), reason="daily 7", now=datetime.now(UTC))
        empty_trash(repository, [ids.parse("bk", names[0])], delay=timedelta(0), now=datetime.now(UTC))
    for journal in shop.cli.home.glob("holdfast.db-*"):
        journal.unlink()
    database.write_bytes(older)
    assert run(shop) == (0, [])
    assert verified(shop) == []
    assert max(point["sequence"] for point in shop.cli("list", "--json", code=0).json) == 4


def test_a_destination_that_missed_a_run_is_no_tampering(shop: Shop) -> None:
    shop.configure("both", places=("one", "two"))
    shop.create("both")
    away = shop.cli.home / "away"
    (shop.cli.home / "two").rename(away)
    shop.create("both", code=3)
    away.rename(shop.cli.home / "two")
    assert verified(shop) == []
    assert run(shop, "both") == (0, [])
    assert verified(shop) == []


def test_a_point_that_is_gone_at_one_destination_comes_back_from_the_other(shop: Shop) -> None:
    shop.configure("both", places=("one", "two"))
    first = shop.create("both")
    shop.create("both")
    manifest(shop, first, "two").unlink()
    code, (problem,) = run(shop, "both")
    assert (code, problem["path"]) == (3, "two")
    assert manifest(shop, first, "two").exists()
    assert run(shop, "both") == (0, [])
    assert verified(shop) == []


def test_a_deleted_configuration_is_no_tampering(shop: Shop) -> None:
    shop.configure("other")
    shop.create("other")
    shop.create()
    shop.cli("config", "delete", "other", "--confirm", "other", code=0)
    assert run(shop) == (0, [])
    assert verified(shop) == []


def test_a_key_slot_that_is_gone_is_told(shop: Shop) -> None:
    shop.create()
    slot = sorted((shop.cli.home / "backups" / "keys").iterdir())[0]
    slot.unlink()
    ((kind, reason),) = verified(shop)
    assert (kind, "key slot" in reason) == ("missing", True)
    assert run(shop) == (0, [])
    assert slot.exists()
    assert verified(shop) == []


def test_what_is_recorded_while_a_destination_is_listed_is_not_lost(shop: Shop) -> None:
    """`list` beside a backup: its listing of the destination is older than what the backup just recorded."""
    shop.create()
    installation = open_installation(read_settings({"HOLDFAST_HOME": str(shop.cli.home)}))
    try:
        (destination,) = repositories.used_destinations(installation)
        with opened(shop) as repository:
            late: list[str] = []

            class Slow:
                def __getattr__(self, name: str) -> Any:
                    return getattr(repository.storage, name)

                def list(self, prefix: str) -> Iterator[Any]:
                    found = list(repository.storage.list(prefix))
                    if prefix == layout.MANIFESTS and not late:
                        late.append(shop.create())
                    return iter(found)

            slow = Repository(Slow(), repository.keyring, repository.id)
            adopted = repositories.adopt(installation, destination, slow)
        assert late
        assert adopted.lost == ()
        assert set(records.known_copies(installation, destination).values()) == {"present"}
    finally:
        installation.close()
    assert verified(shop) == []

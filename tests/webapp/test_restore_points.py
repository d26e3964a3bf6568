"""`list`: each restore point once with its copies, also when a destination, the database or a configuration is gone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from cli.exits import exit_code
from engine.errors import AccessDenied, Corrupt, NotARepository
from tests.support.command import CommandLine
from tests.support.forked import ForkedCommandLine
from tests.webapp.points import Shop
from webapp.clock import utc_now
from webapp.errors import NotFound
from webapp.installation import Installation, open_installation
from webapp.models.backup import MISSED, PRESENT
from webapp.services import records, repositories, restore_points
from webapp.settings import read_settings


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Two destinations, two configurations, three restore points; changes are made to copies of the home."""
    cli = ForkedCommandLine(tmp_path_factory.mktemp("points"))
    shop = Shop.at(cli)
    (shop.source / "file").write_bytes(b"content" * 1000)
    shop.configure(places=("one", "two"))
    shop.configure("other", places=("one",))
    shop.create("shop", "--tag", "reason=test")
    shop.create("other")
    shop.create("shop")
    yield shop
    cli.close()


@pytest.fixture
def copy(shop: Shop, cli: CommandLine) -> Shop:
    """The same installation in a home of its own, to be broken."""
    shutil.copytree(shop.cli.home, cli.home)
    return Shop(cli, shop.source)


@pytest.fixture
def opened(copy: Shop) -> Iterator[Installation]:
    installation = open_installation(read_settings({"HOLDFAST_HOME": str(copy.cli.home)}))
    yield installation
    installation.close()


def test_each_restore_point_is_listed_once_newest_first(shop: Shop) -> None:
    listed = shop.cli("list", "--json", code=0).json
    assert [(point["configId"], point["sequence"]) for point in listed] == [("shop", 2), ("other", 1), ("shop", 1)]
    newest, _, oldest = listed
    assert [(copy["name"], copy["type"], copy["status"], copy["error"]) for copy in newest["destinations"]] == [
        ("one", "local", "present", None),
        ("two", "local", "present", None),
    ]
    assert newest["parentId"] == oldest["backupId"]
    assert (newest["tags"], oldest["tags"]) == ({}, {"reason": "test"})
    assert oldest["files"] == {"total": 1, "new": 1, "changed": 0, "unchanged": 0, "unreadable": 0}
    assert (oldest["bytes"]["total"], oldest["bytes"]["read"]) == (7000, 7000)
    assert (newest["paths"], newest["databases"]) == ([str(shop.source)], [])
    assert newest["verifiedAt"] is None
    assert newest["finishedAt"].endswith("Z")
    text = shop.cli("list", code=0).stdout
    assert [line.split()[0] for line in text.splitlines()[1:]] == [point["backupId"] for point in listed]
    assert "reason=test" in text


def test_what_is_listed_can_be_narrowed(opened: Installation) -> None:
    every = restore_points.listing(opened)
    assert [backup.config_id for backup in restore_points.listing(opened, limit=2)] == ["shop", "other"]
    assert [backup.config_id for backup in restore_points.listing(opened, config_id="shop")] == ["shop", "shop"]
    since = every[1].finished_at
    assert [backup.public_id for backup in restore_points.listing(opened, since=since)] == [
        backup.public_id for backup in every[:2]
    ]
    assert restore_points.listing(opened, since=utc_now() + timedelta(days=1)) == []
    with pytest.raises(NotFound, match="There is no configuration nobody") as raised:
        restore_points.listing(opened, config_id="nobody")
    assert exit_code(raised.value) == 10


def test_a_status_narrows_too(opened: Installation) -> None:
    assert len(restore_points.listing(opened, status="succeeded")) == 3
    assert restore_points.listing(opened, status="warning") == restore_points.listing(opened, status="failed") == []
    place = next(place.destination for place in restore_points.places(opened) if place.destination.name == "two")
    missed = restore_points.listing(opened, limit=1)[0]
    records.set_states(opened, place, {records.identity(missed): MISSED})
    (found,) = restore_points.listing(opened, status="warning")
    assert found.public_id == missed.public_id
    assert restore_points.status_of(found) == "warning"
    assert len(restore_points.listing(opened, status="succeeded")) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--status", "failed"], "No restore point is failed"),
        (["--since", "1m", "--config", "nobody"], "There is no configuration nobody."),
        (["--destinations", "--since", "7d"], "--since narrow runs and restore points only"),
        (["--configs", "--config", "shop"], "narrow runs and restore points only"),
        (["--status", "nonsense"], "nonsense"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_the_list_cannot_show_is_told(shop: Shop, arguments: list[str], words: str) -> None:
    outcome = shop.cli("list", *arguments)
    assert words in outcome.stderr
    assert (outcome.code, outcome.output) in ((0, b""), (2, b""), (10, b""))
    assert "Traceback" not in outcome.stderr


def test_runs_are_listed_with_their_restore_points(shop: Shop) -> None:
    listed = shop.cli("list", "--runs", "--config", "shop", "--status", "succeeded", "--json", code=0).json
    assert [(run["kind"], run["configId"]) for run in listed] == [("create", "shop")] * 2
    points = [point["backupId"] for point in shop.cli("list", "--config", "shop", "--json", code=0).json]
    assert [run["backupId"] for run in listed] == points


def test_a_destination_that_vanished_is_shown_as_such(copy: Shop) -> None:
    cli = copy.cli
    (cli.home / "two").rename(cli.home / "away")
    outcome = cli("list", "--json", code=0)
    assert "two is not there" in outcome.stderr
    newest = outcome.json[0]
    assert [copy["status"] for copy in newest["destinations"]] == ["present", "unreachable"]
    assert "is not there" in newest["destinations"][1]["error"]
    assert "two (unreachable)" in cli("list", code=0).stdout
    places = cli("list", "--destinations", "--json", code=0).json
    assert [(place["name"], place["status"], place["copies"]) for place in places] == [
        ("one", "ready", 3),
        ("two", "unreachable", 2),
    ]
    assert cli("show", newest["backupId"], "--json", code=0).json["manifestRead"]
    (cli.home / "one").rename(cli.home / "away too")
    shown = cli("show", newest["backupId"], "--json", code=3)
    assert (shown.json["manifestRead"], shown.json["paths"]) == (False, [str(copy.source)])
    assert "What is on record is shown." in shown.stderr
    assert newest["backupId"] in cli("show", "shop@latest", code=3).stdout
    assert "is not there" in cli("ls", newest["backupId"], code=1).stderr
    (cli.home / "away").rename(cli.home / "two")
    assert [each["status"] for each in cli("list", "--json", code=0).json[0]["destinations"]] == [
        "unreachable",
        "present",
    ]


def test_what_became_of_a_place_is_told(opened: Installation, copy: Shop) -> None:
    def states() -> dict[str, str]:
        return {place.destination.name: place.state for place in restore_points.places(opened)}

    home = copy.cli.home
    assert states() == {"one": "ready", "two": "ready"}
    assert all(place.free_bytes for place in restore_points.places(opened))
    (home / "one" / "holdfast.json").unlink()
    shutil.rmtree(home / "two")
    (home / "two").write_text("a file")
    assert states() == {"one": "vanished", "two": "unreachable"}
    (home / "two").unlink()
    (home / "two").mkdir()
    (home / "one" / "holdfast.json").write_text("{}")
    assert states() == {"one": "damaged", "two": "vanished"}
    for place in restore_points.places(opened):
        assert place.trouble is not None
        assert place.trouble.error.endswith(".")


def test_another_repository_in_its_place_is_told(opened: Installation, copy: Shop) -> None:
    home = copy.cli.home
    (home / "one").rename(home / "three")
    (home / "two").rename(home / "one")
    (home / "three").rename(home / "two")
    for place in restore_points.places(opened):
        assert place.state == "vanished"
        assert place.trouble is not None
        assert "another repository" in place.trouble.error
    assert {trouble.state for trouble in restore_points.refresh(opened, tell=lambda text: None).values()} == {
        "vanished"
    }


def test_restore_points_survive_the_loss_of_the_database(copy: Shop) -> None:
    cli = copy.cli
    before = cli("list", "--json", code=0).json
    for path in cli.home.glob("holdfast.db*"):
        path.unlink()
    assert cli("list", "--json", code=0).json == []
    cli("destination", "add", "found", "--type", "local", "--path", "one", code=0)
    after = cli("list", "--json", code=0).json
    assert [point["backupId"] for point in after] == [point["backupId"] for point in before]
    assert [point["tags"] for point in after] == [point["tags"] for point in before]
    assert {copy["name"] for point in after for copy in point["destinations"]} == {"found"}


def test_a_deleted_configuration_keeps_its_restore_points(copy: Shop) -> None:
    copy.cli("config", "delete", "other", "--confirm", "other", code=0)
    (point,) = copy.cli("list", "--config", "other", "--json", code=0).json
    assert point["configId"] == "other"


def test_a_copy_that_is_gone_is_told(copy: Shop) -> None:
    for path in (copy.cli.home / "two" / "manifests").iterdir():
        path.unlink()
    newest = copy.cli("list", "--json", code=0).json[0]
    assert [each["status"] for each in newest["destinations"]] == ["present", "lost"]


def test_the_wrong_key_still_shows_what_is_on_record(copy: Shop) -> None:
    outcome = copy.cli("list", "--json", env={"BACKUP_ENCRYPTION_KEY": "cd" * 32}, code=0)
    assert len(outcome.json) == 3
    assert "What is on record is shown." in outcome.stderr


def test_an_empty_installation(cli: CommandLine) -> None:
    outcome = cli("list", code=0)
    assert outcome.output == b""
    assert "There is no restore point." in outcome.stderr
    assert cli("list", "--destinations", "--json", code=0).json == []


def test_series_count_what_is_there(opened: Installation) -> None:
    now = datetime(2099, 1, 1, tzinfo=UTC)
    found = {each.config_id: each for each in restore_points.series(replace(opened, clock=lambda: now))}
    assert {name: (each.count, each.bytes) for name, each in found.items()} == {"shop": (2, 14000), "other": (1, 7000)}
    newest = restore_points.listing(opened, config_id="shop", limit=1)[0]
    assert found["shop"].newest_at == newest.finished_at
    assert found["shop"].newest_age == now - newest.finished_at
    assert [each.config_id for each in restore_points.series(opened, config_id="other")] == ["other"]


def test_errors_become_states() -> None:
    assert restore_points.trouble(AccessDenied("No.", hint="Ask.")) == restore_points.Trouble(
        "unreachable", "No.", "Ask."
    )
    assert restore_points.trouble(NotARepository("Gone.")).state == "vanished"
    assert restore_points.trouble(Corrupt("Broken.")).state == "damaged"


def test_only_present_copies_are_counted(opened: Installation) -> None:
    place = restore_points.places(opened)[0]
    states = repositories.adopt_all(opened)
    assert states.keys() == {1, 2}
    known = records.known_copies(opened, place.destination)
    assert set(known.values()) == {PRESENT}
    records.set_states(opened, place.destination, {next(iter(known)): MISSED})
    assert restore_points.places(opened)[0].copies == place.copies - 1

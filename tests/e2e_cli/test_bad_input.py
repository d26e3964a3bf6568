"""What users and disks do wrong: one clear sentence each, the right exit code, nothing half, nothing lost."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.e2e_cli.shop import Shop, told
from tests.support.disks import read_only, small_disk
from tests.support.trees import snapshot


def test_a_destination_that_is_a_file(shop: Shop) -> None:
    shop.cli.home.mkdir()
    shop.repository.write_text("mine")
    assert "is not a folder" in told(shop.cli("create", "--file", shop.write(), code=1))
    assert shop.repository.read_text() == "mine"
    shop.repository.unlink()
    shop.create("--config", "shop")
    shop.check()


def test_a_destination_that_holds_something_else(shop: Shop) -> None:
    shop.repository.mkdir(parents=True)
    (shop.repository / "photo.jpg").write_text("mine")
    assert "is not empty" in told(shop.cli("create", "--file", shop.write(), code=1))
    assert [path.name for path in shop.repository.iterdir()] == ["photo.jpg"]


@pytest.mark.parametrize("what", ["vanished", "emptied", "replaced"])
def test_a_destination_that_is_not_what_it_was(shop: Shop, what: str) -> None:
    shop.create()
    kept = shop.repository.rename(shop.cli.folder / "kept")
    sentence = "is not there"
    if what == "emptied":
        shop.repository.mkdir()
        sentence = "holds no repository"
    if what == "replaced":
        shop.cli("destination", "add", "other", "--path", "other", code=0)
        (shop.cli.home / "other").rename(shop.repository)
        sentence = "holds another repository"
    for command, code in ((["create", "--config", "shop"], 1), (["restore", "--backup", "shop@latest"], 1)):
        assert sentence in told(shop.cli(*command, code=code))
    assert "holds" in shop.cli("verify", "--json", code=1).stdout or what == "vanished"
    assert len(shop.cli("list", "--json", code=0).json) == 1
    if what == "replaced":
        shop.repository.rename(shop.cli.home / "other")
    shutil.rmtree(shop.repository, ignore_errors=True)
    kept.rename(shop.repository)
    shop.create("--config", "shop")
    shop.check()


def test_a_destination_that_is_read_only(shop: Shop) -> None:
    made = shop.create()["backupId"]
    with read_only(shop.repository):
        outcome = shop.cli("create", "--config", "shop", "--json", code=1)
        assert "Read-only file system" in told(outcome)
        assert outcome.json["backupId"] is None
        assert snapshot(shop.restore(made)) == shop.state[made]
        shop.cli("verify", code=0)
    shop.create("--config", "shop")
    shop.check()


def test_a_destination_that_is_full(shop: Shop, seed: int) -> None:
    with small_disk(shop.repository, 3):
        shop.create()
        large = shop.uploads / "large"
        large.write_bytes(random.Random(seed).randbytes(6_000_000))
        outcome = shop.cli("create", "--config", "shop", "--json", code=1)
        assert "is full" in told(outcome)
        assert (outcome.json["status"], outcome.json["backupId"]) == ("failed", None)
        large.unlink()
        shop.create("--config", "shop")
        shop.check()


def test_a_home_that_is_full(shop: Shop, seed: int, tmp_path: Path) -> None:
    shop.cli.home.mkdir(parents=True)
    places = [{"type": "local", "config": {"path": str(tmp_path / "nas")}}]
    with small_disk(shop.cli.home, 2):
        shop.create(destinations=places)
        large = shop.uploads / "large"
        large.write_bytes(random.Random(seed).randbytes(6_000_000))
        assert "cannot be written" in told(shop.cli("create", "--config", "shop", code=1))
        large.unlink()
        shop.create("--config", "shop")
        shop.check()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.write_text("x"), "is not a folder"),
        (lambda path: path.mkdir(), "every folder of this backup is empty"),
    ],
    ids=["missing", "a-file", "empty"],
)
def test_a_source_that_holds_nothing(shop: Shop, make: Any, sentence: str) -> None:
    path = shop.uploads / "source"
    make(path)
    outcome = shop.cli("create", "--file", shop.write(sources={"paths": [{"path": str(path)}]}), "--json", code=1)
    assert sentence in told(outcome)
    assert outcome.json["status"] == "failed"
    assert shop.points() == []
    shop.create()
    shop.check()


def test_a_source_that_is_suddenly_empty(shop: Shop) -> None:
    made = shop.create()["backupId"]
    kept = shop.uploads.rename(shop.uploads.with_name("kept"))
    shop.uploads.mkdir()
    assert "empty" in told(shop.cli("create", "--config", "shop", code=1))
    shop.uploads.rmdir()
    kept.rename(shop.uploads)
    assert [point["backupId"] for point in shop.points()] == [made]
    shop.check()


def test_unreadable_files_are_a_warning(shop: Shop) -> None:
    for path in shop.uploads.rglob("file *"):
        path.chmod(0o600)
    hidden = shop.uploads / "folder 0" / "file 0"
    hidden.chmod(0)
    shop.cli.without_privileges = True
    made = shop.cli("create", "--file", shop.write(), "--json", code=3)
    assert made.json["status"] == "warning"
    assert made.json["files"]["unreadable"] == 1
    assert made.json["problems"] == [{"kind": "file", "path": str(hidden), "reason": "permission denied"}]
    assert str(hidden) in made.stderr
    restored = shop.restore(made.json["backupId"])
    assert len(list((restored / "folder 0").iterdir())) == 3
    (point,) = shop.points()
    assert (point["status"], point["problemCount"]) == ("warning", 1)


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"compresion": "zstd"}, "/compresion"),
        ({"schedule": "61 * * * *"}, "/schedule"),
        ({"timezone": "Mars/Olympus"}, "/timezone"),
        ({"destinations": []}, "/destinations"),
        ({"type": "everything"}, "/type"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_configuration_with_a_fault(shop: Shop, changes: dict[str, Any], pointer: str) -> None:
    outcome = shop.cli("create", "--file", shop.write(**changes), "--json", code=2)
    assert [error["pointer"] for error in outcome.json["errors"]] == [pointer]
    assert told(outcome)
    assert shop.cli("config", "list", "--json", code=0).json == []


def test_a_variable_that_is_not_set(shop: Shop) -> None:
    path = shop.write(sources={"paths": [{"path": "${NOT_THERE}/x"}]})
    outcome = shop.cli("create", "--file", path, "--json", code=2)
    assert outcome.json["errors"][0]["pointer"] == "/sources/paths/0/path"
    assert "${NOT_THERE}" in outcome.stderr
    assert not shop.repository.exists()


def test_files_and_names_that_do_not_exist(shop: Shop) -> None:
    (shop.cli.folder / "broken.json").write_text("{")
    assert "is not JSON" in shop.cli("create", "--file", "broken.json", code=2).stderr
    assert "cannot be read" in told(shop.cli("create", "--file", "nowhere.json", code=2))
    shop.write()
    shop.create()
    assert "Did you mean shop?" in shop.cli("create", "--config", "shoop", code=10).stderr
    assert "no restore point" in told(shop.cli("restore", "--backup", "bk_nothing", code=10))
    assert "no restore point" in told(shop.cli("restore", "--backup", "other@latest", code=10))
    assert "no restore point" in told(shop.cli("verify", "--backup", "bk_nothing", code=10))
    assert "no configuration" in told(shop.cli("verify", "--config", "other", code=10))
    assert shop.cli("create", "--type", "full", code=2).output == b""


def test_an_ambiguous_beginning_names_the_candidates(shop: Shop) -> None:
    made = sorted(shop.create()["backupId"] for _ in range(2))
    outcome = shop.cli("restore", "--backup", "bk_", code=2)
    assert all(backup in told(outcome) for backup in made)
    assert shop.restore(made[0][:12]).exists()


def test_a_type_that_fits_no_source(shop: Shop) -> None:
    shop.create()
    assert (
        "/sources: names nothing that a backup of the type database could hold"
        in shop.cli("create", "--config", "shop", "--type", "database", code=2).stderr
    )


def test_a_restore_without_room(shop: Shop, seed: int, tmp_path: Path) -> None:
    (shop.uploads / "large").write_bytes(random.Random(seed).randbytes(4_000_000))
    shop.create()
    with small_disk(tmp_path / "disk", 2):
        outcome = shop.cli("restore", "--backup", "shop@latest", "--to", tmp_path / "disk" / "out", code=1)
        assert "bytes free" in told(outcome)
        assert list((tmp_path / "disk").iterdir()) == []


def test_a_mount_point_can_be_the_target(shop: Shop, tmp_path: Path) -> None:
    made = shop.create()["backupId"]
    with small_disk(tmp_path / "disk", 20):
        shop.cli("restore", "--backup", made, "--to", tmp_path / "disk", code=0)
        assert snapshot((tmp_path / "disk").joinpath(*shop.uploads.parts[1:])) == shop.state[made]


def test_the_database_of_the_service_cannot_be_used(shop: Shop) -> None:
    shop.create()
    database = shop.cli.home / "holdfast.db"
    kept = database.read_bytes()
    for path in shop.cli.home.glob("holdfast.db*"):
        path.unlink()
    database.write_bytes(b"this is no database" * 100)
    assert "cannot be used" in told(shop.cli("create", "--config", "shop", code=1))
    database.write_bytes(kept)
    shop.check()


def test_json_is_one_document_whatever_happens(shop: Shop) -> None:
    for command in (
        ["restore", "--backup", "x"],
        ["verify"],
        ["create", "--config", "none"],
        ["create", "--file", "no"],
    ):
        outcome = shop.cli(*command, "--json")
        assert outcome.code in (2, 10)
        assert set(json.loads(outcome.stdout)) == {"error", "hint", "errors"}

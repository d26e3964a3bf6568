"""Folders: create → list → show → ls → get → diff → restore → verify, types and parents, several destinations."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.e2e_cli.shop import COUNTS, KEYS, VERIFIED, Shop, told
from tests.support.trees import make_tree, snapshot


def test_the_whole_way(shop: Shop) -> None:
    first = shop.create("--tag", "why=test", "--tag", "who=me")
    assert list(first) == KEYS
    assert list(first["files"]) == COUNTS
    assert (first["kind"], first["status"], first["type"], first["error"]) == ("create", "succeeded", "full", None)
    assert first["files"]["new"] == first["files"]["total"] == 12
    assert first["destinations"] == [
        {"name": "./backups", "type": "local", "status": "succeeded", "backupId": first["backupId"], "error": None}
    ]
    assert first["startedAt"] < first["finishedAt"]
    assert first["startedAt"].endswith("Z")
    (shop.uploads / "folder 0" / "file 0").write_bytes(b"changed")
    second = shop.create()
    assert (second["type"], second["files"]) == (
        "incremental",
        {"total": 12, "new": 0, "changed": 1, "unchanged": 11, "unreadable": 0},
    )
    assert [point["backupId"] for point in shop.points()] == [second["backupId"], first["backupId"]]
    shown = shop.cli("show", first["backupId"], "--json", code=0).json
    assert shown["tags"] == {"why": "test", "who": "me"}
    path = str(shop.uploads / "folder 0" / "file 0")
    assert "file 0" in shop.cli("ls", "shop@latest", str(shop.uploads / "folder 0"), code=0).stdout
    assert shop.cli("get", "shop@latest", path, "-o", "-", code=0).output == b"changed"
    assert path in shop.cli("diff", first["backupId"], "shop@latest", code=0).stdout
    shop.check()
    # And once more as a user does it, from the start of the interpreter.
    listed = shop.cli.in_its_own_process("list", "--json", code=0).json
    assert [point["backupId"] for point in listed] == [second["backupId"], first["backupId"]]
    third = shop.cli.in_its_own_process("create", "--config", "shop", "--json", code=0).json
    assert third["files"]["unchanged"] == 12


def test_an_odd_tree_comes_back_exactly(shop: Shop, seed: int) -> None:
    make_tree(shop.uploads / "odd", random.Random(seed), files=60)
    made = shop.create()
    assert snapshot(shop.restore(made["backupId"], "--verify")) == shop.state[made["backupId"]]


def test_nothing_readable_of_the_source_is_in_the_repository(shop: Shop) -> None:
    canary = b"a-sentence-that-compresses-badly-4711-" * 3
    (shop.uploads / "secret-name-of-a-file").write_bytes(canary)
    shop.create()
    for path in shop.repository.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert canary not in data
            assert b"secret-name" not in data
            assert str(shop.uploads).encode() not in data
            assert "packs" not in path.parts or hashlib.sha256(data).hexdigest() == path.name


def test_a_differential_leans_on_the_newest_full_one(shop: Shop) -> None:
    first = shop.cli("create", "--file", shop.write(type="differential"), "--json", code=0)
    assert "no full restore point" in first.stderr
    assert first.json["type"] == "full"
    (shop.uploads / "one").write_bytes(b"1")
    shop.create("--config", "shop")
    (shop.uploads / "two").write_bytes(b"2")
    third = shop.create("--config", "shop")
    assert (third["type"], third["files"]["new"]) == ("differential", 2)
    full = shop.create("--config", "shop", "--type", "full")
    assert (full["type"], full["files"]["unchanged"]) == ("full", 0)
    fifth = shop.create("--config", "shop")
    assert (fifth["type"], fifth["files"]["unchanged"]) == ("differential", 14)
    assert shop.cli("config", "show", "shop", code=0).json["type"] == "differential"
    shop.check()


def test_changed_sources_and_full_every_read_everything_and_say_why(shop: Shop) -> None:
    other = shop.uploads.parent / "other"
    shutil.copytree(shop.uploads, other)
    shop.create(fullEvery=3)
    paths = [{"path": str(shop.uploads)}, {"path": str(other)}]
    changed = shop.cli("create", "--file", shop.write(fullEvery=3, sources={"paths": paths}), "--json", code=0)
    assert "sources of the configuration changed" in changed.stderr
    assert (changed.json["type"], changed.json["files"]["unchanged"]) == ("full", 0)
    types = [shop.cli("create", "--config", "shop", "--json", code=0).json["type"] for _ in range(4)]
    assert types == ["incremental", "incremental", "full", "incremental"]


@pytest.mark.parametrize(
    "changes",
    [
        {"cipher": "aes-256-cbc", "compression": "gzip"},
        {"encryption": False, "compression": "none"},
        {"compression": "bzip2"},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
def test_other_suites_and_codecs(shop: Shop, seed: int, changes: dict[str, Any]) -> None:
    canary = random.Random(seed).randbytes(2_000)
    (shop.uploads / "canary").write_bytes(canary)
    shop.create(**changes)
    stored = b"".join(path.read_bytes() for path in (shop.repository / "packs").rglob("*") if path.is_file())
    assert (canary in stored) == (changes.get("encryption") is False)
    assert b"folder 0" not in stored
    shop.create(id="other")
    shop.check()


def test_defaults_of_the_environment(shop: Shop) -> None:
    shop.cli.environment["UPLOAD_DIR"] = str(shop.uploads)
    made = shop.cli("create", "--type", "files", "--json", code=0).json
    assert (made["configId"], made["type"], made["files"]["total"]) == ("default-files", "files", 12)
    again = shop.cli("create", "--type", "files", "--json", code=0).json
    assert again["files"]["unchanged"] == 12
    assert "restored-" in shop.cli("restore", "--backup", "default-files@latest", code=0).stdout
    (folder,) = shop.cli.folder.glob("restored-*")
    assert snapshot(folder.joinpath(*shop.uploads.parts[1:])) == snapshot(shop.uploads)
    shop.cli("restore", "--backup", "default-files@latest", code=0)
    assert len(list(shop.cli.folder.glob("restored-*"))) == 2


def test_a_part_and_a_plan(shop: Shop) -> None:
    made = shop.create()["backupId"]
    wanted = shop.uploads / "folder 1"
    plan = shop.cli("restore", "--backup", made, "--only", wanted, "--dry-run", "--json", code=0).json
    (target,) = plan["targets"]
    assert (target["kind"], target["files"], target["paths"]) == ("folder", 4, [str(wanted)])
    assert not Path(target["target"]).exists()
    assert "Nothing was touched" in shop.cli("restore", "--backup", made, "--dry-run", code=0).stdout
    assert list(shop.cli.folder.iterdir()) == [shop.cli.folder / "shop.json"]
    one = shop.uploads / "folder 0" / "file 0"
    restored = shop.restore(made, "--only", str(wanted), "--only", str(one))
    assert sorted(path.name for path in restored.iterdir()) == ["folder 0", "folder 1"]
    assert snapshot(restored / "folder 1") == snapshot(wanted)
    assert [path.name for path in (restored / "folder 0").iterdir()] == ["file 0"]
    above = shop.restore(made, "--only", str(shop.uploads.parent))
    assert snapshot(above) == snapshot(shop.uploads)
    assert "not in this restore point" in told(
        shop.cli("restore", "--backup", made, "--only", "/srv/nothing", "--to", "x", code=10)
    )
    assert not (shop.cli.folder / "x").exists()


def test_a_full_folder_is_never_touched(shop: Shop) -> None:
    made = shop.create()["backupId"]
    target = shop.cli.folder / "mine"
    target.mkdir()
    (target / "precious").write_text("mine")
    assert "not an empty folder" in told(shop.cli("restore", "--backup", made, "--to", target, code=1))
    assert [path.name for path in target.iterdir()] == ["precious"]
    (target / "precious").unlink()
    shop.cli("restore", "--backup", made, "--to", target, code=0)
    assert snapshot(target.joinpath(*shop.uploads.parts[1:])) == shop.state[made]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--to", "a", "--to", "b"], "two folders"),
        (["--to", ""], "is empty"),
        (["--to", "postgresql://h/x"], "holds none"),
        (["--to", "postgresql://h:99999/x"], "port"),
        (["--to", "${NOT_SET}"], "NOT_SET"),
        (["--only", "public.orders"], "not clear which database"),
        (["--to", "postgresql://h/x", "--only", "/a"], "no --to is a folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_does_not_fit_together(shop: Shop, arguments: list[str], sentence: str) -> None:
    shop.create()
    assert sentence in told(shop.cli("restore", "--backup", "shop@latest", *arguments, code=2))


def test_several_destinations_each_failing_alone(shop: Shop) -> None:
    second = shop.cli.folder / "second"
    places = [{"type": "local", "config": {"path": path}} for path in ("./backups", str(second))]
    made = shop.create(destinations=places)
    assert [place["status"] for place in made["destinations"]] == ["succeeded", "succeeded"]
    manifests = [
        sorted(path.read_bytes() for path in (root / "manifests").iterdir()) for root in (shop.repository, second)
    ]
    assert manifests[0] == manifests[1]
    (point,) = shop.points()
    assert len(point["destinations"]) == 2
    gone = second.rename(second.with_name("unmounted"))
    half = shop.create("--config", "shop", code=3)
    assert half["status"] == "warning"
    assert [place["status"] for place in half["destinations"]] == ["succeeded", "failed"]
    assert "is not there" in half["destinations"][1]["error"]
    assert not second.exists()
    needs_two = shop.write(destinations=places, minCopies=2)
    failed = shop.cli("create", "--file", needs_two, "--json", code=1)
    assert (failed.json["status"], failed.json["backupId"]) == ("failed", None)
    assert "is not there" in told(failed)
    gone.rename(second)
    assert shop.create("--config", "shop")["status"] == "succeeded"
    shutil.rmtree(shop.repository)
    restored = shop.restore(made["backupId"], code=3)  # all of it, and a word about the place that is gone
    assert snapshot(restored) == shop.state[made["backupId"]]


def test_one_place_under_two_names_is_refused(shop: Shop) -> None:
    places = [{"type": "local", "config": {"path": path}} for path in ("./backups", "backups/")]
    outcome = shop.cli("create", "--file", shop.write(destinations=places), code=2)
    assert "same place" in told(outcome)
    assert not shop.repository.exists()


def test_damage_is_found_named_and_recorded(shop: Shop) -> None:
    made = shop.create()["backupId"]
    assert list(shop.cli("verify", "--json", code=0).json) == VERIFIED
    (verified,) = shop.points()
    assert verified["verifiedAt"]
    pack = max((shop.repository / "packs").rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0)
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.write_bytes(data)
    outcome = shop.cli("verify", "--backup", made, "--json", code=6)
    assert "Damage was found" in told(outcome)
    answer = outcome.json
    assert (answer["status"], answer["backupsChecked"]) == ("failed", 1)
    error = answer["errors"][0]
    assert list(error) == ["destination", "object", "kind", "reason", "backups", "files"]
    assert (error["destination"], error["kind"], error["backups"]) == ("./backups", "corrupt", [made])
    (point,) = shop.points()
    assert [copy["status"] for copy in point["destinations"]] == ["damaged"]
    lost = shop.cli("restore", "--backup", made, "--to", "partly", "--json", code=1).json
    assert lost["status"] == "failed"
    assert {problem["kind"] for problem in lost["problems"]} == {"lost"}
    assert lost["files"]["unreadable"] == len(lost["problems"]) == 12


def test_a_deleted_restore_point_is_missed(shop: Shop) -> None:
    first, second = (shop.create()["backupId"] for _ in range(2))
    newest = max((shop.repository / "manifests").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    newest.unlink()
    outcome = shop.cli("verify", "--all", "--json", code=6)
    (error,) = outcome.json["errors"]
    assert (error["kind"], error["backups"], error["object"]) == ("deleted", [second], f"manifests/{newest.name}")
    shop.cli("verify", "--backup", first, code=0)
    states = {point["backupId"]: [copy["status"] for copy in point["destinations"]] for point in shop.points()}
    assert states == {first: ["present"], second: ["lost"]}


def test_a_share_of_the_data_verifies_nobody(shop: Shop) -> None:
    shop.create()
    shop.cli("verify", "--read-data", "10", code=0)
    (point,) = shop.points()
    assert point["verifiedAt"] is None
    assert "nothing to verify" in told(shop.cli("verify", env={"HOLDFAST_HOME": str(shop.cli.folder / "new")}, code=10))


def test_a_lost_database_is_filled_again(shop: Shop) -> None:
    made = [shop.create()["backupId"] for _ in range(2)]
    for path in shop.cli.home.glob("holdfast.db*"):
        path.unlink()
    found = shop.cli("create", "--file", shop.write(), "--json", code=0)
    assert all(backup in found.stderr for backup in made)
    assert found.json["type"] == "incremental"
    shop.check()


def test_destinations_by_name(shop: Shop) -> None:
    added = shop.cli("destination", "add", "nas", "--path", "nas", "--json", code=0).json
    assert (added["name"], added["type"], added["restorePointsFound"]) == ("nas", "local", [])
    assert (shop.cli.home / "nas" / "holdfast.json").exists()
    made = shop.create(destinations=[{"ref": "nas"}])
    assert made["destinations"][0]["name"] == "nas"
    assert shop.cli("destination", "test", "nas", "--json", code=0).json["usable"] is True
    assert "Did you mean nas" in shop.cli("destination", "test", "nass", code=10).stderr
    assert "There is no destination" in told(
        shop.cli("create", "--file", shop.write(destinations=[{"ref": "no"}]), code=10)
    )
    assert "already" in told(shop.cli("destination", "add", "nas", "--path", "other", code=1))
    assert "already" in told(shop.cli("destination", "add", "other", "--path", "./nas", code=1))
    assert shop.cli("destination", "add", "x", "--path", "a", "--bucket", "b", code=2).output == b""
    assert [place["name"] for place in json.loads(shop.cli("destination", "list", "--json", code=0).stdout)] == ["nas"]


def test_a_repository_that_was_moved_keeps_its_history(shop: Shop) -> None:
    first = shop.create()["backupId"]
    moved = shop.repository.rename(shop.cli.folder / "moved")
    second = shop.create(destinations=[{"type": "local", "config": {"path": str(moved)}}])
    assert second["files"]["unchanged"] == 12
    assert [point["backupId"] for point in shop.points()] == [second["backupId"], first]
    assert len(shop.cli("list", "--destinations", "--json", code=0).json) == 1
    shop.check()

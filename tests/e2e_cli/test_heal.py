"""Two destinations that help each other: a restore takes what one lacks from the other, and `destination sync` makes
them equal again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.e2e_cli.shop import Shop
from tests.support.command import Outcome
from tests.support.trees import snapshot

PLACES = [{"type": "local", "config": {"path": "./near"}}, {"type": "local", "config": {"path": "./far"}}]


@pytest.fixture
def pair(shop: Shop) -> Shop:
    """A shop with two destinations, and one restore point at both."""
    shop.cli("create", "--file", shop.write(destinations=PLACES), code=0)
    return shop


def place(shop: Shop, name: str) -> Path:
    return shop.cli.home / name


def packs(shop: Shop, name: str) -> list[Path]:
    found = (place(shop, name) / "packs").rglob("*/*")
    return sorted(found, key=lambda path: path.stat().st_size, reverse=True)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def blank(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def restored(shop: Shop, out: Path, *arguments: str, code: int) -> Outcome:
    outcome = shop.cli("restore", "--backup", "shop@latest", "--to", out, "--json", *arguments, code=code)
    assert snapshot(out / str(shop.uploads).lstrip("/")) == snapshot(shop.uploads)
    return outcome


def test_a_restore_takes_damaged_packs_from_the_other_destination_and_says_so(pair: Shop, tmp_path: Path) -> None:
    for path in packs(pair, "near"):
        flip(path)
    outcome = restored(pair, tmp_path / "out", code=3)
    (problem,) = outcome.json["problems"]
    assert problem["kind"] == "destination"
    assert problem["path"] == "./near"
    assert "damaged or missing at ./near and taken from ./far" in problem["reason"]
    assert outcome.json["status"] == "warning"


@pytest.mark.parametrize("gone", ["packs", "everything"])
def test_a_restore_takes_what_is_gone_from_the_other_destination(pair: Shop, tmp_path: Path, gone: str) -> None:
    shutil.rmtree(place(pair, "near") / ("packs" if gone == "packs" else ""))
    outcome = restored(pair, tmp_path / "out", code=3)
    assert "taken from ./far" in outcome.json["problems"][0]["reason"]


def test_what_is_damaged_at_both_is_lost_and_told(pair: Shop, tmp_path: Path) -> None:
    for name in ("near", "far"):
        for path in packs(pair, name):
            flip(path)
    outcome = pair.cli("restore", "--backup", "shop@latest", "--to", tmp_path / "out", "--json")
    assert outcome.code in (1, 6)
    assert outcome.json["status"] == "failed"


def test_get_and_ls_fall_over_and_say_so(pair: Shop) -> None:
    for path in packs(pair, "near"):
        blank(path)
    outcome = pair.cli("ls", "shop@latest", str(pair.uploads), code=0)
    assert "taken from ./far" in outcome.stderr
    name = next(path for path in sorted(pair.uploads.rglob("*")) if path.is_file() and path.stat().st_size)
    outcome = pair.cli("get", "shop@latest", str(name), "-o", "-", code=0)
    assert outcome.output == name.read_bytes()
    assert "taken from ./far" in outcome.stderr


def test_sync_copies_what_a_destination_missed(pair: Shop, tmp_path: Path) -> None:
    far = place(pair, "far")
    far.rename(tmp_path / "unplugged")
    pair.fill(2)
    pair.cli("create", "--config", "shop", code=3)
    pair.fill(3)
    newest = pair.cli("create", "--config", "shop", "--json", code=3).json["backupId"]
    (tmp_path / "unplugged").rename(far)
    planned = pair.cli("destination", "sync", "./far", "--dry-run", "--json", code=0).json
    (there,) = planned["destinations"]
    assert planned["dryRun"] is True
    assert len(there["missing"]) == 2
    assert there["copied"]["restorePoints"] == []
    done = pair.cli("destination", "sync", "./far", "--json", code=0).json
    assert (done["kind"], done["status"], done["problems"], done["error"]) == ("sync", "succeeded", [], None)
    (copied,) = [each["copied"] for each in done["destinations"]]
    assert sorted(copied["restorePoints"]) == sorted(there["missing"])
    assert copied["packs"] > 0
    shown = pair.cli("show", newest, "--json", code=0).json
    assert {each["name"]: each["status"] for each in shown["destinations"]} == {"./near": "present", "./far": "present"}
    shutil.rmtree(place(pair, "near"))
    restored(pair, tmp_path / "out", code=3)
    again = pair.cli("destination", "sync", "./far", "--from", "./near")
    assert again.code == 1
    assert "near" in again.stderr


def test_sync_of_everything_goes_both_ways(pair: Shop, tmp_path: Path) -> None:
    for name in ("far", "near"):
        place(pair, name).rename(tmp_path / name)
        pair.cli("create", "--config", "shop", code=3)
        (tmp_path / name).rename(place(pair, name))
        pair.fill(2)
    outcome = pair.cli("destination", "sync", code=0)
    assert "./near: 1 restore point copied" in outcome.stdout or "./far: 1 restore point copied" in outcome.stdout
    again = pair.cli("destination", "sync", code=0).stdout
    assert again.splitlines() == ["./far: up to date", "./near: up to date"]
    assert "sync" in pair.cli("list", "--runs", code=0).stdout


def test_repair_makes_verify_content_again(pair: Shop, tmp_path: Path) -> None:
    flip(packs(pair, "near")[0])
    next((place(pair, "near") / "index").iterdir()).unlink()
    flip(next((place(pair, "near") / "heads").iterdir()))
    damaged = packs(pair, "near")[0]
    pair.cli("verify", code=6)
    done = pair.cli("destination", "sync", "./near", "--repair", code=0)
    assert f"{damaged.name} is there again" in done.stdout
    assert f"set aside as quarantine/{damaged.name}" in done.stdout
    assert "is corrupt: taken again from ./far" in done.stderr
    pair.cli("verify", code=0)
    restored(pair, tmp_path / "out", code=0)
    assert (place(pair, "near") / "quarantine" / damaged.name).is_file()
    # What was put back is trusted again: nothing is stored anew.
    assert pair.cli("create", "--config", "shop", "--json", code=0).json["bytes"]["new"] < 5_000


def test_repair_without_another_destination(shop: Shop, tmp_path: Path) -> None:
    """From the source where its files are unchanged; what has changed since is lost, and told by name."""
    shop.cli("create", "--file", shop.write(), code=0)
    backups = shop.repository
    for path in sorted((backups / "packs").rglob("*/*"), key=lambda path: path.stat().st_size)[-1:]:
        flip(path)
    shop.cli("destination", "sync", "--repair", code=0)
    shop.cli("verify", code=0)
    restored(shop, tmp_path / "out", code=0)
    for path in sorted((backups / "packs").rglob("*/*"), key=lambda path: path.stat().st_size)[-1:]:
        flip(path)
    for path in shop.uploads.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.touch()
    outcome = shop.cli("destination", "sync", "--repair", "--json", code=6)
    (lost,) = [each["lost"] for each in outcome.json["destinations"]]
    assert lost
    assert all(file.startswith(str(shop.uploads)) for each in lost for file in each["files"])
    assert shop.cli("verify", code=6)


def test_a_damaged_description_is_written_anew_but_an_empty_place_is_not(pair: Shop, tmp_path: Path) -> None:
    description = place(pair, "near") / "holdfast.json"
    original = description.read_bytes()
    flip(description)
    pair.cli("destination", "sync", "./near", "--repair", code=0)
    assert description.read_bytes() == original
    pair.cli("verify", code=0)
    place(pair, "near").rename(tmp_path / "unplugged")
    place(pair, "near").mkdir()
    outcome = pair.cli("destination", "sync", "./near", "--repair", code=1)
    assert "holds no repository" in outcome.stderr
    assert list(place(pair, "near").iterdir()) == []


def test_an_emptied_destination_is_told_once_and_the_other_is_sound(pair: Shop) -> None:
    shutil.rmtree(place(pair, "far"))
    place(pair, "far").mkdir()
    outcome = pair.cli("destination", "sync", code=1)
    assert (outcome.stdout + outcome.stderr).count("holds no repository") == 1
    assert "./near: No other destination can be read" in outcome.stdout
    outcome = pair.cli("verify", "--all", code=1)
    assert "./near is sound; restore points checked there: 1." in outcome.stderr


def test_a_plan_is_told_once(pair: Shop) -> None:
    damaged = packs(pair, "near")[0]
    flip(damaged)
    outcome = pair.cli("destination", "sync", "./near", "--repair", "--dry-run", code=0)
    assert (outcome.stdout + outcome.stderr).count(damaged.name) == 1
    assert "taken again from ./far" in outcome.stdout


def test_attach_tells_that_a_known_place_keeps_its_name(pair: Shop) -> None:
    outcome = pair.cli("destination", "attach", "another", "--path", place(pair, "near"), code=0)
    assert "known here as ./near, and keeps that name" in outcome.stderr
    assert outcome.stdout.startswith("./near: attached")


def test_bad_input(pair: Shop, tmp_path: Path) -> None:
    for arguments, code, sentence in (
        (["nowhere"], 10, "There is no destination nowhere"),
        (["./far", "--from", "nowhere"], 10, "There is no destination nowhere"),
        (["./far", "--from", "./far"], 2, "cannot be brought up to date from itself"),
        (["./far", "--config", "none"], 10, "none"),
    ):
        outcome = pair.cli("destination", "sync", *arguments, code=code)
        assert sentence in outcome.stderr
    outcome = pair.cli("restore", "--backup", "shop@latest", "--to", tmp_path / "out", "--jobs", "2", code=2)
    assert "--jobs is for PostgreSQL databases" in outcome.stderr
    for jobs in ("0", "-1", "many"):
        assert "--jobs" in pair.cli("restore", "--backup", "shop@latest", "--jobs", jobs, code=2).stderr
    assert not (tmp_path / "out").exists()


def test_one_destination_alone_has_nothing_to_copy(shop: Shop) -> None:
    shop.cli("create", "--file", shop.write(), code=0)
    assert "not two destinations" in shop.cli("destination", "sync", code=2).stderr


def test_a_source_that_is_damaged_gives_what_it_has(pair: Shop, tmp_path: Path) -> None:
    """The restore point that needs the damage is named; the others are copied."""
    place(pair, "far").rename(tmp_path / "unplugged")
    pair.fill(2)
    broken = pair.cli("create", "--config", "shop", "--json", code=3).json["backupId"]
    (tmp_path / "unplugged").rename(place(pair, "far"))
    known = {path.name for path in packs(pair, "far")}
    for path in [path for path in packs(pair, "near") if path.name not in known]:
        blank(path)
    outcome = pair.cli("destination", "sync", "./far", "--json", code=3)
    assert [problem["path"] for problem in outcome.json["problems"]] == [broken]
    assert outcome.json["destinations"][0]["status"] == "warning"

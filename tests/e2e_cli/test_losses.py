"""What no repair can make whole is given up by name: then `verify` is content again, and the loss is still told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine import ids
from engine.repository import layout
from tests.e2e_cli.shop import Shop, told

PLACES = [{"type": "local", "config": {"path": path}} for path in ("./backups", "./far")]


@pytest.fixture
def pair(shop: Shop) -> list[str]:
    """Two restore points at one destination; the second has all files anew, but for one folder."""
    first = shop.create()["backupId"]
    shop.fill(2)
    return [first, shop.create("--config", "shop")["backupId"]]


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def manifest(shop: Shop, backup: str, place: str = "backups") -> Path:
    return shop.cli.home / place / layout.manifest(ids.parse("bk", backup))


def spoil_first(shop: Shop) -> None:
    """Damages a pack that the first restore point needs, when the source no longer has what lies in it."""
    for path in shop.uploads.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.touch()
    packs = sorted((shop.repository / "packs").rglob("*/*"), key=lambda path: path.stat().st_mtime_ns)
    flip(max(packs[:2], key=lambda path: path.stat().st_size))


def repair(shop: Shop, *arguments: str, code: int) -> Any:
    return shop.cli("destination", "sync", "./backups", "--repair", *arguments, "--json", code=code).json


def accept(shop: Shop, *backups: str, code: int = 0) -> Any:
    given = [part for backup in backups for part in ("--accept-loss", backup)]
    return repair(shop, *given, "--confirm", "./backups", code=code)


def test_a_restore_point_is_given_up_by_name(shop: Shop, pair: list[str]) -> None:
    spoil_first(shop)
    (place,) = repair(shop, code=6)["destinations"]
    hit = sorted({backup for each in place["lost"] for backup in each["backups"]})
    assert pair[0] in hit
    options = [part for backup in hit for part in ("--accept-loss", backup)]
    assert "is given up at ./backups" in told(
        shop.cli("destination", "sync", "./backups", "--repair", *options, code=5)
    )
    shop.cli("verify", code=6)
    (place,) = accept(shop, *hit)["destinations"]
    assert (sorted(place["givenUp"]), place["lost"]) == (hit, [])
    assert shop.cli("verify", "--json", code=0).json["backupsChecked"] == 2 - len(hit)
    shop.cli("create", "--config", "shop", code=0)
    shop.cli("verify", code=0)
    # The loss is told as long as anybody asks.
    (copy,) = next(each for each in shop.points() if each["backupId"] == hit[0])["destinations"]
    assert (copy["status"], copy["removalReason"][:6]) == ("lost", "lost: ")
    assert "Given up at ./backups on" in shop.cli("show", hit[0], code=0).stdout
    assert "were given up as lost" in shop.cli("doctor").stdout
    assert "was given up: lost: " in told(shop.cli("verify", "--backup", hit[0], code=6))
    noted = shop.cli("audit", "list", "--json", code=0).json["entries"]
    assert {each["object"] for each in noted if each["action"] == "backup.given_up"} == set(hit)


def test_a_clean_up_goes_on_after_a_restore_point_was_given_up(shop: Shop) -> None:
    """Its directories are gone: until somebody accepts that, nothing at all may be deleted."""
    lost = shop.create(retention={"last": 1, "keepMin": 1})["backupId"]
    for path in (shop.repository / "packs").rglob("*/*"):
        flip(path)
    shop.cli("verify", code=6)
    shop.fill(2)
    shop.create("--config", "shop")
    repair(shop, code=6)
    assert "failed" in shop.cli("cleanup", code=6).stdout
    accept(shop, lost)
    assert lost in shop.cli("cleanup", "--dry-run", code=0).stdout
    shop.cli("cleanup", "--now", "--confirm", "shop", code=0)
    assert not manifest(shop, lost).exists()
    del shop.state[lost]
    shop.check()
    assert [each["backupId"] for each in shop.points()][-1] == lost


def test_what_is_whole_is_not_given_up(shop: Shop, pair: list[str]) -> None:
    answer = accept(shop, pair[0], code=3)
    assert answer["destinations"][0]["givenUp"] == []
    assert [(each["path"], each["reason"][:14]) for each in answer["problems"]] == [(pair[0], "is not damaged")]
    shop.cli("verify", code=0)
    for arguments, code, sentence in (
        (["./backups", "--accept-loss", pair[0]], 2, "goes with NAME and --repair"),
        (["--repair", "--accept-loss", pair[0]], 2, "goes with NAME and --repair"),
        (["./backups", "--repair", "--accept-loss", "bk_nothing"], 10, "There is no restore point"),
    ):
        assert sentence in shop.cli("destination", "sync", *arguments, code=code).stderr


@pytest.mark.parametrize("how", ["damaged", "deleted"])
def test_a_manifest_that_is_gone_is_given_up(shop: Shop, pair: list[str], how: str) -> None:
    path = manifest(shop, pair[0])
    flip(path) if how == "damaged" else path.unlink()
    repair(shop, code=6)
    # The repair told of it, so the next run need not.
    assert shop.cli("create", "--config", "shop", "--json", code=0).json["problems"] == []
    (error,) = shop.cli("verify", "--json", code=6).json["errors"]
    assert (error["kind"], error["backups"]) == ("missing" if how == "damaged" else "deleted", [pair[0]])
    assert accept(shop, pair[0])["destinations"][0]["givenUp"] == [pair[0]]
    shop.cli("verify", code=0)
    assert shop.cli("create", "--config", "shop", "--json", code=0).json["problems"] == []
    shop.cli("cleanup", code=0)
    assert "lost: manifests/" in shop.cli("show", pair[0], code=3).stdout


@pytest.mark.parametrize("harm", [flip, Path.unlink], ids=["damaged", "deleted"])
def test_tombstones_come_back_as_they_are_remembered(shop: Shop, pair: list[str], harm: Any) -> None:
    manifest(shop, pair[0]).unlink()
    accept(shop, pair[0])
    (note,) = (shop.repository / "tombstones").iterdir()
    harm(note)
    shop.cli("verify", code=6)
    (place,) = repair(shop, code=0)["destinations"]
    assert place["repaired"]["putBack"] == [f"tombstones/{note.name}"]
    shop.cli("verify", code=0)


def test_after_a_good_repair_the_first_verify_is_content(shop: Shop) -> None:
    backup = shop.create(destinations=PLACES)["backupId"]
    manifest(shop, backup).unlink()
    assert repair(shop, code=0)["destinations"][0]["copied"]["restorePoints"] == [backup]
    shop.cli("verify", code=0)
    (shop.repository / "RECOVER.md").unlink()
    repair(shop, code=0)
    assert (shop.repository / "RECOVER.md").is_file()

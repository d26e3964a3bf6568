"""Keys that are wrong, short, missing or damaged; keyrings that are lost; repositories of somebody else."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.e2e_cli.shop import Shop, told

OTHER = "ab" * 32
CODE = re.compile(r"(?:[A-Z2-7]{4}-\s*){13}[A-Z2-7]{4}")


def test_the_first_backup_makes_key_and_recovery_code_once(shop: Shop) -> None:
    first = shop.cli("create", "--file", shop.write(), code=0)
    key = shop.cli.home / "backup.key"
    assert str(key) in first.stderr
    assert key.stat().st_mode & 0o777 == 0o600
    (code,) = CODE.findall(first.stderr)
    assert "is not shown again" in first.stderr
    letters = "".join(code.split()).replace("-", "").encode()
    second = shop.cli("create", "--config", "shop", code=0)
    assert not CODE.search(second.stderr + second.stdout)
    for path in shop.cli.home.rglob("*"):
        assert not path.is_file() or (letters not in path.read_bytes() and code.encode() not in path.read_bytes())
    slots = shop.cli("key", "slots", "--json", code=0).json
    assert [(slot["kind"], slot["places"]) for slot in slots] == [
        ("recovery-code", ["home", "./backups"]),
        ("service", ["home", "./backups"]),
    ]
    local = {path.name: path.read_bytes() for path in (shop.cli.home / "keys").glob("[!.]*")}
    assert {path.name: path.read_bytes() for path in (shop.repository / "keys").iterdir()} == local


@pytest.mark.parametrize(
    "command",
    [["create", "--config", "shop"], ["verify"], ["restore", "--backup", "shop@latest"], ["show", "shop@latest"]],
    ids=lambda command: command[0],
)
def test_a_wrong_key(shop: Shop, command: list[str]) -> None:
    shop.create()
    before = _content(shop.repository)
    outcome = shop.cli(*command, env={"BACKUP_ENCRYPTION_KEY": OTHER}, code=12)
    assert "The key in BACKUP_ENCRYPTION_KEY is not the one" in told(outcome)
    assert OTHER not in str(outcome)
    assert _content(shop.repository) == before
    shop.check()


def test_a_short_key(shop: Shop) -> None:
    outcome = shop.cli("create", "--file", shop.write(), env={"BACKUP_ENCRYPTION_KEY": "abc"}, code=2)
    assert "64 hexadecimal digits" in outcome.stderr
    assert not shop.cli.home.exists()


def test_a_missing_key_is_never_replaced(shop: Shop) -> None:
    shop.create()
    key = shop.cli.home / "backup.key"
    kept = key.rename(key.with_name("kept"))
    for command in (["create", "--config", "shop"], ["verify"], ["restore", "--backup", "shop@latest"]):
        assert "There is no encryption key" in told(shop.cli(*command, code=12))
    assert not key.exists()
    key.write_text("nonsense")
    assert "does not hold exactly 64" in shop.cli("create", "--config", "shop", code=2).stderr
    kept.rename(key)
    assert shop.create("--config", "shop")["files"]["unchanged"] == 12
    shop.check()


def test_a_lost_keyring_is_taken_back_from_a_destination(shop: Shop) -> None:
    shop.create()
    shutil.rmtree(shop.cli.home / "keys")
    found = shop.cli("create", "--config", "shop", "--json", code=0)
    assert "taken over from" in found.stderr
    assert found.json["files"]["unchanged"] == 12
    shutil.rmtree(shop.cli.home / "keys")
    hidden = shop.repository.rename(shop.cli.folder / "hidden")
    assert "is gone, and no destination" in told(shop.cli("create", "--config", "shop", code=12))
    assert not shop.repository.exists()
    hidden.rename(shop.repository)
    shop.check()


def test_a_lost_home_is_found_again_with_the_key_alone(shop: Shop, tmp_path: Path) -> None:
    shop.cli.environment["BACKUP_ENCRYPTION_KEY"] = "cd" * 32
    places = [{"type": "local", "config": {"path": str(tmp_path / "nas")}}]
    first = shop.create(destinations=places)["backupId"]
    shutil.rmtree(shop.cli.home)
    outcome = shop.cli("create", "--file", shop.write(destinations=places), "--json", code=0)
    assert not CODE.search(outcome.stderr)
    assert first in outcome.stderr
    assert outcome.json["files"]["unchanged"] == 12
    shop.check()


def test_the_repository_of_another_installation_is_left_alone(shop: Shop, tmp_path: Path) -> None:
    places = [{"type": "local", "config": {"path": str(tmp_path / "nas")}}]
    shop.create(destinations=places)
    before = _content(tmp_path / "nas")
    stranger = {"HOLDFAST_HOME": str(tmp_path / "stranger"), "BACKUP_ENCRYPTION_KEY": OTHER}
    first = shop.cli("create", "--file", shop.write(destinations=places), env=stranger, code=12)
    assert "another installation" in told(first)
    shop.cli("create", "--file", shop.write(id="own"), env=stranger, code=0)
    second = shop.cli("create", "--file", shop.write(destinations=places), env=stranger, code=12)
    assert "another installation" in told(second)
    assert "another installation" in told(
        shop.cli("destination", "add", "x", "--path", tmp_path / "nas", env=stranger, code=12)
    )
    assert _content(tmp_path / "nas") == before
    shop.check()


def test_half_a_keyring_without_a_repository_is_replaced(shop: Shop) -> None:
    keys = shop.cli.home / "keys"
    keys.mkdir(parents=True)
    (keys / ("0" * 32)).write_bytes(b"half")
    shop.create()
    assert len(list(keys.glob("[!.]*"))) == 2
    shop.check()


def test_keys_are_changed(shop: Shop, tmp_path: Path) -> None:
    shop.create()
    old = (shop.cli.home / "backup.key").read_text().strip()
    assert "exist" in shop.cli("key", "rotate", "--new-key-file", "nothing", code=2).stderr
    assert "present one" in told(shop.cli("key", "rotate", env={"BACKUP_ENCRYPTION_KEY_NEW": old}, code=2))
    assert "64 hexadecimal" in told(shop.cli("key", "rotate", "--new-key-file", "-", input="short\n", code=2))
    (tmp_path / "new.key").write_text(OTHER)
    outcome = shop.cli("key", "rotate", "--new-key-file", tmp_path / "new.key", "--json", code=0)
    assert outcome.json == {"epoch": 2, "waiting": {}}
    assert len(CODE.findall(outcome.stderr)) == 1
    assert old not in str(outcome)
    assert OTHER not in str(outcome)
    slots = shop.cli("key", "slots", "--json", code=0).json
    assert [(each["kind"], each["old"]) for each in slots] == [("recovery-code", False), ("service", False)]
    assert "is not the one" in told(shop.cli("verify", env={"BACKUP_ENCRYPTION_KEY": old}, code=12))
    assert shop.create("--config", "shop")["files"]["unchanged"] == 12
    shop.check()


def test_the_recovery_kit(shop: Shop, tmp_path: Path) -> None:
    assert "Nothing was backed up" in told(shop.cli("key", "kit", code=10))
    shop.create()
    shop.cli("key", "kit", "-o", tmp_path / "kit.html", code=0)
    assert (tmp_path / "kit.html").read_text().startswith("<!doctype html>")
    assert (tmp_path / "kit.html").stat().st_mode & 0o777 == 0o600
    before = shop.cli("key", "slots", "--json", code=0).json
    assert "exists already" in told(shop.cli("key", "kit", "-o", tmp_path / "kit.html", code=2))
    assert shop.cli("key", "slots", "--json", code=0).json == before
    (code,) = CODE.findall(shop.cli("key", "kit", "-o", "-", code=0).stdout)  # as without -o
    assert "56 letters" in told(shop.cli("key", "kit", "--confirm", input="AAAA\n", code=12))
    shop.cli("key", "kit", "--confirm", input="".join(code.split()) + "\n", code=0)
    assert shop.cli("doctor", code=0)
    shop.cli("key", "kit", "--confirm", input=f"{code}\nnot read\n", code=0)  # in two lines, as on the page
    shop.cli("key", "kit", "--confirm", "-o", "x", code=2)
    shown = shop.cli("key", "kit", "--keep-code", input="".join(code.split()) + "\n", code=0).stdout
    assert CODE.findall(shown) == [code]
    assert len(CODE.findall(shop.cli("key", "rotate", "--recovery-code", code=0).stderr)) == 1
    assert "not the present one" in told(
        shop.cli("key", "kit", "--confirm", input="".join(code.split()) + "\n", code=12)
    )
    shop.check()


def _content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

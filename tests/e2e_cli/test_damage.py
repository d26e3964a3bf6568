"""Damage at a destination: found, named, and made good by the next backup of data that is still there."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.command import CommandLine


def test_a_new_backup_stores_again_what_is_damaged(cli: CommandLine, tmp_path: Path) -> None:
    source = tmp_path / "uploads"
    source.mkdir()
    (source / "big").write_bytes(os.urandom(3_000_000))
    (source / "small").write_bytes(b"x" * 1000)
    env = {"UPLOAD_DIR": str(source)}
    cli("create", "--type", "files", env=env, code=0)
    path = max((cli.home / "backups" / "packs").rglob("*/*"), key=lambda path: path.stat().st_size)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    found = cli("verify", "--json", code=6).json
    assert [error["kind"] for error in found["errors"]] == ["corrupt"]
    made = cli("create", "--type", "files", "--json", env=env, code=0).json
    assert made["bytes"]["new"] > 500_000  # what was in the damaged pack
    errors = cli("verify", "--backup", made["backupId"], "--json").json["errors"]
    assert not any(made["backupId"] in error["backups"] for error in errors)
    outcome = cli("restore", "--backup", made["backupId"], "--to", str(tmp_path / "out"), "--verify", code=0)
    assert outcome.code == 0
    restored = tmp_path / "out" / str(source).lstrip("/")
    assert (restored / "big").read_bytes() == (source / "big").read_bytes()
    again = cli("verify", "--all", code=6)
    assert "0 restore points" not in again.stdout


def test_a_damaged_description_is_told_by_name(cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "uploads").mkdir()
    (tmp_path / "uploads" / "file").write_bytes(b"x")
    cli("create", "--type", "files", env={"UPLOAD_DIR": str(tmp_path / "uploads")}, code=0)
    with (cli.home / "backups" / "holdfast.json").open("ab") as file:
        file.write(b"junk")
    (found,) = cli("verify", "--json", code=6).json["errors"]
    assert (found["object"], found["kind"], found["backups"]) == ("holdfast.json", "corrupt", [])


def test_the_same_database_twice_is_refused(cli: CommandLine, tmp_path: Path) -> None:
    import json

    url = "postgresql://nobody@127.0.0.1:9/shop"
    document = {
        "id": "twice",
        "name": "Twice",
        "type": "database",
        "sources": {"databases": [{"url": url}, {"url": url}]},
        "destinations": [{"type": "local", "config": {"path": "./b"}}],
    }
    (tmp_path / "twice.json").write_text(json.dumps(document))
    assert cli("create", "--file", str(tmp_path / "twice.json")).code != 0

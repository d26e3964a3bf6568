"""A destination that a newer Holdfast has written is refused by every command, with a sentence, and stays as it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine import crypto, keyring
from engine.repository import layout, repository
from engine.storage.local import LocalStorage
from tests.support.command import CommandLine
from tests.support.forked import ForkedCommandLine


@pytest.fixture
def place(cli: CommandLine) -> Path:
    """A repository with one restore point, whose description says format 2, properly sealed."""
    uploads = cli.folder / "uploads"
    uploads.mkdir()
    (uploads / "file").write_text("content")
    config = {
        "id": "shop",
        "name": "Shop",
        "type": "files",
        "sources": {"paths": [{"path": str(uploads)}]},
        "destinations": [{"type": "local", "config": {"path": str(cli.folder / "place")}}],
    }
    (cli.folder / "shop.json").write_text(json.dumps(config))
    cli("create", "--file", "shop.json", code=0)
    made, path = cli.folder / "place", cli.folder / "place" / layout.DESCRIPTION
    secret = bytes.fromhex((cli.home / "backup.key").read_text().strip())
    keys = keyring.unlock(repository.read_slots(LocalStorage(made)), keyring.SERVICE, secret)
    document = json.loads(path.read_bytes()) | {"format": 2, "createdBy": "holdfast 9.0"}
    del document["checksum"], document["mac"]
    document["mac"] = crypto.keyed_hash(keys.description_key, keyring.canonical(document)).hex()
    path.write_bytes(keyring.with_checksum(document))
    return made


def test_every_command_refuses_it(cli: CommandLine, place: Path, tmp_path: Path) -> None:
    (known,) = cli("destination", "list", "--json", code=0).json
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    another = ForkedCommandLine(tmp_path / "another")
    another.environment["BACKUP_ENCRYPTION_KEY"] = (cli.home / "backup.key").read_text().strip()
    commands: list[tuple[CommandLine, tuple[str, ...]]] = [
        (cli, ("create", "--config", "shop")),
        (cli, ("verify", "--all")),
        (cli, ("restore", "--backup", "shop@latest", "--to", str(tmp_path / "out"))),
        (cli, ("destination", "test", known["name"])),
        (cli, ("destination", "sync", known["name"], "--repair")),
        (cli, ("cleanup",)),
        (another, ("destination", "attach", "old", "--path", str(place))),
        (another, ("destination", "add", "old", "--path", str(place))),
    ]
    for line, arguments in commands:
        outcome = line(*arguments)
        assert outcome.code not in (0, 130), (arguments, outcome)
        assert "has format 2; this Holdfast reads format 1" in outcome.stderr, (arguments, outcome)
        assert "Use a newer Holdfast" in outcome.stderr, (arguments, outcome)
        assert "Traceback" not in outcome.stderr, (arguments, outcome)
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before
    assert not (tmp_path / "out").exists()

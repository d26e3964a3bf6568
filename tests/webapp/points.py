"""Restore points made by the real command line, for the tests of what lists, shows and reads them."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.command import CommandLine
from tests.webapp.support import document


@dataclass
class Shop:
    """A command line with a folder to back up."""

    cli: CommandLine
    source: Path

    @staticmethod
    def at(cli: CommandLine) -> Shop:
        """With an empty source folder beside the folder where commands are typed."""
        source = cli.folder.parent / "source"
        source.mkdir()
        return Shop(cli, source)

    def configure(self, config_id: str = "shop", *, places: tuple[str, ...] = ("backups",), **changes: Any) -> str:
        """Stores a configuration of type files for the source folder, with changes; its id.

        `places` are folders below the home: its destinations."""
        whole = document(
            **{
                "id": config_id,
                "type": "files",
                "sources": {"paths": [{"path": str(self.source)}]},
                "destinations": [{"type": "local", "config": {"path": name}} for name in places],
                **changes,
            }
        )
        path = self.cli.folder.parent / f"{config_id}.json"
        path.write_text(json.dumps(whole))
        self.cli("config", "import", path, code=0)
        path.unlink()
        return config_id

    def create(self, config_id: str = "shop", *options: str, code: int = 0) -> str:
        """Backs up; the id of the restore point."""
        made = self.cli("create", "--config", config_id, "--json", *options, code=code).json
        return str(made["backupId"])

    def path(self, name: str | bytes = "") -> str:
        """An entry of the source folder as it is typed."""
        return os.fsdecode(os.path.join(os.fsencode(self.source), os.fsencode(name))).rstrip("/")


def harm(folder: Path) -> None:
    """Changes one byte in the middle of every pack of a repository."""
    for pack in sorted((folder / "packs").rglob("*")):
        if pack.is_file():
            data = bytearray(pack.read_bytes())
            data[len(data) // 2] ^= 1
            pack.chmod(0o600)
            pack.write_bytes(data)

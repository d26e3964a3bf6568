"""A user's view of one installation: a folder of uploads, configurations in files, and the commands in one line."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.command import Outcome
from tests.support.forked import ForkedCommandLine
from tests.support.trees import snapshot, write_file

KEYS = [
    "runId",
    "kind",
    "status",
    "configId",
    "backupId",
    "startedAt",
    "finishedAt",
    "durationSeconds",
    "type",
    "files",
    "databases",
    "bytes",
    "destinations",
    "problems",
    "error",
]
COUNTS = ["total", "new", "changed", "unchanged", "unreadable"]
VERIFIED = ["status", "backupsChecked", "objectsChecked", "bytesRead", "errors"]


@dataclass
class Shop:
    """`uploads` is what is backed up; `state` is what it looked like at each restore point, by id."""

    cli: ForkedCommandLine
    uploads: Path
    state: dict[str, dict[bytes, tuple[object, ...]]]

    @property
    def repository(self) -> Path:
        """Where the destination `./backups` is."""
        return self.cli.home / "backups"

    def document(self, **changes: Any) -> dict[str, Any]:
        """A configuration of the uploads; a change to `...` removes the key."""
        whole: dict[str, Any] = {
            "id": "shop",
            "name": "Shop",
            "type": "incremental",
            "sources": {"paths": [{"path": str(self.uploads)}]},
            "destinations": [{"type": "local", "config": {"path": "./backups"}}],
            **changes,
        }
        return {key: value for key, value in whole.items() if value is not ...}

    def write(self, **changes: Any) -> Path:
        """The configuration as a file."""
        document = self.document(**changes)
        path = self.cli.folder / f"{document['id']}.json"
        path.write_text(json.dumps(document))
        return path

    def create(self, *arguments: str, code: int = 0, env: dict[str, str] | None = None, **changes: Any) -> Any:
        """`create --file` with `--json`; the document. What a new restore point must hold is remembered."""
        if "--config" not in arguments:
            arguments = ("--file", str(self.write(**changes)), *arguments)
        answer = self.cli("create", *arguments, "--json", code=code, env=env).json
        if answer.get("backupId"):
            self.state[answer["backupId"]] = snapshot(self.uploads)
        return answer

    def points(self) -> list[dict[str, Any]]:
        """`list --json`."""
        listed: list[dict[str, Any]] = self.cli("list", "--json", code=0).json
        return listed

    def restore(self, backup: str, *arguments: str, code: int = 0) -> Path:
        """Restores into a new folder; the copy of the uploads in it."""
        target = self.cli.folder / f"out-{len(list(self.cli.folder.iterdir()))}"
        self.cli("restore", "--backup", backup, "--to", str(target), *arguments, code=code)
        return target.joinpath(*self.uploads.parts[1:])

    def check(self) -> None:
        """V0: verify finds nothing, every acknowledged restore point comes back as it was, and the next run works."""
        assert self.cli("verify", "--json", code=0).json["errors"] == []
        listed = {point["backupId"] for point in self.points()}
        assert set(self.state) <= listed
        for backup, wanted in self.state.items():
            assert snapshot(self.restore(backup)) == wanted

    def fill(self, seed: int, *, files: int = 12, size: int = 5_000) -> None:
        """New files, some of them changed ones."""
        rng = random.Random(seed)
        for number in range(files):
            folder = self.uploads / f"folder {number % 3}"
            folder.mkdir(exist_ok=True)
            write_file(folder / f"file {number}", rng, rng.randrange(size))


def told(outcome: Outcome) -> str:
    """The sentence of an error: exactly one, on stderr, and no traceback."""
    lines = [line for line in outcome.stderr.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1, outcome
    assert "Traceback" not in outcome.stderr, outcome
    return lines[0].removeprefix("Error: ")

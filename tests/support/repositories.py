"""An installation for engine tests: keyring, a local repository, and the verbs in one line each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from engine import compress, crypto, keyring
from engine.backup import Request, Result, backup
from engine.model.manifest import Manifest
from engine.progress import Progress, Silent
from engine.repository import repository
from engine.repository.base_cache import ROOM_BYTES
from engine.repository.check import CheckReport, check
from engine.repository.reader import open_reader
from engine.repository.repository import Repository
from engine.restore import restore_folders
from engine.sources.base import StreamSource
from engine.sources.files import Config, FilesSource
from engine.storage.base import Storage
from engine.storage.local import LocalStorage
from engine.targets.base import Restored
from engine.targets.directory import DirectoryTarget

SECRET = b"k" * 32


@dataclass
class Clock:
    """Time stands still between two looks at it, but for one second."""

    now: datetime = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


@dataclass
class Bench:
    """A keyring with one local repository below `folder`, and what tests do with it."""

    folder: Path
    keyring: keyring.Keyring = field(default_factory=keyring.Keyring.generate)
    clock: Clock = field(default_factory=Clock)

    @property
    def place(self) -> Path:
        return self.folder / "repository"

    def storage(self) -> Storage:
        return LocalStorage(self.place)

    def create(self, storage: Storage | None = None) -> Repository:
        name, data = keyring.wrap(self.keyring, keyring.SERVICE, SECRET)
        return repository.create(storage or self.storage(), self.keyring, {name: data}, program="test 1", suite=1)

    def open(self, storage: Storage | None = None) -> Repository:
        return repository.open_repository(storage or self.storage(), self.keyring, expected=None)

    def backup(
        self,
        *folders: Path | str,
        storage: Storage | None = None,
        streams: Sequence[StreamSource] = (),
        progress: Progress | None = None,
        cache: Path | None = None,
        cache_bytes: int = ROOM_BYTES,
        **changes: Any,
    ) -> Result:
        opened = self.open(storage)
        if "parent" not in changes:
            head = opened.read_head(changes.get("config_id", "test"))
            changes["parent"] = head.manifest if head else None
        sources = [FilesSource(Config(str(folder))) for folder in folders]
        request: dict[str, Any] = {
            "config_id": "test",
            "config": {"id": "test"},
            "type": "incremental",
            "streams": streams,
            "folders": sources,
            "suite": crypto.AES_256_GCM,
            "codec": compress.ZSTD,
            "tags": {},
            "program": "test 1",
            "host": "here",
        }
        return backup(
            [("one", opened)],
            Request(**(request | changes)),
            clock=self.clock,
            progress=progress or Silent(),
            spool=self.folder / "spool",
            cache=cache,
            cache_bytes=cache_bytes,
        )

    def manifests(self) -> list[Manifest]:
        opened = self.open()
        return [opened.read_manifest(identity).manifest for identity in opened.manifest_ids()]

    def restore(self, manifest: Manifest, name: str, *, only: Sequence[bytes] = (), **options: Any) -> Restored:
        progress = options.pop("progress", None) or Silent()
        target = DirectoryTarget(self.folder / name, progress, **options)
        target.probe(0)
        return restore_folders(open_reader(self.open()), manifest, target, only=only, progress=progress)

    def check(self, **options: Any) -> CheckReport:
        return check(self.open(), progress=Silent(), **options)

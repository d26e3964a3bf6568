"""What is backed up: a folder of generated files, and (postgres.py) a database. Both change as in a day, and back."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from benchmarks import data
from benchmarks.tools import Source


class Subject(Protocol):
    """Something to back up."""

    @property
    def pid(self) -> int:
        """Process id of the server that works for it, 0 where there is none."""

    @property
    def source(self) -> Source: ...

    def facts(self) -> dict[str, int]:
        """What it holds, for the report."""

    def warm(self) -> None:
        """Bring it into memory, so that no tool pays for another's cold cache."""

    def next_day(self) -> AbstractContextManager[None]:
        """Changed as a day changes it; as before at the end of the block."""

    def receive(self) -> AbstractContextManager[str]:
        """An empty place for a restore, gone at the end of the block."""

    def is_restored(self, place: str) -> bool:
        """Whether what was restored is what is there now."""


class Folder:
    """Generated files below `place`."""

    pid = 0

    def __init__(self, place: Path, planned: list[data.Planned]) -> None:
        self.source = place / "source"
        self._place = place
        data.make(self.source, planned)

    def facts(self) -> dict[str, int]:
        return {"files": sum(1 for _ in data.walk(self.source)), "bytes": data.size_of(self.source)}

    def warm(self) -> None:
        data.warm(self.source)

    @contextmanager
    def next_day(self) -> Iterator[None]:
        change = data.Change(self.source, self._place / "undo")
        try:
            yield
        finally:
            change.revert()
            shutil.rmtree(self._place / "restored", ignore_errors=True)

    @contextmanager
    def receive(self) -> Iterator[str]:
        """It stays to the end of the day, if there is room: where thousands of files were just removed, ext4 without a
        journal looks for places that were not in use lately, and the tool that came next paid for it."""
        place = self._place / "restored"
        if place.is_dir() and shutil.disk_usage(place).free < 3 * self.facts()["bytes"]:
            shutil.rmtree(place)
        place.mkdir(exist_ok=True)
        yield tempfile.mkdtemp(dir=place)

    def is_restored(self, place: str) -> bool:
        """All tools put a file where it was, below the target."""
        return data.same(self.source, Path(place + str(self.source)))

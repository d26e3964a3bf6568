"""An unchanged file is taken over without being read; one that differs in any respect is not."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.repositories import Bench
from tests.support.trees import snapshot

BEFORE, AFTER = b"as it was", b"otherwise"


def keep_times(file: Path, act: Callable[[], object]) -> None:
    status = file.stat()
    act()
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def replace(file: Path) -> None:
    other = file.with_name("other")
    other.write_bytes(AFTER)
    other.replace(file)


def become_link(file: Path) -> None:
    file.unlink()
    file.symlink_to("neighbour")


def become_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


CHANGES: dict[str, Callable[[Path], object]] = {
    "longer": lambda file: file.write_bytes(AFTER * 2),
    "same size": lambda file: file.write_bytes(AFTER),
    "same size and time": lambda file: keep_times(file, lambda: file.write_bytes(AFTER)),
    "another file of this size and time": lambda file: keep_times(file, lambda: replace(file)),
    "mode": lambda file: file.chmod(0o640),
    "attribute": lambda file: os.setxattr(file, "user.colour", b"red"),
    "second name": lambda file: os.link(file, file.with_name("second")),
    "link": become_link,
    "folder": become_folder,
    "gone": lambda file: file.unlink(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_differs_is_stored_anew(bench: Bench, tmp_path: Path, change: str) -> None:
    source = tmp_path / "source"
    (source / "below").mkdir(parents=True)
    for name in ("below/file", "below/neighbour", "alone"):
        (source / name).write_bytes(BEFORE)
    bench.backup(source)
    CHANGES[change](source / "below" / "file")
    second = bench.backup(source).manifest
    assert second.totals["filesUnchanged"] == 2
    bench.restore(second, "restored")
    assert snapshot(tmp_path / "restored" / str(source).lstrip("/")) == snapshot(source)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path)
    made.create()
    return made

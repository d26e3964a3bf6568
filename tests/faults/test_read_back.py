"""A disk that says yes and keeps something else: every restore reads back what it wrote, to the last byte, and so does
whoever writes a key or a note about keys."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.errors import TargetError
from tests.support.repositories import Bench
from webapp.files import publish


@pytest.mark.parametrize(
    ("size", "place"), [(10, 0), (10, 9), (300_000, 262_143), (300_000, 262_144), (300_000, 299_999)]
)
def test_a_byte_that_was_written_wrongly_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, place: int
) -> None:
    bench = Bench(tmp_path)
    bench.create()
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_bytes(os.urandom(size))
    manifest = bench.backup(source).manifest
    pwrite, spoilt = os.pwrite, 0

    def spoil(descriptor: int, data: bytes | memoryview, offset: int) -> int:
        nonlocal spoilt
        if len(data) == size:
            spoilt += 1
            data = bytes(data[:place]) + bytes((data[place] ^ 1,)) + bytes(data[place + 1 :])
        return pwrite(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", spoil)
    with pytest.raises(TargetError, match="failed"):
        bench.restore(manifest, "restored")
    assert spoilt == 1
    assert not (tmp_path / "restored" / str(source).lstrip("/") / "file").exists()


@pytest.mark.parametrize("is_there", [False, True])
def test_a_small_file_that_did_not_come_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    """Found by a sweep: the note of which key slots go was lost, and the change of keys took itself for finished."""
    path = tmp_path / "note"
    if is_there:
        publish(path, b"before")
    monkeypatch.setattr(os, "rename", lambda *names: None)
    with pytest.raises(OSError):
        publish(path, b"after", replace=True)
    assert [each.read_bytes() for each in tmp_path.iterdir()] == [b"before"] * is_there

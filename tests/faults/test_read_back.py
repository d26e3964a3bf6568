"""A disk that says yes and keeps something else: every restore reads back what it wrote, to the last byte."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.errors import TargetError
from tests.support.repositories import Bench


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

"""Hourly runs for weeks, pruned now and then: few index objects, packs of sensible size, and every point restores."""

from __future__ import annotations

import random
from datetime import timedelta
from pathlib import Path

import pytest

from engine.progress import Silent
from engine.repository.mark import Mark
from engine.repository.prune import Freed, Rules, begin, finish
from engine.repository.repack import MANY_SMALL, SMALL_BYTES
from engine.repository.sections import indexed
from tests.support.repositories import Bench
from tests.support.trees import snapshot

FILES = 20
SAMPLES = 12


@pytest.mark.parametrize("runs", [60, pytest.param(1000, marks=pytest.mark.full)])
def test_hourly_small_changes(tmp_path: Path, seed: int, runs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 60 runs all limits are 1,000/60 times as strict."""
    monkeypatch.setattr("engine.backup._MANY_INDEX_OBJECTS", runs // 10)
    bench, rng, source = Bench(tmp_path / "bench"), random.Random(seed), tmp_path / "source"
    bench.create()
    source.mkdir()
    for number in range(FILES):
        (source / f"{number}").write_bytes(rng.randbytes(rng.randrange(100, 20_000)))
    sampled = {*rng.sample(range(runs), SAMPLES), runs - 1}
    expected, known, most = {}, list[bytes](), 0
    mark: Mark | None = None
    for run in range(runs):
        bench.clock.now += timedelta(hours=1)
        (source / f"{rng.randrange(FILES)}").write_bytes(rng.randbytes(rng.randrange(100, 20_000)))
        result = bench.backup(source, known_ids=known)
        known.append(result.manifest.id)
        if run in sampled:
            expected[result.manifest.id] = snapshot(source)
        mark = clean_up(bench, mark) if run % 50 == 29 else mark
        most = max(most, len(bench.open().index_names()))
    clean_up(bench, clean_up(bench, mark))
    assert most <= runs // 5
    assert len(bench.manifests()) == runs
    opened = bench.open()
    sizes = opened.list_packs()
    assert sum(size < SMALL_BYTES for size in sizes.values()) <= 2 * MANY_SMALL
    assert {info.name for info in indexed(opened, damage={})} == set(sizes)
    assert bench.check().errors == []
    for manifest in bench.manifests():
        if manifest.id in expected:
            bench.restore(manifest, f"out {manifest.sequence}")
            restored = bench.folder / f"out {manifest.sequence}" / str(source).lstrip("/")
            assert snapshot(restored) == expected.pop(manifest.id)
    assert expected == {}


def clean_up(bench: Bench, mark: Mark | None) -> Mark | None:
    """As `cleanup` does it: complete what was begun, then begin anew. Returns the new mark."""
    opened, progress = bench.open(), Silent()
    if mark is not None:
        bench.clock.now += timedelta(hours=24)
        assert isinstance(finish(opened, mark.id, rules=Rules(), clock=bench.clock, progress=progress), Freed)
    return begin(opened, rules=Rules(), clock=bench.clock, progress=progress, spool=bench.folder / "spool")

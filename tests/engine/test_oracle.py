"""Generated trees go in and out and are compared by an oracle that knows nothing of the engine: many of them."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from tests.support.repositories import Bench
from tests.support.trees import make_tree, snapshot, write_file

SAMPLE, ALL = 12, 1000


def mutate(source: Path, rng: random.Random) -> None:
    """A day's work: files changed in place, appended to, replaced, removed, renamed, and new ones."""
    found = [os.path.join(where, name) for where, _, names in os.walk(os.fsencode(source)) for name in names]
    files = [path for path in found if os.path.isfile(path) and not os.path.islink(path)]
    for path in rng.sample(files, min(5, len(files))):
        action = rng.randrange(4)
        if action == 0:
            os.unlink(path)
        elif action == 1:
            os.rename(path, path[:-1] + b"~")
        elif action == 2:
            with open(path, "ab") as file:
                file.write(rng.randbytes(rng.randrange(1, 5000)))
        else:
            write_file(path, rng, rng.randrange(0, 400_000))
    write_file(source / f"new{rng.randrange(10**9)}", rng, rng.randrange(0, 100_000))


def round_trip(folder: Path, seed: int) -> None:
    """Three restore points of one changing tree; each must come back as it was."""
    rng, bench, source = random.Random(seed), Bench(folder), folder / "source"
    bench.create()
    make_tree(source, rng, files=rng.randrange(1, 35))
    states = []
    for number in range(3):
        if number:
            mutate(source, rng)
        states.append((snapshot(source), bench.backup(source).manifest))
    for number, (before, manifest) in enumerate(states):
        bench.restore(manifest, f"out{number}")
        assert snapshot(folder / f"out{number}" / str(source).lstrip("/")) == before, f"seed {seed}, point {number}"


@pytest.mark.parametrize("number", range(SAMPLE))
def test_a_generated_tree(tmp_path: Path, seed: int, number: int) -> None:
    round_trip(tmp_path, seed + number)
    assert (tmp_path / "out2").is_dir()


@pytest.mark.full
def test_a_thousand_generated_trees(tmp_path: Path, seed: int) -> None:
    done = 0
    for number in range(ALL):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        round_trip(folder, seed + number)
        shutil.rmtree(folder)
        done += 1
    assert done == ALL

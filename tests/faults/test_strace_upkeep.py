"""What the kernel may answer while a restore writes, a clean-up deletes, keys are changed: death, EIO, ENOSPC, lies."""

from __future__ import annotations

import random
import shutil
from collections.abc import Collection
from contextlib import closing
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from engine.errors import EngineError
from engine.repository.repack import MANY_SMALL
from tests.faults.test_prune_faults import AT_ONCE, assert_can_go_on, clean_up
from tests.faults.test_strace import KILL, LIE, LOST_BYTE, plan
from tests.support.pruning import Pruning
from tests.support.repositories import Bench
from tests.support.tracing import ALL, FAILED, MAIN, SUCCEEDED, Fault, count_calls, make_pack_folders, run_with
from tests.support.trees import make_tree, snapshot
from tests.webapp.keyring_home import NEW, key_of, make, opened_at, opens, reads_everything, silent
from webapp.errors import ServiceError
from webapp.services import keys as service

# So many faults of each are tried, drawn anew with --full: all of them would take an hour.
SAMPLE, MANY = 12, 120


def faults(
    counts: dict[tuple[str, str], int],
    rng: random.Random,
    request: pytest.FixtureRequest,
    *,
    without: Collection[str],
) -> list[Fault]:
    """Some of every call with every answer, drawn."""
    planned = [fault for fault in plan(counts) if fault.answer not in without]
    chosen = rng.sample(planned, min(len(planned), MANY if request.config.getoption("--full") else SAMPLE))
    request.node.user_properties.append(("trials", len(chosen)))
    return chosen


@pytest.fixture
def site(tmp_path: Path, seed: int) -> Pruning:
    """Points of which the four oldest shall go; their packs die, die half, and are small enough to be merged."""
    made = Pruning(tmp_path / "first", random.Random(seed), rules=AT_ONCE)
    made.bench.create()
    for number in range(MANY_SMALL + 1):
        made.write(f"file {number}", 3_000)
        if number % 3 == 0:
            made.write("changes", 400_000)
        made.backup()
    make_pack_folders(made.bench.place)
    return made


def test_cleaning_up(site: Pruning, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """What remains restores, and the next clean-up frees all that can be freed."""
    first = Pruning(tmp_path / "counted", site.rng, like=site, rules=AT_ONCE)
    counts = count_calls(lambda _: clean_up(first, first.bench.storage()), MAIN, first.folder / "trace")
    assert {call for _, call in counts} >= {"write", "fsync", "unlink"}
    planned = faults(counts, site.rng, request, without=(LOST_BYTE,))
    for number, fault in enumerate(planned):
        copy = Pruning(tmp_path / f"copy {number}", site.rng, like=site, rules=AT_ONCE)
        action = partial(clean_up, copy, copy.bench.storage())
        assert_ended(fault, run_with(fault, lambda _, go=action: go(), copy.folder / "trace", lambda: None))
        copy.bench.clock.now += timedelta(days=1)
        assert_can_go_on(copy)
        shutil.rmtree(copy.folder)


def test_restoring(tmp_path: Path, seed: int, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is complete, or says that it is not; and the next one is complete. A target that lies is found by --verify."""
    bench, source, rng = Bench(tmp_path / "bench"), tmp_path / "source", random.Random(seed)
    bench.create()
    make_tree(source, rng, files=8)
    manifest, wanted = bench.backup(source).manifest, snapshot(source)

    def restore(name: str) -> None:
        if bench.restore(manifest, name).lost:
            raise EngineError("The restore is not complete.")

    monkeypatch.setattr("engine.repository.reader.THREADS", 1)  # so that each run makes the same calls
    counts = count_calls(lambda _: restore("counted"), ALL, tmp_path / "trace")
    assert {call for _, call in counts} >= {"pwrite64", "mkdirat"}
    planned = faults(counts, rng, request, without=(LIE, LOST_BYTE))
    for number, fault in enumerate(planned):
        name = f"out {number}"
        status = run_with(fault, lambda _, name=name: restore(name), tmp_path / f"trace {number}", lambda: None)
        assert_ended(fault, status)
        if status == SUCCEEDED:
            assert snapshot(bench.folder / name / str(source).lstrip("/")) == wanted, fault
    restore("last")
    assert snapshot(bench.folder / "last" / str(source).lstrip("/")) == wanted


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A home with two destinations."""
    return make(tmp_path_factory.mktemp("keys"))


def test_changing_keys(made: tuple[Path, str], tmp_path: Path, seed: int, request: pytest.FixtureRequest) -> None:
    """The old or the new key opens everything, the one that is in the home works there, and a second call finishes."""
    old = key_of(made[0])
    shutil.copytree(made[0], tmp_path / "counted")
    counts = count_calls(lambda _: rotate(tmp_path / "counted"), MAIN, tmp_path / "trace")
    assert {call for _, call in counts} >= {"write", "fsync", "link", "unlink"}
    planned = faults(counts, random.Random(seed), request, without=(LOST_BYTE,))
    for number, fault in enumerate(planned):
        home = tmp_path / f"copy {number}"
        shutil.copytree(made[0], home)
        status = run_with(fault, lambda _, home=home: rotate(home), tmp_path / f"trace {number}", lambda: None)
        assert_ended(fault, status)
        for place in (home / "one", home / "two"):
            assert reads_everything(place, old) or reads_everything(place, NEW), fault
        assert opens(home, key_of(home)), fault
        finish(home)
        for place in (home, home / "one", home / "two"):
            assert opens(place, NEW) == opens(home, NEW) > 1, fault
        shutil.rmtree(home)


def rotate(home: Path) -> None:
    """Another key and another code. Raises EngineError, whatever went wrong."""
    try:
        with closing(opened_at(home)) as installation:
            service.rotate(installation, new_key=NEW, kept_code=None, tell=silent)
    except (ServiceError, OSError) as error:
        raise EngineError(str(error)) from error


def finish(home: Path) -> None:
    with closing(opened_at(home)) as installation:
        if key_of(home) != NEW:
            service.rotate(installation, new_key=NEW, kept_code=None, tell=silent)
        assert service.settle(installation) == {}


def assert_ended(fault: Fault, status: int) -> None:
    assert status in ((-9,) if fault.answer == KILL else (SUCCEEDED, FAILED)), (fault, status)

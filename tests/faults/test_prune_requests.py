"""Cleaning up in a bucket, over real HTTP: one request after the other goes wrong, or the process dies at it, and what
remains restores, and the next clean-up finishes the work."""

from __future__ import annotations

import itertools
import shutil
import uuid
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from engine.errors import StorageError
from engine.storage.base import Storage
from tests.faults.test_prune_faults import AT_ONCE, Note, assert_can_go_on, clean_up, prepared
from tests.faults.test_prune_s3 import BucketBench
from tests.support.fault_proxy import Act, answer, fault_proxy, lose_the_answer, reset_in_the_middle, truncate
from tests.support.faults import DIED, die_at, run_and_wait
from tests.support.pruning import Pruning
from tests.support.repositories import Bench
from tests.support.s3 import Store

# What is planned for one request, by turns. A store that forbids is not asked again; the others are.
WRONG: tuple[Act, ...] = (
    answer(403, "AccessDenied"),
    reset_in_the_middle,
    answer(500, "InternalError"),
    lose_the_answer,
    truncate,
)
# Without --full only each of so many requests is tried: of some 220, which meets every act once.
SAMPLE = 40


@pytest.fixture
def site(tmp_path: Path, seed: int) -> Pruning:
    return prepared(tmp_path / "first", seed)


def copy_objects(here: Storage, there: Storage) -> None:
    for item in here.list(""):
        there.put(item.name, here.get(item.name))


def go_wrong(site: Pruning, store: Store, prefix: str, act: Act, number: int) -> bool:
    """Cleans up while request `number` (from 1) goes wrong; whether there was such a request."""
    with fault_proxy(store.endpoint) as proxy, closing(store.behind(proxy.url).storage(prefix)) as storage:
        fault = proxy.plan(act, skip=number - 1, times=1)
        try:
            clean_up(site, storage)
        except StorageError:
            assert fault.hits
        if not fault.hits:
            proxy.faults.clear()
        return bool(fault.hits)


def die(site: Pruning, store: Store, prefix: str, number: int) -> bool:
    """Cleans up in a process that dies at the `number`-th time that it sends something (a request's head or its body);
    whether it came so far."""

    def work() -> None:
        storage = store.storage(prefix)
        die_at(("http.client.send",), number)
        clean_up(site, storage)

    status = run_and_wait(work)
    assert status in (0, DIED)
    return status == DIED


def sweep(site: Pruning, folder: Path, store: Store, *, step: int, fault: Callable[[Pruning, str, int], bool]) -> int:
    """A fault at every `step`-th request; how many were tried. What it left is looked at in a folder: that is quick."""
    number, tried = 1 + site.rng.randrange(step), 0
    while True:
        copy = Pruning(folder / "copy", site.rng, like=site, rules=AT_ONCE)
        prefix = f"prune/{uuid.uuid4()}"
        with closing(store.storage(prefix)) as bucket:
            copy_objects(copy.bench.storage(), bucket)
            copy.bench = BucketBench(copy.folder, keyring=copy.bench.keyring, clock=copy.bench.clock, bucket=bucket)
            was_hit = fault(copy, prefix, number)
            shutil.rmtree(copy.bench.place)
            copy.bench = Bench(copy.folder, keyring=copy.bench.keyring, clock=copy.bench.clock)
            copy.bench.storage().initialise()
            copy_objects(bucket, copy.bench.storage())
        if not was_hit:
            return tried
        copy.bench.clock.now += timedelta(days=1)
        assert_can_go_on(copy)
        shutil.rmtree(copy.folder)
        number, tried = number + step, tried + 1


@pytest.mark.parametrize("step", [SAMPLE, pytest.param(1, marks=pytest.mark.full)], ids=["some", "all"])
def test_any_request_may_go_wrong(site: Pruning, tmp_path: Path, moto: Store, step: int, record_property: Note) -> None:
    acts, met = itertools.cycle(site.rng.sample(WRONG, len(WRONG))), set()

    def fault(copy: Pruning, prefix: str, number: int) -> bool:
        act = next(acts)
        was_hit = go_wrong(copy, moto, prefix, act, number)
        if was_hit:
            met.add(act)
        return was_hit

    tried = sweep(site, tmp_path, moto, step=step, fault=fault)
    record_property("trials", tried)
    assert tried > 150 // step
    assert met == set(WRONG)


@pytest.mark.parametrize("step", [2 * SAMPLE, pytest.param(1, marks=pytest.mark.full)], ids=["some", "all"])
def test_killed_at_any_request(site: Pruning, tmp_path: Path, moto: Store, step: int, record_property: Note) -> None:
    tried = sweep(site, tmp_path, moto, step=step, fault=lambda copy, at, number: die(copy, moto, at, number))
    record_property("trials", tried)
    assert tried > 100 // step

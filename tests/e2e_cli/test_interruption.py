"""Ctrl-C and kill -9 at random moments, two runs at once: never a false success, and the next run just works."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing

import pytest

from tests.e2e_cli.shop import Shop, told
from tests.support.command import Started
from tests.support.trees import snapshot
from webapp.processes import PROC

INTERRUPTED = {130, -signal.SIGINT}
ACTIVE_SECONDS = 20


def _sized(shop: Shop, seed: int) -> None:
    """New data that takes some tenths of a second to back up."""
    rng = random.Random(seed)
    for number in range(40):
        (shop.uploads / f"new {number}").write_bytes(rng.randbytes(200_000))


def _at_random(
    shop: Shop, rng: random.Random, times: int, stop: Callable[[Started], None], check: Callable[[int], bool]
) -> list[int]:
    """Starts `times` backups, stops each at a random moment, and looks at what they said; their exit codes."""
    codes = []
    for number in range(times):
        _sized(shop, rng.randrange(1 << 30))
        started = shop.cli.start("create", "--config", "shop", "--json")
        time.sleep(rng.uniform(0.02, 1.6))
        stop(started)
        outcome = started.wait()
        assert check(outcome.code), outcome
        assert "Traceback" not in outcome.stderr or outcome.code == -signal.SIGINT, outcome
        if outcome.code == 0:
            shop.state[outcome.json["backupId"]] = snapshot(shop.uploads)
        codes.append(outcome.code)
        if number % 3 == 2:
            shop.create("--config", "shop")
    return codes


@pytest.mark.parametrize("times", [6, pytest.param(20, marks=pytest.mark.full)])
def test_ctrl_c_at_any_moment(shop: Shop, seed: int, times: int) -> None:
    shop.create()
    codes = _at_random(
        shop, random.Random(seed), times, lambda started: started.interrupt(), lambda code: code in {0, *INTERRUPTED}
    )
    assert INTERRUPTED & set(codes), f"no backup was interrupted: {codes}"
    states = {run["status"] for run in shop.cli("list", "--runs", "--json", code=0).json if run["kind"] == "create"}
    assert states <= {"succeeded", "cancelled"}
    _nothing_is_left(shop)
    shop.create("--config", "shop")
    shop.check()


@pytest.mark.parametrize("times", [6, pytest.param(30, marks=pytest.mark.full)])
def test_kill_at_any_moment(shop: Shop, seed: int, times: int) -> None:
    shop.create()
    codes = _at_random(
        shop, random.Random(seed + 1), times, lambda started: started.kill(), lambda code: code in {0, -signal.SIGKILL}
    )
    assert -signal.SIGKILL in codes, f"no backup was killed: {codes}"
    last = shop.create("--config", "shop")
    states = {run["status"] for run in shop.cli("list", "--runs", "--json", code=0).json}
    assert states <= {"succeeded", "interrupted"}
    assert list((shop.cli.home / "spool").iterdir()) == []
    assert list((shop.repository / "tmp").iterdir()) == []
    # What a killed run had committed is on record, and whole.
    listed = [point["backupId"] for point in shop.points()]
    assert len(listed) == len(list((shop.repository / "manifests").iterdir()))
    assert listed[0] == last["backupId"]
    for backup in listed:
        assert shop.restore(backup).exists()
    shop.check()


def test_a_committed_run_that_was_killed_is_taken_on_record(shop: Shop) -> None:
    """Stopped while our database is locked, so after the commit and before the row."""

    first = shop.create()["backupId"]
    manifests = shop.repository / "manifests"
    started = shop.cli.start("create", "--config", "shop")
    _until(lambda: any(shop.cli.home.joinpath("spool").iterdir()) or len(list(manifests.iterdir())) == 2)
    with sqlite3.connect(shop.cli.home / "holdfast.db", isolation_level=None) as lock:
        lock.execute("BEGIN IMMEDIATE")
        _until(lambda: len(list(manifests.iterdir())) == 2 or not started.running())
        started.kill()
        lock.execute("ROLLBACK")
    listed = [point["backupId"] for point in shop.points()]
    assert len(listed) == 2
    assert listed[1] == first
    third = shop.create("--config", "shop")
    assert third["files"]["unchanged"] == 12
    sequences = [point["sequence"] for point in shop.points()]
    assert sequences == [3, 2, 1]
    shop.check()


def test_two_at_once(shop: Shop) -> None:
    shop.create()
    _sized(shop, 1)
    started = shop.cli.start("create", "--config", "shop", "--json")
    _until(lambda: _is_at_work(shop) or not started.running())
    _until(lambda: _stands_still(shop, started))
    (running,) = _running(shop)
    outcome = shop.cli("create", "--config", "shop", code=11)
    assert running in told(outcome)
    os.kill(started.pid, signal.SIGCONT)
    done = started.wait()
    assert done.code == 0, done
    assert done.json["runId"] == running
    shop.create("--config", "shop")
    shop.check()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "kill"])
def test_a_restore_that_is_stopped_leaves_nothing_or_everything(shop: Shop, seed: int, how: int) -> None:
    rng = random.Random(seed + how)
    _sized(shop, 2)
    made = shop.create()["backupId"]
    stopped = 0
    for number in range(4):
        target = shop.cli.folder / f"target {number}"
        started = shop.cli.start("restore", "--backup", made, "--to", target)
        time.sleep(rng.uniform(0.3, 0.9))
        if started.running():
            os.kill(started.pid, how)
        outcome = started.wait()
        stopped += outcome.code != 0
        if outcome.code == 0 or target.exists():
            assert snapshot(target.joinpath(*shop.uploads.parts[1:])) == shop.state[made]
    assert stopped
    shop.cli("restore", "--backup", made, "--to", "last", code=0)
    assert [path for path in shop.cli.folder.iterdir() if path.name.startswith(".")] == []


def _nothing_is_left(shop: Shop) -> None:
    for folder in (shop.cli.home / "spool", shop.repository / "tmp", shop.repository / "sessions"):
        assert not folder.exists() or list(folder.iterdir()) == [], folder


def _running(shop: Shop) -> list[str]:
    listed = shop.cli("list", "--runs", "--status", "running", "--json", code=0).json
    return [run["runId"] for run in listed]


def _is_at_work(shop: Shop) -> bool:
    """Asked of the database itself: a command takes longer to start than this backup may last."""
    with closing(sqlite3.connect(f"file:{shop.cli.home / 'holdfast.db'}?mode=ro", uri=True)) as database:
        return bool(database.execute("SELECT 1 FROM runs WHERE state = 'running'").fetchall())


def _stands_still(shop: Shop, started: Started) -> bool:
    """Stops the command, unless it holds the database just then: nobody else could use that."""
    os.kill(started.pid, signal.SIGSTOP)
    _until(lambda: (PROC / str(started.pid) / "stat").read_bytes().rpartition(b")")[2].split()[0] == b"T")
    with closing(sqlite3.connect(shop.cli.home / "holdfast.db", timeout=0)) as database:
        try:
            database.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            os.kill(started.pid, signal.SIGCONT)
            return False
    return True


def _until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + ACTIVE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)

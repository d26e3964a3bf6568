"""Removing and pruning that is killed, or whose storage fails, at any call: what remains restores, and the next one
finishes the work."""

from __future__ import annotations

import random
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from engine.errors import StorageError, Unavailable
from engine.keyring import Keyring
from engine.progress import Silent
from engine.repository import layout
from engine.repository.forget import empty_trash, forget
from engine.repository.prune import Freed, Rules, begin, finish, prune_now
from engine.repository.repack import MANY_SMALL
from engine.storage.base import Storage
from engine.storage.local import LocalStorage
from tests.support.disks import small_disk
from tests.support.faults import FaultyStorage, kill_this_process, run_and_wait
from tests.support.pruning import Pruning
from tests.support.repositories import Bench
from tests.support.s3 import Store

AT_ONCE = Rules(grace=timedelta())
Note = Callable[[str, int], None]
# Without --full every seventh call is tried, with kill -9 every third one of these.
SAMPLE = 7


def prepared(folder: Path, seed: int) -> Pruning:
    """Points of which some shall go: their packs die, die half, and are small enough to be merged."""
    made = Pruning(folder, random.Random(seed), rules=AT_ONCE)
    made.bench.create()
    for number in range(MANY_SMALL + 1):
        made.write(f"file {number}", 3_000)
        if number % 3 == 0:
            made.write("changes", 400_000)
        made.backup()
    return made


@pytest.fixture
def site(tmp_path: Path, seed: int) -> Pruning:
    return prepared(tmp_path / "first", seed)


def clean_up(site: Pruning, storage: Storage) -> None:
    """Everything that removing the four oldest points takes, from the tombstones to the last pack."""
    opened = site.bench.open(storage)
    gone = [m.id for m in site.bench.manifests() if m.sequence <= 4]
    for identity in gone:
        forget(opened, identity, reason="test", now=site.bench.clock())
    empty_trash(opened, gone, delay=timedelta(), now=site.bench.clock())
    own = site.begin(storage)
    if own is not None:
        site.finish(own.id, storage)


def assert_can_go_on(site: Pruning) -> None:
    """The newest points are there, everything restores, and the next clean-up frees all that can be freed."""
    assert len(site.ids()) >= MANY_SMALL - 3
    site.assert_sound()
    clean_up(site, site.bench.storage())
    site.prune_now()
    assert len(site.bench.manifests()) == MANY_SMALL - 3
    site.assert_sound()
    site.assert_nothing_superfluous()
    site.backup()
    site.assert_sound()


def attempt(site: Pruning, folder: Path, number: int, *, after: bool, kill: bool) -> bool:
    """Clean up a copy of the repository with one fault; whether there was such a call."""
    copy = Pruning(folder, site.rng, like=site, rules=AT_ONCE)
    if kill:
        storage = FaultyStorage(LocalStorage(copy.bench.place), kill_this_process, at=number, after=after)
        status = run_and_wait(lambda: clean_up(copy, storage))
        was_hit = status == -9
        assert was_hit or status == 0
    else:
        storage = FaultyStorage(LocalStorage(copy.bench.place), fail, at=number, after=after)
        try:
            clean_up(copy, storage)
        except StorageError:
            assert storage.was_hit
        was_hit = storage.was_hit
    if was_hit:
        copy.bench.clock.now += timedelta(days=1)
        assert_can_go_on(copy)
    shutil.rmtree(folder)
    return was_hit


def fail() -> None:
    raise Unavailable("The disk is gone.")


def sweep(site: Pruning, folder: Path, *, step: int, kill: bool, after: bool | None = None) -> int:
    """A fault at every `step`-th call, before it or `after` it was carried out, or by turns; how many were tried."""
    number, tried = 1 + site.rng.randrange(step), 0
    while attempt(
        site, folder / f"copy {number}", number, after=bool(tried % 2) if after is None else after, kill=kill
    ):
        number, tried = number + step, tried + 1
    return tried


def test_a_fault_at_any_call(site: Pruning, tmp_path: Path, record_property: Note) -> None:
    tried = sweep(site, tmp_path, step=SAMPLE, kill=False)
    record_property("trials", tried)
    assert tried > 10


def test_kill_9_at_any_call(site: Pruning, tmp_path: Path, record_property: Note) -> None:
    tried = sweep(site, tmp_path, step=3 * SAMPLE, kill=True)
    record_property("trials", tried)
    assert tried > 3


@pytest.mark.full
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("kill", [False, True], ids=["fails", "is killed"])
def test_a_fault_at_every_call(site: Pruning, kill: bool, after: bool, tmp_path: Path, record_property: Note) -> None:
    tried = sweep(site, tmp_path, step=1, kill=kill, after=after)
    record_property("trials", tried)
    assert tried > 80


def test_a_full_disk_can_be_cleaned(tmp_path: Path, seed: int) -> None:
    """The reserve makes room for tombstones and mark; nothing else is written before something was deleted."""
    site = Pruning(tmp_path, random.Random(seed), rules=AT_ONCE)
    with small_disk(site.bench.place, 24):
        site.bench.create()
        for name in ("first", "second"):
            site.write(name, 6_000_000)
            site.backup()
            site.remove_file(name)
        site.write("last", 100_000)
        site.backup()
        fill(site.bench.place)
        with pytest.raises(Unavailable, match="is full"):
            site.bench.storage().put("manifests/" + "ab" * 16, b"x" * 100_000)
        assert succeeds(lambda: site.remove(1))
        assert not (site.bench.place / layout.RESERVE).exists()
        own = site.begin()
        assert own is not None
        freed = site.finish(own.id)
        assert isinstance(freed, Freed)
        assert freed.bytes > 6_000_000
        assert (site.bench.place / layout.RESERVE).exists()
        site.assert_sound()
        site.assert_nothing_superfluous()


def succeeds(action: Callable[[], object]) -> bool:
    try:
        action()
    except StorageError:
        return False
    return True


def fill(folder: Path) -> None:
    """Until not a byte more fits."""
    with (folder / "filler").open("wb", buffering=0) as file:
        size = 1 << 20
        while size:
            try:
                file.write(bytes(size))
            except OSError:
                size //= 2


class SharedBench(Bench):
    """A bench whose repository is somewhere else, where others use it too."""

    open_storage: Callable[[], Storage]

    def storage(self) -> Storage:
        return self.open_storage()


def shared_bench(folder: Path, open_storage: Callable[[], Storage], key: Keyring) -> SharedBench:
    made = SharedBench(folder, keyring=key)
    made.open_storage = open_storage
    return made


@pytest.fixture(params=["local", "moto", "seaweed"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> SharedBench:
    """A repository that several use at once."""
    if request.param == "local":
        bench = shared_bench(tmp_path, lambda: LocalStorage(tmp_path / "repository"), Keyring.generate())
    else:
        store: Store = request.getfixturevalue(request.param)
        prefix = f"prune/{random.randbytes(6).hex()}"
        bench = shared_bench(tmp_path, lambda: store.storage(prefix), Keyring.generate())
    bench.create()
    return bench


def test_writers_and_pruners_at_once(shared: SharedBench, tmp_path: Path, seed: int) -> None:
    """Two writers with data in common remove points while two pruners free space: every point that is left restores."""
    freed: list[Freed] = []
    are_done = threading.Event()

    def write(number: int) -> Pruning:
        site = Pruning(tmp_path / f"writer {number}", random.Random(seed + number), rules=AT_ONCE)
        site.bench = shared_bench(site.folder, shared.open_storage, shared.keyring)
        for turn in range(5):
            site.write("own", 300_000)
            (site.source / "common").write_bytes(random.Random(turn).randbytes(400_000))
            made = site.bench.backup(site.source, config_id=f"c{number}").manifest.id
            if turn % 2:
                forget(site.repository, made, reason="test", now=now())
                empty_trash(site.repository, [made], delay=timedelta(), now=now())
            else:
                site.states[made] = site.state()
        return site

    def prune(number: int) -> None:
        spool, own = tmp_path / f"spool {number}", None
        while not are_done.is_set() or own:
            own = own or begin(shared.open(), rules=AT_ONCE, clock=now, progress=Silent(), spool=spool)
            if own is not None:
                result = finish(shared.open(), own.id, rules=AT_ONCE, clock=now, progress=Silent())
                if isinstance(result, Freed):
                    freed.append(result)
                    own = None

    with ThreadPoolExecutor(4) as pool:
        pruners = [pool.submit(prune, number) for number in range(2)]
        writers = [pool.submit(write, number) for number in range(2)]
        wait(writers)
        are_done.set()
        for pruner in pruners:
            pruner.result()
    for site in (writer.result() for writer in writers):
        assert len(site.states) == 3
        site.assert_sound(only=site.states)
    prune_now(shared.open(), rules=AT_ONCE, clock=now, progress=Silent(), spool=tmp_path / "spool")
    assert freed
    for writer in writers:
        writer.result().assert_sound(only=writer.result().states)
        writer.result().assert_nothing_superfluous()


def now() -> datetime:
    return datetime.now(UTC)

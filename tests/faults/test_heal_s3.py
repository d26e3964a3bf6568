"""Repair and fail-over with a bucket on either side, over real HTTP."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from engine import keyring
from engine.progress import Silent
from engine.repository import layout, repository
from engine.repository.check import check
from engine.repository.failover import FailoverReader, Spare
from engine.repository.reader import BlobReader, open_reader
from engine.repository.repair import Order, repair
from engine.repository.repository import Repository
from engine.restore import restore_folders
from engine.storage.base import Storage
from engine.storage.s3 import S3Storage
from engine.targets.directory import DirectoryTarget
from tests.engine.test_destinations import Fleet
from tests.support.fault_proxy import Act, answer, fault_proxy, reset_in_the_middle, truncate
from tests.support.repositories import SECRET
from tests.support.s3 import Store
from tests.support.trees import make_tree, snapshot, write_file


@pytest.fixture
def source(tmp_path: Path, seed: int) -> Path:
    make_tree(tmp_path / "source", random.Random(seed), files=10)
    write_file(tmp_path / "source" / "large", random.Random(seed), 2_000_000)
    return tmp_path / "source"


@pytest.fixture(params=["moto", "seaweed"])
def store(request: pytest.FixtureRequest) -> Store:
    found: Store = request.getfixturevalue(request.param)
    return found


@dataclass
class Mixed(Fleet):
    """The destination `one` is a folder, `two` a bucket."""

    bucket: S3Storage | None = None

    def open(self, name: str, storage: Storage | None = None) -> Repository:
        return super().open(name, storage or (self.bucket if name == "two" else None))


@pytest.fixture
def pair(tmp_path: Path, source: Path, store: Store) -> Iterator[Mixed]:
    """Both with the same restore point."""
    made = Mixed(tmp_path, bucket=store.storage())
    made.create("one")
    assert made.bucket is not None
    slot, data = keyring.wrap(made.keyring, keyring.SERVICE, SECRET)
    repository.create(made.bucket, made.keyring, {slot: data}, program="test 1", suite=1)
    assert made.backup(source).copies == {"one": None, "two": None}
    yield made
    made.bucket.close()


def damage(storage: Storage, folder: str) -> list[str]:
    """Every object of a folder with one flipped bit."""
    names = [item.name for item in storage.list(folder)]
    for name in names:
        data = bytearray(storage.get(name))
        data[len(data) // 2] ^= 1
        storage.put(name, bytes(data), create=False)
    return names


def restored(fleet: Mixed, reader: BlobReader, source: Path) -> None:
    (manifest,) = fleet.bench("one").manifests()
    target = DirectoryTarget(fleet.folder / "out", Silent())
    assert restore_folders(reader, manifest, target, progress=Silent()).lost == 0
    assert snapshot(fleet.folder / "out" / str(source).lstrip("/")) == snapshot(source)


def test_a_bucket_is_repaired_from_a_folder(pair: Mixed, source: Path) -> None:
    two = pair.open("two")
    hurt = [name for folder in (layout.PACKS, layout.INDEX, layout.HEADS) for name in damage(two.storage, folder)]
    two.storage.delete(layout.manifest(two.manifest_ids()[0]))
    tools: dict[str, Any] = {"clock": pair.clock, "progress": Silent(), "spool": pair.folder / "spool"}
    report = check(two, progress=Silent())
    done = repair("two", two, [("one", pair.open("one"))], report, Order({}, "here"), **tools)
    assert set(done.set_aside) >= {name for name in hurt if not name.startswith(layout.HEADS)}
    assert len(list(two.storage.list(layout.QUARANTINE))) == len(done.set_aside)
    assert check(two, progress=Silent()).errors == []
    assert list(two.storage.list(layout.SESSIONS)) == []
    restored(pair, open_reader(two), source)


def test_a_folder_is_repaired_from_a_bucket(pair: Mixed, source: Path) -> None:
    one = pair.open("one")
    damage(one.storage, layout.PACKS)
    tools: dict[str, Any] = {"clock": pair.clock, "progress": Silent(), "spool": pair.folder / "spool"}
    repair("one", one, [("two", pair.open("two"))], check(one, progress=Silent()), Order({}, "here"), **tools)
    assert check(one, progress=Silent()).errors == []
    restored(pair, open_reader(one), source)


@pytest.mark.parametrize("act", [reset_in_the_middle, truncate, answer(503)], ids=["reset", "truncated", "503"])
def test_a_store_that_fails_while_it_is_read(pair: Mixed, source: Path, store: Store, act: Act) -> None:
    """From the third read of a pack on the store fails for good; the folder has the rest."""
    assert pair.bucket is not None
    prefix = pair.bucket.key("x").removesuffix("/x")
    with fault_proxy(store.endpoint) as proxy:
        storage = store.behind(proxy.url).storage(prefix)
        two = Spare("two", partial(open_reader, pair.open("two", storage)))
        reader = FailoverReader(two, [Spare("one", partial(open_reader, pair.open("one")))], lambda text: None)
        proxy.plan(act, methods="GET", path="/packs/", skip=2)
        restored(pair, reader, source)
        (found,) = reader.substitutions()
        assert (found.place, found.taken_from) == ("two", {"one"})
        reader.close()

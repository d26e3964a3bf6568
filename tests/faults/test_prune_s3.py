"""Cleaning up and merging the index in a bucket, over real HTTP."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from engine.errors import Corrupt
from engine.repository import layout
from engine.repository.compaction import compact
from engine.repository.prune import Freed, Waiting
from engine.repository.sections import Damages, indexed
from engine.storage.base import Storage
from engine.storage.s3 import S3Storage
from tests.support.pruning import Pruning
from tests.support.repositories import Bench
from tests.support.s3 import Store


@dataclass
class BucketBench(Bench):
    """A bench whose repository lies in a bucket."""

    bucket: S3Storage | None = None

    def storage(self) -> Storage:
        assert self.bucket is not None
        return self.bucket


@pytest.fixture
def site(tmp_path: Path, seed: int, moto: Store) -> Iterator[Pruning]:
    """Six points, each with an index object of its own; each other one holds a large file that is in no other."""
    made = Pruning(tmp_path, random.Random(seed))
    bucket = moto.storage()
    made.bench = BucketBench(tmp_path, bucket=bucket)
    made.bench.create()
    for number in range(6):
        made.write(f"file {number}", 2_000)
        if number % 2:
            made.write("changes", 300_000)
        made.backup()
    yield made
    bucket.close()


def _size(site: Pruning) -> int:
    return sum(site.repository.list_packs().values())


def test_space_is_freed_in_two_phases(site: Pruning) -> None:
    before = _size(site)
    site.remove(1, 2, 3)
    own = site.begin()
    assert own is not None
    assert isinstance(site.finish(own.id), Waiting)
    site.bench.clock.now += timedelta(days=1)
    freed = site.finish(own.id)
    assert isinstance(freed, Freed)
    assert freed.bytes == before - _size(site) > 300_000
    assert not list(site.bench.storage().list(layout.MARKS))
    site.assert_sound()
    site.assert_nothing_superfluous()


def test_index_objects_are_merged(site: Pruning) -> None:
    damage: Damages = {}
    before = sorted(indexed(site.repository, damage=damage))
    assert len(site.repository.index_names()) == 6
    assert compact(site.repository) == 6
    assert len(site.repository.index_names()) == 1
    assert sorted(indexed(site.repository, damage=damage)) == before
    assert damage == {}
    site.assert_sound()
    site.backup()
    site.assert_sound()


def test_a_merged_index_that_did_not_arrive_replaces_nothing(site: Pruning, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store takes it and gives back something else: the old objects stay."""
    names = set(site.repository.index_names())
    get = S3Storage.get

    def rotten(storage: S3Storage, name: str, offset: int = 0, length: int | None = None) -> bytes:
        data = get(storage, name, offset, length)
        return data if name in names or not name.startswith(layout.INDEX) else data[:-1] + bytes([data[-1] ^ 1])

    monkeypatch.setattr(S3Storage, "get", rotten)
    with pytest.raises(Corrupt):
        compact(site.repository)
    monkeypatch.undo()
    assert names <= set(site.repository.index_names())
    site.assert_sound()

"""Destinations and targets that are full, read-only, gone, or something else: one sentence, and nothing half."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from engine.errors import AccessDenied, AlreadyExists, Corrupt, EngineError, TargetError, Unavailable, UnsafePath
from engine.model import tree
from engine.model.tree import Node
from engine.restore import restore_folders
from engine.storage.local import LocalStorage
from tests.support.disks import read_only, small_disk
from tests.support.repositories import Bench
from tests.support.trees import make_tree, snapshot, write_file


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_full_destination_fails_cleanly_and_works_again_with_room(bench: Bench, tmp_path: Path, seed: int) -> None:
    source = tmp_path / "source"
    source.mkdir()
    write_file(source / "small", random.Random(seed), 10_000)
    with small_disk(bench.place, 3):
        bench.create()
        first = bench.backup(source)
        (source / "large").write_bytes(random.Random(seed).randbytes(6_000_000))
        with pytest.raises(Unavailable, match="is full"):
            bench.backup(source)
        assert [manifest.id for manifest in bench.manifests()] == [first.manifest.id]
        assert bench.check().errors == []
        (source / "large").unlink()
        assert bench.backup(source).is_complete


def test_a_full_target_stops_the_restore_with_a_sentence(bench: Bench, tmp_path: Path, seed: int) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "large").write_bytes(random.Random(seed).randbytes(6_000_000))
    bench.create()
    manifest = bench.backup(source).manifest
    with small_disk(tmp_path / "disk", 3), pytest.raises(TargetError, match="No space left"):
        bench.restore(manifest, "disk/out")


def test_a_full_spool_fails_cleanly(bench: Bench, tmp_path: Path, seed: int) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "large").write_bytes(random.Random(seed).randbytes(6_000_000))
    bench.create()
    with (
        small_disk(tmp_path / "spool", 2),
        pytest.raises(EngineError, match=r"scratch folder .* cannot be written: no space"),
    ):
        bench.backup(source)
    assert bench.manifests() == []
    assert bench.backup(source).is_complete


@pytest.mark.parametrize("what", ["file", "absent", "read-only"])
def test_a_destination_that_cannot_be_used(bench: Bench, tmp_path: Path, what: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_bytes(b"x")
    if what == "file":
        bench.place.write_bytes(b"not a folder")
        with pytest.raises(Unavailable, match="is not a folder"):
            bench.create()
        return
    bench.create()
    if what == "absent":
        bench.place.rename(tmp_path / "away")
        with pytest.raises(Unavailable, match="is not there"):
            bench.backup(source)
        assert not bench.place.exists()
        return
    with read_only(bench.place), pytest.raises(AccessDenied, match="may not be used"):
        bench.backup(source)
    assert bench.backup(source).is_complete


def test_a_destination_that_vanishes_is_never_made_anew(bench: Bench, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_bytes(b"x")
    bench.create()
    opened = bench.open()
    bench.place.rename(tmp_path / "away")
    with pytest.raises(Unavailable, match="mounted"):
        opened.storage.put("packs/ab/" + "ab" * 32, b"x")
    assert not bench.place.exists()


def test_a_folder_with_other_things_is_not_taken_for_a_new_repository(bench: Bench) -> None:
    bench.place.mkdir()
    (bench.place / "photos").write_bytes(b"mine")
    with pytest.raises(AlreadyExists, match="not empty"):
        bench.create()
    assert [path.name for path in bench.place.iterdir()] == ["photos"]


def test_an_interrupted_creation_is_completed(bench: Bench) -> None:
    bench.create()
    (bench.place / "holdfast.json").unlink()
    bench.create()
    assert bench.open()


@pytest.mark.parametrize("name", [b"..", b".", b"a/b", b"", b"a\0b", b"/etc"])
def test_names_that_lead_outside_are_damage(name: bytes) -> None:
    node = Node(tree.FILE, name, 0o644, 0, 0, 0, 0, 0, 0)
    with pytest.raises(Corrupt, match="impossible name"):
        tree.decode(tree.encode([node]))


@pytest.mark.parametrize("path", [b"/../etc", b"/a/../../b", b"", b"/", b"/a/\0"])
def test_root_paths_that_lead_outside_are_refused(bench: Bench, tmp_path: Path, path: bytes) -> None:
    from dataclasses import replace

    from engine.progress import Silent
    from engine.repository.reader import open_reader
    from engine.targets.directory import DirectoryTarget

    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_bytes(b"x")
    bench.create()
    manifest = bench.backup(source).manifest
    hostile = replace(manifest, roots=(replace(manifest.roots[0], path=path),))
    with pytest.raises(UnsafePath):
        restore_folders(
            open_reader(bench.open()), hostile, DirectoryTarget(tmp_path / "out", Silent()), progress=Silent()
        )
    assert not (tmp_path / "out").exists()


def test_a_link_planted_in_the_target_is_not_followed(bench: Bench, tmp_path: Path, seed: int) -> None:
    """Somebody replaces a folder of the fresh target by a link while the restore runs."""
    from engine.progress import Silent

    source, outside = tmp_path / "source", tmp_path / "outside"
    make_tree(source, random.Random(seed), files=5)
    outside.mkdir()
    bench.create()
    manifest = bench.backup(source).manifest
    first = str(source).lstrip("/").split("/")[0]

    class Planting(Silent):
        def phase(self, name: str, *, expected: int = 0) -> None:
            (tmp_path / "out").mkdir()
            os.symlink(outside, tmp_path / "out" / first)

    assert bench.restore(manifest, "out", progress=Planting()).lost == 1
    assert list(outside.iterdir()) == []


def test_leftovers_of_dead_writers_are_swept_and_living_ones_are_left(bench: Bench, tmp_path: Path, seed: int) -> None:
    bench.create()
    storage = LocalStorage(bench.place)
    dead = bench.place / "tmp" / "dead"
    dead.write_bytes(b"half")
    living = bench.place / "tmp" / "living"
    with living.open("wb") as file:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)
        storage.sweep()
        assert not dead.exists()
        assert living.exists()
    make_tree(tmp_path / "source", random.Random(seed), files=3)
    assert bench.backup(tmp_path / "source").is_complete
    assert snapshot(tmp_path / "source")

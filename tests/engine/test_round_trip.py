"""Trees go in and come out identical, unchanged files are taken over, and nothing readable lies in the repository."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine import compress, crypto
from engine.errors import NotFound, SourceError, TargetError
from engine.progress import Silent
from engine.sources.files import Config, FilesSource
from tests.support.repositories import Bench
from tests.support.trees import make_tree, snapshot, write_file

NAMES = st.binary(min_size=1, max_size=40).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")
)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    bench.create()
    return bench


def restored(bench: Bench, source: Path, name: str) -> dict[bytes, tuple[object, ...]]:
    return snapshot(bench.folder / name / str(source).lstrip("/"))


@pytest.mark.parametrize("number", range(3))
def test_an_odd_tree_comes_back_identical(bench: Bench, tmp_path: Path, seed: int, number: int) -> None:
    source = tmp_path / "source"
    make_tree(source, random.Random(seed + number), files=60)
    before = snapshot(source)
    result = bench.backup(source)
    assert result.is_complete
    outcome = bench.restore(result.manifest, "out")
    assert outcome.lost == 0
    assert restored(bench, source, "out") == before


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(NAMES, st.binary(max_size=5000), min_size=1, max_size=8))
def test_any_names_and_any_bytes(tmp_path_factory: pytest.TempPathFactory, files: dict[bytes, bytes]) -> None:
    folder = tmp_path_factory.mktemp("property")
    bench, source = Bench(folder), folder / "source"
    bench.create()
    source.mkdir()
    for name, content in files.items():
        Path(os.fsdecode(os.path.join(os.fsencode(source), name))).write_bytes(content)
    before = snapshot(source)
    bench.restore(bench.backup(source).manifest, "out")
    assert restored(bench, source, "out") == before


def test_a_large_file_is_cut_at_content_and_shares_chunks(bench: Bench, tmp_path: Path, seed: int) -> None:
    source, rng = tmp_path / "source", random.Random(seed)
    source.mkdir()
    data = rng.randbytes(24_000_000)
    (source / "large").write_bytes(data)
    first = bench.backup(source)
    (source / "large").write_bytes(data[:12_000_000] + b"inserted" + data[12_000_000:])
    second = bench.backup(source)
    assert first.manifest.totals["bytesNew"] >= 24_000_000
    assert second.manifest.totals["bytesNew"] < 9_000_000
    bench.restore(second.manifest, "out")
    assert restored(bench, source, "out") == snapshot(source)


def test_unchanged_files_are_not_read_again(bench: Bench, tmp_path: Path, seed: int) -> None:
    source = tmp_path / "source"
    make_tree(source, random.Random(seed))
    first = bench.backup(source)
    second = bench.backup(source)
    assert second.manifest.parent == first.manifest.id
    assert second.manifest.totals["bytesRead"] == 0
    assert second.manifest.totals["bytesStored"] == 0
    assert second.manifest.totals["filesUnchanged"] == first.manifest.totals["files"]
    bench.restore(second.manifest, "out")
    assert restored(bench, source, "out") == snapshot(source)


def test_without_a_parent_everything_is_read_again_and_nothing_stored_twice(
    bench: Bench, tmp_path: Path, seed: int
) -> None:
    source = tmp_path / "source"
    make_tree(source, random.Random(seed))
    first = bench.backup(source)
    second = bench.backup(source, parent=None, type="full")
    assert second.manifest.totals["bytesRead"] == first.manifest.totals["bytesRead"]
    assert second.manifest.totals["bytesStored"] == 0


def test_every_restore_point_restores_what_was_there_then(bench: Bench, tmp_path: Path, seed: int) -> None:
    source, rng = tmp_path / "source", random.Random(seed)
    make_tree(source, rng)
    states = []
    for number in range(4):
        states.append((bench.backup(source).manifest, snapshot(source)))
        write_file(source / f"new{number}", rng, 70_000)
        os.chmod(source / "linked", 0o600)
        (source / "linked").write_bytes(b"changed %d" % number)
        if number == 2:
            (source / "new0").unlink()
    for number, (manifest, before) in enumerate(states):
        assert manifest.sequence == number + 1
        bench.restore(manifest, f"out{number}")
        assert restored(bench, source, f"out{number}") == before


@pytest.mark.parametrize("suite", [crypto.AES_256_GCM, crypto.AES_256_CBC, crypto.NONE])
@pytest.mark.parametrize("codec", [compress.ZSTD, compress.GZIP, compress.BZIP2, compress.NONE])
def test_every_suite_with_every_codec(bench: Bench, tmp_path: Path, seed: int, suite: int, codec: int) -> None:
    source = tmp_path / "source"
    make_tree(source, random.Random(seed), files=12)
    result = bench.backup(source, suite=suite, codec=codec)
    bench.restore(result.manifest, "out")
    assert restored(bench, source, "out") == snapshot(source)
    report = bench.check()
    assert report.errors == []
    assert report.sound == [result.manifest.id]


def test_data_that_shall_be_encrypted_never_leans_on_a_plain_copy(bench: Bench, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "secret").write_bytes(b"the same words, stored twice" * 20_000)
    bench.backup(source, suite=crypto.NONE, codec=compress.NONE)
    sealed = bench.backup(source, suite=crypto.AES_256_GCM)
    assert sealed.manifest.parent is None
    assert sealed.manifest.totals["bytesNew"] > 500_000
    back = bench.backup(source, suite=crypto.NONE)
    assert back.manifest.totals["filesUnchanged"] == 0


def test_packs_are_named_by_their_bytes_and_nothing_of_the_source_is_readable(
    bench: Bench, tmp_path: Path, seed: int
) -> None:
    source = tmp_path / "readable-folder-name"
    make_tree(source, random.Random(seed))
    (source / "readable-file-name").write_bytes(b"readable content " * 5000)
    bench.backup(source)
    packs = list((bench.place / "packs").rglob("*/*"))
    assert packs
    for path in packs:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
    everything = b"".join(path.read_bytes() for path in bench.place.rglob("*") if path.is_file())
    names = b"".join(os.fsencode(path) for path in bench.place.rglob("*"))
    for word in (b"readable", b"linked", b"dangling", b"abcdefgh"):
        assert word not in everything
        assert word not in names.replace(os.fsencode(bench.place), b"")


def test_only_what_was_asked_for_is_restored(bench: Bench, tmp_path: Path, seed: int) -> None:
    source = tmp_path / "source"
    make_tree(source, random.Random(seed), files=5)
    (source / "deep" / "er").mkdir(parents=True)
    (source / "deep" / "er" / "wanted").write_bytes(b"this one")
    (source / "deep" / "other").write_bytes(b"not this one")
    result = bench.backup(source)
    bench.restore(result.manifest, "out", only=[os.fsencode(source / "deep" / "er")])
    found = restored(bench, source, "out")
    assert set(found) == {b".", b"deep", b"deep/er", b"deep/er/wanted"}
    with pytest.raises(NotFound, match="is not in this restore point"):
        bench.restore(result.manifest, "other", only=[os.fsencode(source / "absent")])
    assert not (tmp_path / "other").exists()


def test_a_target_that_is_in_use_is_refused(bench: Bench, tmp_path: Path, seed: int) -> None:
    source = tmp_path / "source"
    make_tree(source, random.Random(seed), files=3)
    result = bench.backup(source)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_bytes(b"mine")
    with pytest.raises(TargetError, match="not an empty folder"):
        bench.restore(result.manifest, "out")
    assert (tmp_path / "out" / "precious").read_bytes() == b"mine"


def test_setuid_comes_back_only_on_request(bench: Bench, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "tool").write_bytes(b"#!")
    os.chmod(source / "tool", 0o4755)
    result = bench.backup(source)
    progress = Silent()
    bench.restore(result.manifest, "plain", progress=progress)
    bench.restore(result.manifest, "special", special=True)
    where = str(source / "tool").lstrip("/")
    assert (tmp_path / "plain" / where).stat().st_mode & 0o7777 == 0o755
    assert (tmp_path / "special" / where).stat().st_mode & 0o7777 == 0o4755
    assert any("setuid" in reason for _, _, reason in progress.problems)


def test_missing_and_suddenly_empty_folders_fail(bench: Bench, tmp_path: Path) -> None:
    source = tmp_path / "source"
    with pytest.raises(SourceError, match="does not exist"):
        bench.backup(source)
    source.mkdir()
    with pytest.raises(SourceError, match="nothing to back up"):
        bench.backup(source)
    (source / "file").write_bytes(b"x")
    bench.backup(source)
    (source / "file").unlink()
    with pytest.raises(SourceError, match="suddenly empty; it held 1 files"):
        bench.backup(source)
    assert len(bench.manifests()) == 1


def test_excludes_and_caches_are_left_out(bench: Bench, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "cache").mkdir(parents=True)
    (source / "cache" / "CACHEDIR.TAG").write_bytes(b"Signature: 8a477f597d28d172789f06886806bc55\n")
    (source / "cache" / "big").write_bytes(b"x")
    (source / "keep.txt").write_bytes(b"x")
    (source / "drop.tmp").write_bytes(b"x")
    (source / "build").mkdir()
    (source / "build" / "made").write_bytes(b"x")
    (tmp_path / "patterns").write_text("build/\n")
    config = Config(str(source), exclude=("*.tmp",), exclude_file=str(tmp_path / "patterns"))
    result = bench.backup(folders=[FilesSource(config)])
    bench.restore(result.manifest, "out")
    assert set(restored(bench, source, "out")) == {b".", b"cache", b"cache/CACHEDIR.TAG", b"keep.txt"}


def test_an_unreadable_file_is_a_problem_and_the_rest_is_saved(bench: Bench, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "good").write_bytes(b"x")
    os.symlink(b"x", source / "bad")

    class Vanishing(Silent):
        def checkpoint(self) -> None:
            (source / "vanished").unlink(missing_ok=True)

    (source / "vanished").write_bytes(b"x")
    result = bench.backup(source, progress=Vanishing())
    assert [(p.kind, p.reason) for p in result.manifest.problems] == [("file", "vanished while the folder was read")]
    assert not result.is_complete
    bench.restore(result.manifest, "out")
    assert set(restored(bench, source, "out")) == {b".", b"good", b"bad"}


def test_a_thousand_levels(bench: Bench, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    here = os.open(source, os.O_RDONLY)
    for _ in range(600):
        os.mkdir(b"a-rather-long-name", dir_fd=here)
        below = os.open(b"a-rather-long-name", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    descriptor = os.open(b"bottom", os.O_WRONLY | os.O_CREAT, dir_fd=here)
    os.write(descriptor, b"deep down")
    os.close(descriptor)
    os.close(here)
    result = bench.backup(source)
    assert result.manifest.totals["files"] == 1
    assert bench.restore(result.manifest, "out").items == 1
    assert bench.check().errors == []
    # Python's own removal of trees recurses, and pytest's with it.
    subprocess.run(["rm", "-rf", source, tmp_path / "out"], check=True)


def test_a_folder_that_is_suddenly_empty_fails_a_full_backup_too(bench: Bench, tmp_path: Path) -> None:
    source, other = tmp_path / "source", tmp_path / "other"
    for folder in (source, other):
        folder.mkdir()
        (folder / "file").write_bytes(b"x")
    bench.backup(source, other, type="full", parent=None)
    (source / "file").unlink()
    with pytest.raises(SourceError, match="suddenly empty; it held 1 files"):
        bench.backup(source, other, type="full", parent=None)
    assert len(bench.manifests()) == 1


@pytest.mark.parametrize("second", ["source", "source/below", "link"])
def test_folders_that_overlap_are_refused(bench: Bench, tmp_path: Path, second: str) -> None:
    (tmp_path / "source" / "below").mkdir(parents=True)
    (tmp_path / "source" / "below" / "file").write_bytes(b"x")
    os.symlink(tmp_path / "source", tmp_path / "link")
    for pair in ((tmp_path / "source", tmp_path / second), (tmp_path / second, tmp_path / "source")):
        with pytest.raises(SourceError, match="overlap"):
            bench.backup(*pair)
    with pytest.raises(SourceError, match="whole file system"):
        bench.backup("/")
    assert bench.manifests() == []


def test_a_pattern_that_cannot_be_is_told(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_bytes(b"x")
    with pytest.raises(SourceError, match="exclude pattern"):
        bench.backup(folders=[FilesSource(Config(str(tmp_path / "source"), exclude=("[z-a]",)))])

"""What file systems hold beyond plain files: attributes, ACLs, holes, devices, many names, huge directories."""

from __future__ import annotations

import os
import random
import stat
import struct
from pathlib import Path

import pytest

from engine import entries, folder
from engine.progress import Silent
from engine.sources.files import Config, FilesSource
from tests.support.repositories import Bench
from tests.support.trees import snapshot

MIB = 1 << 20


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    bench.create()
    (tmp_path / "source").mkdir()
    return bench


def out(bench: Bench, name: str = "out") -> Path:
    return bench.folder / name / str(bench.folder / "source").lstrip("/")


def acl(*entries: tuple[int, int, int]) -> bytes:
    """A POSIX ACL as Linux keeps it (acl(5), version 2)."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def test_attributes_and_acls_survive(bench: Bench, tmp_path: Path) -> None:
    source, undefined = tmp_path / "source", 0xFFFFFFFF
    (source / "file").write_bytes(b"x")
    (source / "folder").mkdir()
    made = acl((1, 6, undefined), (2, 4, 12345), (4, 4, undefined), (16, 4, undefined), (32, 0, undefined))
    for path in (source / "file", source / "folder", source):
        os.setxattr(path, "user.odd \xff", bytes(range(256)))
        os.setxattr(path, "system.posix_acl_access", made)
    result = bench.backup(source)
    second = bench.backup(source)
    assert second.manifest.totals["bytesNew"] == 0
    for number, manifest in enumerate((result.manifest, second.manifest)):
        progress = Silent()
        bench.restore(manifest, f"out{number}", progress=progress)
        assert progress.problems == []
        for path in ("file", "folder", "."):
            restored = out(bench, f"out{number}") / path
            assert os.getxattr(restored, "user.odd \xff") == bytes(range(256))
            assert os.getxattr(restored, "system.posix_acl_access") == made
            assert restored.stat().st_mode == (source / path).stat().st_mode


def test_capabilities_come_back_only_on_request(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "source" / "tool").write_bytes(b"#!")
    capability = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
    os.setxattr(tmp_path / "source" / "tool", "security.capability", capability)
    manifest = bench.backup(tmp_path / "source").manifest
    progress = Silent()
    bench.restore(manifest, "plain", progress=progress)
    bench.restore(manifest, "special", special=True)
    assert os.listxattr(out(bench, "plain") / "tool") == []
    assert [reason for _, _, reason in progress.problems] == ["capabilities were left out"]
    assert os.getxattr(out(bench, "special") / "tool", "security.capability") == capability


@pytest.mark.parametrize(
    "layout",
    [
        [(0, MIB, b"a"), (3 * MIB, MIB, b"b")],
        [(2 * MIB, 5 * MIB, b"c")],
        [(0, 4096, b"d"), (9 * MIB, 0, b"")],
        [(8 * MIB, 0, b"")],
        [(4096 * n, 4096, b"e") for n in range(0, 900, 3)],
    ],
    ids=["two extents", "leading hole", "trailing hole", "only a hole", "many holes"],
)
def test_sparse_files_stay_sparse(bench: Bench, tmp_path: Path, layout: list[tuple[int, int, bytes]]) -> None:
    path = tmp_path / "source" / "sparse"
    with path.open("wb") as file:
        for start, length, byte in layout:
            file.seek(start)
            file.write(byte * length)
            file.truncate(start + length)
    assert path.stat().st_blocks * 512 < path.stat().st_size
    result = bench.backup(tmp_path / "source")
    bench.restore(result.manifest, "out")
    assert snapshot(out(bench)) == snapshot(tmp_path / "source")
    assert (out(bench) / "sparse").stat().st_blocks <= path.stat().st_blocks
    assert result.manifest.totals["bytesRead"] == sum(length for _, length, _ in layout)


def test_a_sparse_terabyte_costs_nothing(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "source" / "huge"
    with path.open("wb") as file:
        file.write(b"begin")
        file.truncate(1 << 40)
    result = bench.backup(tmp_path / "source")
    assert result.manifest.totals["bytesStored"] < 10_000
    bench.restore(result.manifest, "out")
    restored = out(bench) / "huge"
    assert restored.stat().st_size == 1 << 40
    assert restored.stat().st_blocks < 100
    with restored.open("rb") as file:
        assert file.read(5) == b"begin"


def test_devices_are_recorded_and_restored_on_request(bench: Bench, tmp_path: Path) -> None:
    os.mknod(tmp_path / "source" / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.mknod(tmp_path / "source" / "disk", 0o600 | stat.S_IFBLK, os.makedev(7, 99))
    (tmp_path / "source" / "file").write_bytes(b"x")
    manifest = bench.backup(tmp_path / "source").manifest
    progress = Silent()
    bench.restore(manifest, "plain", progress=progress)
    assert sorted(os.listdir(out(bench, "plain"))) == ["file"]
    assert {(kind, reason) for kind, _, reason in progress.problems} == {
        ("skipped", "devices are restored only on request")
    }
    bench.restore(manifest, "special", special=True)
    for name in ("null", "disk"):
        before, after = (tmp_path / "source" / name).stat(), (out(bench, "special") / name).stat()
        assert (before.st_mode, before.st_rdev) == (after.st_mode, after.st_rdev)


def test_many_names_of_one_file(bench: Bench, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "first").write_bytes(os.urandom(6_000_000))
    for number in range(10_000):
        os.link(source / "first", source / f"name{number}")
    result = bench.backup(source)
    assert result.manifest.totals["bytesNew"] < 10_000_000  # the content once, and ten thousand names
    bench.restore(result.manifest, "out")
    assert len({path.stat().st_ino for path in out(bench).iterdir()}) == 1
    assert (out(bench) / "name7").read_bytes() == (source / "first").read_bytes()


def test_one_name_of_several_restores_alone(bench: Bench, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "a").write_bytes(b"shared")
    os.link(source / "a", source / "b")
    manifest = bench.backup(source).manifest
    bench.restore(manifest, "out", only=[os.fsencode(source / "b")])
    assert (out(bench) / "b").read_bytes() == b"shared"
    assert not (out(bench) / "a").exists()


def test_large_directories_are_written_in_parts(
    bench: Bench, tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limits are lowered so that a few thousand files stand for a million."""
    monkeypatch.setattr(folder, "_LARGE_DIRECTORY", 300)
    monkeypatch.setattr(entries, "_PART_MASK", 31)
    monkeypatch.setattr(entries, "_PART_NODES", 100)
    source, rng = tmp_path / "source", random.Random(seed)
    for number in range(2500):
        (source / f"{number:05}").write_bytes(b"%d" % number)
        if number % 500 == 0:
            (source / f"{number:05}d").mkdir()
            (source / f"{number:05}d" / "in").write_bytes(b"below")
    first = bench.backup(source)
    bench.restore(first.manifest, "out")
    assert snapshot(out(bench)) == snapshot(source)
    assert bench.backup(source).manifest.totals["bytesStored"] == 0
    for number in rng.sample(range(2500), 20):
        (source / f"{number:05}").unlink()
    (source / "00042x").write_bytes(b"new")
    third = bench.backup(source)
    assert third.manifest.totals["filesNew"] == 1
    assert third.manifest.totals["filesChanged"] == 0
    bench.restore(third.manifest, "out3")
    assert snapshot(out(bench, "out3")) == snapshot(source)


def test_a_backup_does_not_hold_what_it_writes_itself(bench: Bench, tmp_path: Path) -> None:
    """The repository lies inside of the folder that is backed up; other folders of the same names are ordinary."""
    (tmp_path / "source" / "repository").mkdir()
    (tmp_path / "source" / "repository" / "mine").write_bytes(b"x")
    source = FilesSource(Config(str(tmp_path)), skip=[bench.place, tmp_path / "spool", tmp_path / "absent"])
    sizes = [bench.backup(folders=[source]).manifest.totals["files"] for _ in range(3)]
    assert sizes == [1, 1, 1]


def test_what_is_renamed_removed_or_changes_kind(bench: Bench, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name in ("stays", "goes", "becomes-folder", "renamed"):
        (source / name).write_bytes(name.encode())
    (source / "becomes-file").mkdir()
    bench.backup(source)
    (source / "goes").unlink()
    (source / "becomes-folder").unlink()
    (source / "becomes-folder").mkdir()
    (source / "becomes-folder" / "inside").write_bytes(b"x")
    (source / "becomes-file").rmdir()
    (source / "becomes-file").write_bytes(b"now a file")
    (source / "renamed").rename(source / "new-name")
    second = bench.backup(source)
    assert second.manifest.totals["filesUnchanged"] == 1
    bench.restore(second.manifest, "out")
    assert snapshot(out(bench)) == snapshot(source)


def test_a_file_that_grows_while_it_is_read_is_a_problem_and_consistent(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "source" / "log"
    path.write_bytes(b"line\n" * 400_000)

    class Growing(Silent):
        def advance(self, *, items: int = 0, read: int = 0, stored: int = 0) -> None:
            if read:
                with path.open("ab") as file:
                    file.write(b"more\n")

    result = bench.backup(tmp_path / "source", progress=Growing())
    assert [(p.path, p.reason) for p in result.manifest.problems] == [(str(path), "changed while it was read")]
    bench.restore(result.manifest, "out")
    restored = (out(bench) / "log").read_bytes()
    assert len(restored) >= 2_000_000
    assert path.read_bytes().startswith(restored)
    assert bench.backup(tmp_path / "source").is_complete

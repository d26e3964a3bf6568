"""Whatever is damaged at a destination is found, named, and tied to the restore points and files that it hits."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from engine import compress, crypto
from engine import keyring as keys
from engine.errors import Corrupt, NotARepository, WrongKey
from engine.ids import spell
from engine.progress import Silent
from engine.repository import box, layout, repository
from engine.repository.pack import DATA, OpenPack
from engine.repository.reader import open_reader
from engine.storage.local import LocalStorage
from tests.support.repositories import Bench
from tests.support.trees import make_tree, snapshot

FLIPS = 60


@pytest.fixture
def bench(tmp_path: Path, seed: int) -> Bench:
    bench = Bench(tmp_path)
    bench.create()
    make_tree(tmp_path / "source", random.Random(seed), files=20)
    bench.backup(tmp_path / "source")
    return bench


def objects(bench: Bench, kind: str) -> list[Path]:
    return sorted(path for path in (bench.place / kind).rglob("*") if path.is_file())


def flip(path: Path, place: int, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1 << bit
    path.write_bytes(data)


def name_of(bench: Bench, path: Path) -> str:
    return str(path.relative_to(bench.place))


def test_a_sound_repository_is_found_sound(bench: Bench) -> None:
    report = bench.check()
    assert report.errors == []
    assert report.sound == [bench.manifests()[0].id]
    assert report.backups_checked == 1
    assert report.bytes_read == sum(path.stat().st_size for path in objects(bench, "packs"))


@pytest.mark.parametrize("kind", ["packs", "index", "manifests", "keys"])
def test_single_bit_flips_are_found_and_located(bench: Bench, kind: str, seed: int) -> None:
    rng, found = random.Random(seed), 0
    for _ in range(FLIPS):
        path = rng.choice(objects(bench, kind))
        place, bit = rng.randrange(path.stat().st_size), rng.randrange(8)
        flip(path, place, bit)
        named = [damage.object for damage in bench.check().errors]
        assert named == [name_of(bench, path)], f"bit {bit} of byte {place}"
        found += 1
        flip(path, place, bit)
    assert found == FLIPS
    assert bench.check().errors == []


def test_damage_names_the_restore_points_and_files_it_hits(bench: Bench, tmp_path: Path) -> None:
    """Every file that the check names is lost in a restore, every other one is restored."""
    manifest = bench.manifests()[0]
    largest = max(objects(bench, "packs"), key=lambda path: path.stat().st_size)
    flip(largest, largest.stat().st_size // 2, 0)
    (damage,) = bench.check().errors
    assert damage.kind == "corrupt"
    assert damage.backups == {spell("bk", manifest.id)}
    assert damage.files
    progress = Silent()
    outcome = bench.restore(manifest, "out", progress=progress)
    lost = {path for kind, path, _ in progress.problems if kind == "lost"}
    assert lost == damage.files
    assert outcome.lost == len(lost)
    before = snapshot(tmp_path / "source")
    after = snapshot(tmp_path / "out" / str(tmp_path / "source").lstrip("/"))
    for path in before:
        whole = os.fsdecode(os.path.join(os.fsencode(tmp_path / "source"), path))
        assert (path in after) == (whole not in lost)


@pytest.mark.parametrize(("change", "kind"), [("delete", "missing"), ("cut", "truncated"), ("extend", "truncated")])
def test_missing_and_cut_packs(bench: Bench, change: str, kind: str) -> None:
    path = max(objects(bench, "packs"), key=lambda path: path.stat().st_size)
    if change == "delete":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] if change == "cut" else path.read_bytes() + b"x")
    found = {damage.object: damage.kind for damage in bench.check().errors}
    assert found[name_of(bench, path)] == kind
    assert bench.check().sound == []


def test_an_index_that_is_gone_is_made_good_by_the_packs(bench: Bench, tmp_path: Path) -> None:
    for path in objects(bench, "index"):
        path.unlink()
    assert bench.restore(bench.manifests()[0], "out").lost == 0
    assert bench.check().errors == []
    bench.backup(tmp_path / "source")
    assert bench.check().errors == []


def test_swapped_manifests_are_noticed(bench: Bench, tmp_path: Path) -> None:
    bench.backup(tmp_path / "source")
    one, two = objects(bench, "manifests")
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    assert [damage.kind for damage in bench.check().errors] == ["corrupt", "corrupt"]


def test_a_share_of_the_data_can_be_read(bench: Bench) -> None:
    whole = bench.check().bytes_read
    assert bench.check(read_percent=0).bytes_read == 0
    assert 0 < bench.check(read_percent=1).bytes_read <= whole


def test_one_restore_point_can_be_checked_alone(bench: Bench, tmp_path: Path, seed: int) -> None:
    (tmp_path / "source" / "later").write_bytes(random.Random(seed).randbytes(500_000))
    later = bench.backup(tmp_path / "source").manifest
    first = next(manifest for manifest in bench.manifests() if manifest.sequence == 1)
    report = bench.check(only=[first.id])
    assert report.sound == [first.id]
    assert report.backups_checked == 1
    assert report.bytes_read < bench.check(only=[later.id]).bytes_read


def test_the_repository_of_another_installation_is_refused(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(WrongKey, match="another installation"):
        repository.open_repository(bench.storage(), keys.Keyring.generate(), expected=None)


def test_a_forged_description_is_refused(bench: Bench) -> None:
    """Same vault, right checksum, but not made with the keys."""
    forged = keys.Keyring(bench.keyring.vault, b"i" * 32, b"c" * 32, {1: b"e" * 32})
    with pytest.raises(WrongKey, match="not written with this installation"):
        repository.open_repository(bench.storage(), forged, expected=None)


def test_places_without_a_repository(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotARepository, match="holds no repository"):
        repository.open_repository(LocalStorage(tmp_path / "empty"), bench.keyring, expected=None)
    other = Bench(tmp_path / "other", keyring=bench.keyring)
    other.create()
    with pytest.raises(NotARepository, match="another repository than it did before"):
        repository.open_repository(other.storage(), bench.keyring, expected=bench.open().id)


def test_every_flipped_byte_of_the_description_is_damage(bench: Bench) -> None:
    path = bench.place / "holdfast.json"
    for place in range(0, path.stat().st_size, 5):
        flip(path, place, 1)
        with pytest.raises(Corrupt):
            bench.open()
        flip(path, place, 1)
    assert bench.open()


def test_a_blob_under_a_false_id_is_damage(bench: Bench, tmp_path: Path) -> None:
    """A faulty writer with the right keys sealed one plaintext under the id of another."""
    opened, plain = bench.open(), b"what was really stored"
    faulty = OpenPack(bench.keyring, box.DATA_PACK, crypto.AES_256_GCM, tmp_path)
    claimed = crypto.keyed_hash(bench.keyring.data_key, b"what it claims to be")
    faulty.append(claimed, DATA, compress.NONE, len(plain), plain)
    info = faulty.finish()
    opened.storage.put(layout.pack(info.name), faulty.path)
    opened.write_index([info])
    with pytest.raises(Corrupt, match="not what its id says"):
        open_reader(opened).read(claimed)
    assert [damage.object for damage in bench.check().errors] == [layout.pack(info.name)]


def test_a_repository_without_its_key_slots_is_not_sound(bench: Bench) -> None:
    for path in objects(bench, "keys"):
        path.unlink()
    assert [(damage.object, damage.kind) for damage in bench.check().errors] == [("keys/", "missing")]

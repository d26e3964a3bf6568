"""What version 1 of the format wrote opens for ever, whole, by the engine and by the rescue program."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine import keyring, rescue
from engine.ids import spell
from engine.model import tree
from engine.model.manifest import FilesRoot, Manifest, StreamRoot
from engine.progress import Silent
from engine.repository import box, layout, pack, repository
from engine.repository.check import check
from engine.repository.reader import BlobReader, open_reader
from engine.repository.repository import Repository
from engine.restore import restore_folders
from engine.storage.local import LocalStorage
from engine.targets.directory import DirectoryTarget
from tests.golden import shelf
from tests.support.repositories import SECRET, Bench

SUITES = {"none": 0, "aes-256-gcm": 1, "aes-256-cbc": 2}
CODECS = {"none": 0, "zstd": 1, "gzip": 2, "bzip2": 3}


def suite_and_codec(name: str) -> tuple[int, int]:
    suite = next(each for each in sorted(SUITES, key=len, reverse=True) if name.startswith(each))
    return SUITES[suite], CODECS[name.removeprefix(f"{suite}-").partition("-")[0]]


def points_of(name: str) -> dict[str, Any]:
    points: dict[str, Any] = shelf.expected()["repositories"][name]["points"]
    return points


def state_of(point: dict[str, Any]) -> dict[str, Any]:
    state: dict[str, Any] = shelf.expected()["states"][point["state"]]
    return state


def below(out: Path, name: str) -> Path:
    return out / shelf.expected()["repositories"][name]["source"].lstrip("/")


def manifests(opened: Repository) -> dict[str, Manifest]:
    return {spell("bk", each): opened.read_manifest(each).manifest for each in opened.manifest_ids()}


def test_every_combination_is_there_as_it_was_committed() -> None:
    """A change here means that what stood for old backups is gone: bring it back, never write the list anew."""
    hashes = {name: each["sha256"] for name, each in shelf.expected()["repositories"].items()}
    assert set(hashes) >= {f"{suite}-{codec}" for suite in SUITES for codec in CODECS}
    found = {path.stem: hashlib.sha256(path.read_bytes()).hexdigest() for path in shelf.SHELF.glob("*.tar")}
    assert found == hashes


@pytest.mark.parametrize("name", shelf.names())
def test_the_engine_restores_every_point(name: str, tmp_path: Path) -> None:
    opened = shelf.open_golden(shelf.take(name, tmp_path))
    reader, found = open_reader(opened), manifests(opened)
    assert found.keys() == points_of(name).keys()
    assert opened.removed_ids() & set(opened.manifest_ids()), "one is in the trash"
    for number, (point, manifest) in enumerate(found.items()):
        stated = points_of(name)[point]
        assert manifest.sequence == stated["sequence"]
        hashes = {root.name: digest_of(reader, root) for root in manifest.roots if isinstance(root, StreamRoot)}
        wanted = state_of(stated)["streams"]
        assert hashes == ({"shop": wanted["shop"]} if "streamsOnly" in stated else wanted)
        if "streamsOnly" not in stated:
            target = DirectoryTarget(tmp_path / f"out {number}", Silent(), special=True)
            target.probe(0)
            restore_folders(reader, manifest, target, only=(), progress=Silent())
            assert shelf.listing(below(tmp_path / f"out {number}", name)) == state_of(stated)["tree"]


def digest_of(reader: BlobReader, root: StreamRoot) -> str:
    return hashlib.sha256(b"".join(reader.stream(root.content, root.size))).hexdigest()


@pytest.mark.parametrize("name", shelf.names())
def test_it_verifies_clean(name: str, tmp_path: Path) -> None:
    report = check(shelf.open_golden(shelf.take(name, tmp_path)), progress=Silent())
    assert report.errors == []
    assert report.backups_checked == len(report.sound) == len(points_of(name))


@pytest.mark.parametrize("name", shelf.names())
def test_the_rescue_program_restores_every_point(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place, key = shelf.take(name, tmp_path), tmp_path / "key"
    key.write_text(shelf.expected()["key"])
    common = ["--repository", str(place), "--key-file", str(key)]
    for point, stated in points_of(name).items():
        out = tmp_path / point
        assert rescue.main(["restore", *common, "--special", "--backup", point, "--to", str(out)]) == 0
        (config,) = out.iterdir()
        files = [path for path in config.iterdir() if path.is_file()]
        dumps = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
        wanted = state_of(stated)["streams"]
        assert dumps["shop.dump"] == wanted["shop"]
        if "streamsOnly" not in stated:
            assert dumps["books.sqlite"] == wanted["/srv/books.sqlite"]
            assert shelf.listing(below(config, name)) == state_of(stated)["tree"]
    capsys.readouterr()
    assert rescue.main(["check", *common, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["backupsChecked"] == len(points_of(name))


@pytest.mark.parametrize("name", shelf.names())
def test_the_recovery_code_opens_it_and_it_says_what_wrote_it(name: str, tmp_path: Path) -> None:
    place = shelf.take(name, tmp_path)
    code = keyring.read_recovery_code(shelf.expected()["repositories"][name]["recoveryCode"])
    unlocked = keyring.unlock(repository.read_slots(LocalStorage(place)), keyring.RECOVERY_CODE, code)
    assert unlocked == shelf.unlocked(place)
    assert unlocked.epoch > 1
    description = json.loads((place / layout.DESCRIPTION).read_bytes())
    assert (description["format"], description["createdBy"]) == (1, "holdfast 0.1.0")


@pytest.mark.parametrize("name", shelf.names())
def test_the_shelf_holds_what_old_repositories_hold(name: str, tmp_path: Path) -> None:
    """Should the maker ever have missed something, the promise above would be about less than it seems."""
    suite, codec = suite_and_codec(name)
    opened = shelf.open_golden(shelf.take(name, tmp_path))
    table = open_reader(opened).table
    entries = [entry for _, entry, _ in table.records()]
    assert {entry.type for entry in entries} == {pack.DATA, pack.TREE, pack.LIST}
    assert codec in {entry.codec for entry in entries if entry.type == pack.DATA}
    assert {entry.depth for entry in entries} >= ({0, 1, 2} if name.endswith("-differences") else {0})
    epochs = {int.from_bytes(known.header.raw[8:12], "little") for known in table.packs()}
    assert epochs == {1, shelf.unlocked(tmp_path / name).epoch}
    data = [known.header for known in table.packs() if known.header.kind == box.DATA_PACK]
    assert {header.suite for header in data} == {suite}
    present = {item.name.partition("/")[0] for item in opened.storage.list("")}
    assert present >= {"keys", "packs", "index", "manifests", "heads", "tombstones", "sessions", "marks", "fences"}
    assert "quarantine" in present
    assert max(len(opened.read_index(each)) for each in opened.index_names()) > 2, "index objects were merged"
    roots = [root for manifest in manifests(opened).values() for root in manifest.roots]
    assert {type(root) for root in roots} == {FilesRoot, StreamRoot}
    assert {root.content[0] for root in roots if isinstance(root, StreamRoot) and root.content} == {2, 3}


@pytest.mark.parametrize("name", [f"{suite}-zstd" for suite in SUITES])
def test_a_backup_of_today_goes_on_from_there(name: str, tmp_path: Path) -> None:
    place = shelf.take(name, tmp_path / "bench")
    place.rename(place.with_name("repository"))
    bench = Bench(tmp_path / "bench", shelf.unlocked(tmp_path / "bench" / "repository"))
    assert bytes.fromhex(shelf.expected()["key"]) == SECRET
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "file").write_text("written today")
    made = bench.backup(tmp_path / "more", config_id="shop", suite=suite_and_codec(name)[0])
    assert made.manifest.sequence == max(each["sequence"] for each in points_of(name).values()) + 1
    assert bench.check().errors == []


def owners(reader: BlobReader, ids: bytes) -> Iterator[tuple[int, int]]:
    for node in reader.nodes(ids):
        yield node.uid, node.gid
        if node.kind == tree.DIRECTORY:
            yield from owners(reader, node.content or b"")


def test_owners_are_kept(tmp_path: Path) -> None:
    opened = shelf.open_golden(shelf.take("aes-256-gcm-zstd", tmp_path))
    reader = open_reader(opened)
    roots = [root for each in manifests(opened).values() for root in each.roots if isinstance(root, FilesRoot)]
    assert {owner for root in roots for owner in owners(reader, root.node.content)} == {shelf.OWNER}

"""A golden repository that was damaged, or written by a newer Holdfast: one clear sentence, and the right error."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import msgpack
import pytest

from engine import crypto, keyring, rescue
from engine.errors import Corrupt, NotARepository, RepositoryError, UnsupportedVersion, WrongKey
from engine.model import tree
from engine.model.manifest import FilesRoot
from engine.model.tree import Node
from engine.progress import Silent
from engine.repository import box, layout
from engine.repository.check import check
from engine.repository.reader import BlobReader, open_reader
from tests.golden import shelf
from tests.support.packs import DATA, Blob, store

NAME = "aes-256-gcm-zstd"
Break = Callable[[Path], None]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return shelf.take(NAME, tmp_path)


def read_everything(place: Path) -> None:
    """All points and all that they hold, from the first object to the last."""
    opened = shelf.open_golden(place)
    reader = open_reader(opened)
    for identity in opened.manifest_ids():
        for root in opened.read_manifest(identity).manifest.roots:
            if isinstance(root, FilesRoot):
                read_below(reader, root.node)
            else:
                list(reader.stream(root.content, root.size))


def read_below(reader: BlobReader, node: Node) -> None:
    if node.kind == tree.FILE:
        list(reader.file(node))
    for each in reader.nodes(node.content or b"") if node.kind == tree.DIRECTORY else ():
        read_below(reader, each)


def one_of(place: Path, folder: str) -> Path:
    """An object of a folder, the same each time; of packs the largest."""
    found = sorted(path for path in (place / folder).rglob("*") if path.is_file())
    return max(found, key=lambda path: path.stat().st_size) if folder == "packs" else found[0]


def flip(folder: str) -> Break:
    """One bit in the middle."""

    def act(place: Path) -> None:
        path = one_of(place, folder) if folder != layout.DESCRIPTION else place / folder
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)

    return act


def cut(folder: str) -> Break:
    """The last third is gone."""

    def act(place: Path) -> None:
        path = one_of(place, folder) if folder != layout.DESCRIPTION else place / folder
        os.truncate(path, path.stat().st_size * 2 // 3)

    return act


def describe(**changes: object) -> Break:
    """holdfast.json says something else, with a checksum and a MAC that fit."""

    def act(place: Path) -> None:
        keys, path = shelf.unlocked(place), place / layout.DESCRIPTION
        document = json.loads(path.read_bytes()) | changes
        del document["checksum"], document["mac"]
        mac = crypto.keyed_hash(keys.description_key, keyring.canonical(document)).hex()
        path.write_bytes(keyring.with_checksum(document | {"mac": mac}))

    return act


def foreign_description(place: Path) -> None:
    """Of the same vault, but made with other keys."""
    document = json.loads((place / layout.DESCRIPTION).read_bytes()) | {"mac": "00" * 32}
    del document["checksum"]
    (place / layout.DESCRIPTION).write_bytes(keyring.with_checksum(document))


def gone(folder: str) -> Break:
    def act(place: Path) -> None:
        for path in [place / folder] if (place / folder).is_file() else sorted((place / folder).iterdir()):
            path.unlink()

    return act


def header(folder: str, offset: int, value: int) -> Break:
    """One byte of a header is another one, and its checksum fits."""

    def act(place: Path) -> None:
        path = one_of(place, folder)
        content = bytearray(path.read_bytes())
        content[offset] = value
        content[80:96] = hashlib.sha256(content[:80]).digest()[:16]
        path.write_bytes(content)
        gone("index")(place)  # where a copy of a pack's header lies

    return act


def manifest(**changes: object) -> Break:
    """A restore point that says something else, sealed as it should be."""

    def act(place: Path) -> None:
        path, keys = one_of(place, "manifests"), shelf.unlocked(place)
        raw = msgpack.unpackb(box.open_box(keys, box.MANIFEST, path.read_bytes(), ""), strict_map_key=False)
        path.write_bytes(box.seal_box(keys, box.MANIFEST, msgpack.packb(raw | changes), 1))

    return act


def absurd_box(place: Path) -> None:
    path = one_of(place, "manifests")
    content = bytearray(path.read_bytes())
    content[100:104] = b"\xff" * 4
    path.write_bytes(content)


def all_slots(act: Callable[[bytes], bytes]) -> Break:
    def break_them(place: Path) -> None:
        for path in (place / "keys").iterdir():
            path.write_bytes(act(path.read_bytes()))

    return break_them


def newer_slot(data: bytes) -> bytes:
    document = json.loads(data) | {"format": 2}
    del document["checksum"]
    return keyring.with_checksum(document)


NEWER = "Use a newer Holdfast"
BREAKS: list[tuple[str, Break, type[RepositoryError], str]] = [
    ("description-flipped", flip(layout.DESCRIPTION), Corrupt, "holdfast.json is damaged"),
    ("description-cut", cut(layout.DESCRIPTION), Corrupt, "holdfast.json is damaged"),
    ("description-gone", gone(layout.DESCRIPTION), NotARepository, "holds no repository"),
    ("description-newer", describe(format=2), UnsupportedVersion, f"has format 2; .* reads format 1. {NEWER}"),
    ("description-absurd", describe(repository="none"), Corrupt, "holdfast.json is not readable"),
    ("description-foreign", foreign_description, WrongKey, "not written with this installation's keys"),
    ("description-of-another", describe(vault="ab" * 16), WrongKey, "repository of another installation"),
    ("slots-cut", all_slots(lambda data: data[:-9]), Corrupt, "keys/.* is damaged"),
    ("slots-newer", all_slots(newer_slot), UnsupportedVersion, NEWER),
    ("pack-flipped", flip("packs"), Corrupt, "A blob in packs/.* is damaged"),
    ("pack-newer", header("packs", 4, 2), UnsupportedVersion, f"packs/.* has format 2; .* format 1. {NEWER}"),
    ("pack-of-a-newer-suite", header("packs", 5, 3), UnsupportedVersion, f"unknown suite 3. {NEWER}"),
    ("manifest-of-an-unknown-epoch", header("manifests", 8, 9), WrongKey, "changed at another installation"),
    ("manifest-flipped", flip("manifests"), Corrupt, "manifests/.* is damaged"),
    ("manifest-cut", cut("manifests"), Corrupt, "manifests/.* is damaged"),
    ("manifest-newer", header("manifests", 4, 2), UnsupportedVersion, f"manifests/.* has format 2; .*{NEWER}"),
    ("manifest-newer-inside", manifest(v=2), UnsupportedVersion, f"has version 2; .* reads version 1. {NEWER}"),
    ("manifest-absurd", absurd_box, Corrupt, "claims something absurd"),
    ("manifest-without-sense", manifest(roots=7), Corrupt, "not readable"),
    ("manifest-of-another-time", manifest(finishedAt=1 << 62), Corrupt, "not readable"),
    ("manifest-under-a-false-name", manifest(id=b"x" * 16), Corrupt, "under a false name"),
]


@pytest.mark.parametrize(("act", "kind", "sentence"), [each[1:] for each in BREAKS], ids=[each[0] for each in BREAKS])
def test_the_engine_says_what_is_wrong(place: Path, act: Break, kind: type[RepositoryError], sentence: str) -> None:
    act(place)
    with pytest.raises(RepositoryError, match=sentence) as caught:
        read_everything(place)
    assert type(caught.value) is kind or (kind is Corrupt and isinstance(caught.value, Corrupt))
    assert caught.value.message.endswith(".")
    assert "\n" not in str(caught.value)


# A repository that nothing is wrong with but its description still opens with the rescue program.
RESCUED = {
    "description-flipped",
    "description-cut",
    "description-gone",
    "description-absurd",
    "description-of-another",
}
CODES = {Corrupt: rescue.DAMAGE, UnsupportedVersion: rescue.FAILED, WrongKey: rescue.WRONG_KEY}


@pytest.mark.parametrize(("name", "act", "kind"), [each[:3] for each in BREAKS], ids=[each[0] for each in BREAKS])
def test_the_rescue_program_says_what_is_wrong(
    place: Path, tmp_path: Path, name: str, act: Break, kind: type[RepositoryError], capsys: pytest.CaptureFixture[str]
) -> None:
    act(place)
    (tmp_path / "key").write_text(shelf.expected()["key"])
    code = rescue.main(["check", "--repository", str(place), "--key-file", str(tmp_path / "key")])
    told = capsys.readouterr().err
    assert "Traceback" not in told
    if name in RESCUED:
        assert code == rescue.DONE
        return
    assert code in (CODES[kind], rescue.DAMAGE if kind is WrongKey else CODES[kind]), told
    if kind is UnsupportedVersion:
        assert "newer" in told


@pytest.mark.parametrize(
    ("act", "kind"),
    [
        (flip("packs"), "corrupt"),
        (cut("packs"), "truncated"),
        (header("packs", 8, 9), "wrong-key"),
        (gone("heads"), "missing"),
    ],
)
def test_verify_names_the_object_and_what_is_hit(place: Path, act: Break, kind: str) -> None:
    hit = one_of(place, "packs" if kind != "missing" else "heads").relative_to(place).as_posix()
    act(place)
    report = check(shelf.open_golden(place), progress=Silent())
    found = {damage.object: damage for damage in report.errors}
    assert found[hit].kind == kind
    assert found[hit].reason.endswith(".")
    assert any(damage.backups for damage in report.errors) == (kind != "missing"), "nothing is read through a head"


@pytest.mark.parametrize("act", [flip("index"), cut("index"), gone("index")])
def test_without_an_index_nothing_is_lost(place: Path, act: Break) -> None:
    act(place)
    read_everything(place)
    report = check(shelf.open_golden(place), progress=Silent())
    assert {damage.object.partition("/")[0] for damage in report.errors} <= {"index"}
    assert len(report.sound) == report.backups_checked


def test_a_blob_that_claims_to_be_huge_is_refused_before_it_is_unpacked(place: Path) -> None:
    opened = shelf.open_golden(place)
    (id,) = store(opened, Blob(DATA, bytes(17 << 20)))
    with pytest.raises(Corrupt, match="absurd length"):
        open_reader(opened).read(id)


def unknown_slot(place: Path) -> None:
    keys = shelf.unlocked(place)
    name, data = keyring.wrap(keys, "passphrase", b"p" * 32)
    (place / name).write_bytes(data)


def unknown_folder(place: Path) -> None:
    (place / "notes").mkdir()
    (place / "notes" / ("ab" * 16)).write_bytes(b"of a later version")


@pytest.mark.parametrize(
    "act",
    [
        describe(motto="nobody knows this key"),
        manifest(mood=b"nor this one"),
        manifest(totals={"files": 1, "gold": 7}),
        unknown_slot,
        unknown_folder,
    ],
)
def test_what_version_1_may_still_add_disturbs_nobody(
    place: Path, tmp_path: Path, act: Break, capsys: pytest.CaptureFixture[str]
) -> None:
    """docs/format.md, section 13."""
    act(place)
    read_everything(place)
    (tmp_path / "key").write_text(shelf.expected()["key"])
    assert rescue.main(["check", "--repository", str(place), "--key-file", str(tmp_path / "key")]) == rescue.DONE
    assert "0 problems" in capsys.readouterr().out

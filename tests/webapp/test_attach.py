"""A lost installation comes back from its destinations: keys, configurations without secrets, restore points."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engine import keyring as keys
from engine.errors import Corrupt, NotARepository, WrongKey
from tests.support.forked import ForkedCommandLine
from tests.support.s3 import Store
from tests.webapp.points import Shop
from webapp.errors import Conflict, KeyMissing
from webapp.installation import Installation, open_installation
from webapp.services import attach, configurations, destinations, keyrings, records, repositories
from webapp.settings import read_settings

CODE = re.compile(r"(?:[A-Z2-7]{4}-\s*){13}[A-Z2-7]{4}")
CANARY = "canary-4711"


@dataclass(frozen=True)
class Left:
    """What an installation left behind: the folder that holds its home and the disks `nas` and `usb`, the code of its
    kit, and the ids of its restore points, newest first."""

    folder: Path
    code: str
    points: list[str]

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def key(self) -> str:
        return (self.home / "backup.key").read_text().strip()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Left]:
    folder = tmp_path_factory.mktemp("attach")
    cli = ForkedCommandLine(folder / "command-line")
    cli.home = folder / "disks" / "home"
    shop = Shop.at(cli)
    (shop.source / "file").write_text("first")
    channel = {"onFailure": [f"slack://{CANARY}"]}
    cli("destination", "add", "usb", "--path", "../usb", code=0)
    shop.configure(places=("../nas", "../usb"), name="As it was")
    first = cli("create", "--config", "shop", "--json", code=0)
    shop.configure("quiet", places=("../nas",), notifications=channel, enabled=True)
    second = shop.create("quiet")
    shop.configure(places=("../nas", "../usb"), name="As it is")
    third = shop.create()
    kit = cli("key", "kit", code=0).stdout
    yield Left(folder / "disks", "".join(CODE.findall(kit)[0].split()), [third, second, first.json["backupId"]])
    cli.close()


@pytest.fixture
def left(made: Left, tmp_path: Path) -> Left:
    shutil.copytree(made.folder, tmp_path / "disks")
    return Left(tmp_path / "disks", made.code, made.points)


def silent(message: str) -> None:
    """Nobody listens."""


def opened(home: Path, **environment: str) -> Installation:
    return open_installation(read_settings({"HOLDFAST_HOME": str(home), **environment}))


def take(installation: Installation, left: Left, name: str, code: str | None = None) -> attach.Attached:
    typed = {"path": str(left.folder / name)}
    return attach.attach(installation, name, "local", typed, code=code, cwd=Path("/"), tell=silent)


def points(installation: Installation) -> dict[str, set[str]]:
    """The restore points on record with the destinations that have them."""
    found: dict[str, set[str]] = {}
    for config_id in ("shop", "quiet"):
        for each in records.of_configuration(installation, config_id):
            found[each.public_id] = {copy.destination.name for copy in each.copies}
    return found


def test_with_the_key(left: Left, tmp_path: Path) -> None:
    with closing(opened(tmp_path / "new", BACKUP_ENCRYPTION_KEY=left.key)) as installation:
        nas = take(installation, left, "nas")
        assert sorted(nas.found) == sorted(left.points)
        assert {each.config_id: each.points for each in nas.configurations} == {"shop": 2, "quiet": 1}
        usb = take(installation, left, "usb")
        assert usb.configurations == ()
        newest, quiet, oldest = left.points
        assert points(installation) == {newest: {"nas", "usb"}, quiet: {"nas"}, oldest: {"nas", "usb"}}
        shop = configurations.find(installation, "shop")
        assert shop.name == "As it is"
        assert shop.document["destinations"] == [
            {"type": "local", "config": {"path": "../nas"}},
            {"type": "local", "config": {"path": "../usb"}},
        ]


def test_with_the_recovery_code_alone(left: Left, tmp_path: Path) -> None:
    shutil.rmtree(left.home)
    with closing(opened(tmp_path / "new")) as installation:
        with pytest.raises(KeyMissing, match="no encryption key"):
            take(installation, left, "nas")
        assert len(take(installation, left, "nas", left.code).found) == 3
        assert keyrings.is_code_confirmed(installation.settings)
        take(installation, left, "usb")
        vault = repositories.open_keyring(installation, may_create=False, tell=silent).vault
    new = bytes.fromhex((tmp_path / "new" / "backup.key").read_text())
    for name in ("nas", "usb"):  # the new key has a slot at every destination
        slots = [
            keys.read_slot(f"keys/{path.name}", path.read_bytes()) for path in (left.folder / name / "keys").iterdir()
        ]
        assert keys.unlock(slots, keys.SERVICE, new).vault == vault


def test_the_key_is_lost_but_not_the_home(left: Left) -> None:
    (left.home / "backup.key").unlink()
    with closing(opened(left.home)) as installation:
        before = {each.repository_id for each in destinations.listing(installation)}
        found = take(installation, left, "nas", left.code)
        assert (found.found, found.configurations) == ((), ())
        assert {each.repository_id for each in destinations.listing(installation)} == before
        assert repositories.open_keyring(installation, may_create=False, tell=silent).vault
    assert len((left.home / "backup.key").read_text().strip()) == 64


def test_another_keyring_is_refused_and_nothing_changes(left: Left, tmp_path: Path) -> None:
    with closing(opened(tmp_path / "other", BACKUP_ENCRYPTION_KEY=left.key)) as other:
        destinations.add(other, "own", "local", {"path": str(tmp_path / "own")}, tell=silent)
        before = _content(left.folder / "nas"), _content(tmp_path / "other" / "keys")
        for code in (None, left.code):
            with pytest.raises(WrongKey, match="another installation"):
                take(other, left, "nas", code)
        assert (_content(left.folder / "nas"), _content(tmp_path / "other" / "keys")) == before
        assert [each.name for each in destinations.listing(other)] == ["own"]


def test_wrong_secrets_leave_nothing(left: Left, tmp_path: Path) -> None:
    with closing(opened(tmp_path / "new", BACKUP_ENCRYPTION_KEY="ab" * 32)) as installation:
        with pytest.raises(WrongKey, match="its key is another one"):
            take(installation, left, "nas")
        with pytest.raises(WrongKey, match="does not open"):
            take(installation, left, "nas", keys.new_recovery_code())
        (tmp_path / "disks" / "empty").mkdir()
        with pytest.raises(NotARepository):
            take(installation, left, "empty", left.code)
        assert destinations.listing(installation) == []
    assert not list((tmp_path / "new").glob("keys/*"))


def test_a_destination_without_a_readable_slot(left: Left, tmp_path: Path) -> None:
    for slot in (left.folder / "nas" / "keys").iterdir():
        slot.chmod(0o600)
        slot.write_bytes(b"rot")
    with closing(opened(tmp_path / "new", BACKUP_ENCRYPTION_KEY=left.key)) as installation:
        with pytest.raises(Corrupt, match="No key slot"):
            take(installation, left, "nas")
        assert not keyrings.is_there(installation.settings)  # no new keyring was made in its place
        take(installation, left, "usb")
        assert len(take(installation, left, "nas").found) == 3
    assert all(
        path.read_bytes() != b"rot" for path in (left.folder / "nas" / "keys").iterdir() if _is_ours(path, tmp_path)
    )


def test_secrets_are_not_there_and_what_lacks_is_told(left: Left, tmp_path: Path) -> None:
    with closing(opened(tmp_path / "new", BACKUP_ENCRYPTION_KEY=left.key)) as installation:
        brought = {each.config_id: each.notes for each in take(installation, left, "nas").configurations}
        assert any("(hidden)" in note for note in brought["quiet"])
        assert not configurations.find(installation, "quiet").enabled
        assert any("/destinations/0 is not attached" in note for note in brought["shop"])  # another path than it was
        assert configurations.find(installation, "shop").enabled
    with sqlite3.connect(tmp_path / "new" / "holdfast.db") as database:
        assert CANARY not in "\n".join(database.iterdump())


def test_a_configuration_that_was_deleted_here_stays_deleted(left: Left) -> None:
    with closing(opened(left.home)) as installation:
        configurations.delete(installation, "shop")
        take(installation, left, "nas")
        assert [each.id for each in configurations.listing(installation)] == ["quiet"]


def test_a_name_that_is_taken(left: Left, tmp_path: Path) -> None:
    with closing(opened(tmp_path / "new", BACKUP_ENCRYPTION_KEY=left.key)) as installation:
        take(installation, left, "nas")
        typed = {"path": str(left.folder / "usb")}
        with pytest.raises(Conflict, match="nas already"):
            attach.attach(installation, "nas", "local", typed, code=None, cwd=Path("/"), tell=silent)
        assert [each.name for each in destinations.listing(installation)] == ["nas"]


def test_a_bucket_with_typed_credentials(moto: Store, tmp_path: Path) -> None:
    typed: dict[str, Any] = {"bucket": moto.bucket, "prefix": "attach", "endpoint": moto.endpoint}
    typed |= {"region": None, "accessKeyId": moto.access_key, "secretAccessKey": moto.secret_key}
    told: list[str] = []
    with closing(opened(tmp_path / "old")) as old:
        destinations.add(old, "store", "s3", typed, tell=told.append)
    (code,) = CODE.findall(" ".join(told))
    with closing(opened(tmp_path / "new")) as new:
        found = attach.attach(new, "store", "s3", typed, code=code, cwd=Path("/"), tell=silent)
        assert (found.found, found.configurations) == ((), ())
        (row,) = destinations.listing(new)
        assert row.sealed is not None
        assert moto.secret_key not in repr(row.settings)
        (tmp_path / "new" / "backup.key").unlink()  # the key is lost again: the same command seals them anew
        attach.attach(new, "store", "s3", typed, code=code, cwd=Path("/"), tell=silent)
        (row,) = destinations.listing(new)
        with closing(repositories.open_storage(new, row)) as storage:
            assert list(storage.list("keys/"))


def _content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _is_ours(slot: Path, folder: Path) -> bool:
    return (folder / "new" / "keys" / slot.name).exists()

"""The keyring in the home: made once whatever happens at the same moment, never replaced when it was used."""

from __future__ import annotations

import multiprocessing
import shutil
from pathlib import Path

import pytest

from engine.errors import WrongKey
from tests.webapp.support import make_keyring_at_once
from webapp.errors import KeyMissing, NotFound
from webapp.installation import Installation
from webapp.services import destinations, keyrings, repositories, secrets


def test_processes_that_make_it_at_once_end_with_the_same(installation: Installation) -> None:
    context = multiprocessing.get_context("spawn")
    gate, results = context.Barrier(3), context.Queue()
    home = str(installation.settings.home)
    children = [context.Process(target=make_keyring_at_once, args=(home, gate, results)) for _ in range(3)]
    for child in children:
        child.start()
    answers = [results.get(timeout=60) for _ in children]
    for child in children:
        child.join()
    assert len({vault for vault, _ in answers}) == 1
    assert sum("recovery code" in told for _, told in answers) == 1
    assert len(keyrings.local_slots(installation.settings)) == 2


def test_none_is_made_unless_it_may_be(installation: Installation) -> None:
    with pytest.raises(NotFound, match="Nothing was backed up"):
        repositories.open_keyring(installation, may_create=False, tell=print)
    assert keyrings.local_slots(installation.settings) == {}


def test_a_crash_before_the_end_leaves_none(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(message: str) -> None:
        if "recovery code" in message:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        repositories.open_keyring(installation, may_create=True, tell=die)
    assert keyrings.local_slots(installation.settings) == {}
    assert [path.name for path in installation.settings.home.iterdir() if "keys." in path.name] == [".keys.lock"]
    told: list[str] = []
    repositories.open_keyring(installation, may_create=True, tell=told.append)
    assert sum("recovery code" in message for message in told) == 1


def test_a_used_keyring_is_never_replaced(installation: Installation, tmp_path: Path) -> None:
    added = destinations.add(installation, "nas", "local", {"path": str(tmp_path / "nas")}, tell=print)
    keyring = repositories.open_keyring(installation, may_create=True, tell=print)
    folder = keyrings.keys_folder(installation.settings)
    shutil.rmtree(folder)
    again = repositories.open_keyring(installation, may_create=True, tell=print)
    assert again.vault == keyring.vault
    assert {path.name for path in (tmp_path / "nas" / "keys").iterdir()} == {path.name for path in folder.iterdir()}
    shutil.rmtree(folder)
    (tmp_path / "nas").rename(tmp_path / "elsewhere")
    with pytest.raises(KeyMissing, match="no destination"):
        repositories.open_keyring(installation, may_create=True, tell=print)
    assert not folder.exists()
    assert added.repository_id


def test_one_damaged_slot_is_no_loss(installation: Installation, tmp_path: Path) -> None:
    destinations.add(installation, "nas", "local", {"path": str(tmp_path / "nas")}, tell=print)
    vault = repositories.open_keyring(installation, may_create=False, tell=print).vault
    for slot in keyrings.keys_folder(installation.settings).iterdir():
        slot.write_bytes(b"rot")
    assert repositories.open_keyring(installation, may_create=False, tell=print).vault == vault
    assert len(keyrings.readable(keyrings.local_slots(installation.settings))) == 2


def test_sealed_secrets_open_under_their_key_and_place_alone(installation: Installation) -> None:
    settings = installation.settings
    sealed = secrets.seal(settings, {"secretAccessKey": "canary"}, bound="a", may_generate=True, tell=print)
    assert b"canary" not in sealed
    assert secrets.unseal(settings, sealed, bound="a", tell=print) == {"secretAccessKey": "canary"}
    with pytest.raises(WrongKey):
        secrets.unseal(settings, sealed, bound="b", tell=print)
    (settings.home / "backup.key").write_text("ab" * 32)
    with pytest.raises(WrongKey):
        secrets.unseal(settings, sealed, bound="a", tell=print)

"""Two homes of one installation change the keys, one after the other or at once: nothing becomes unreadable, and what
one took away the other does not put back."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from engine import keyring as keys
from engine.errors import WrongKey
from engine.ids import new_id
from engine.repository import repository as engine
from engine.storage.local import LocalStorage
from tests.webapp.keyring_home import PLACES, key_of, opened_at, silent
from webapp.installation import Installation
from webapp.services import destinations, keyring_copies, keyrings, kit, repositories
from webapp.services import keys as service

OTHER_KEY = bytes(range(1, 33))
Homes = tuple[Installation, Installation]


@pytest.fixture
def pair(home: Path, tmp_path: Path) -> Iterator[Homes]:
    """Two homes with the same key and the same two destinations."""
    for place in PLACES:
        (home / place).rename(tmp_path / place)
        (home / place).symlink_to(tmp_path / place)
    shutil.copytree(home, tmp_path / "other", symlinks=True)
    with ExitStack() as opened:
        one, two = (opened.enter_context(closing(opened_at(tmp_path / name))) for name in ("home", "other"))
        yield one, two


@pytest.fixture
def strangers(pair: Homes, code: str) -> Homes:
    """The same, but the second home came by the recovery code: it has a key of its own."""
    _, other = pair
    (other.settings.home / "backup.key").write_text(OTHER_KEY.hex())
    shutil.rmtree(keyrings.keys_folder(other.settings))
    _attach(other, code)
    return pair


def test_changed_at_once_with_one_key(pair: Homes, tmp_path: Path) -> None:
    codes = _change_at_once(pair, tmp_path)
    for home in pair:
        assert _read(home) == 3
    for home, code in zip(pair, codes, strict=True):
        with pytest.raises(WrongKey, match="a part of the backups only"):
            keyrings.confirm_code(home.settings, code)
        assert not keyrings.is_code_confirmed(home.settings)
    ours, other = pair
    (whole, *_) = ["".join(kit.make(ours, present_code=None, tell=silent).code)]
    assert service.settle(ours) == {}
    keyrings.confirm_code(ours.settings, whole)
    assert _opened_with(tmp_path / "one", keys.RECOVERY_CODE, keys.read_recovery_code(whole)) == 3
    assert _opened_with(tmp_path / "one", keys.SERVICE, key_of(other.settings.home)) == 3
    assert _read(other) == 3


def test_changed_at_once_with_two_keys(strangers: Homes, tmp_path: Path) -> None:
    """Neither can read what the other seals since; both keep all that they have, until they are told."""
    codes = _change_at_once(strangers, tmp_path)
    for home in strangers:
        with pytest.raises(WrongKey, match=r"changed at another installation.*new recovery code"):
            _read(home)
        before = keyrings.local_slots(home.settings)
        for change in (_rotate, lambda each: service.replace_code(each, tell=silent)):
            with pytest.raises(WrongKey, match="changed at another installation"):
                change(home)
        assert keyrings.local_slots(home.settings) == before
    _, other = strangers
    told = _attach(other, codes[0])
    assert "a part of the backups only" in " ".join(told)
    assert _read(other) == 3
    assert _rotate(other)
    assert _opened_with(tmp_path / "one", keys.SERVICE, OTHER_KEY) == 3
    assert service.settle(other) == {}


def test_a_code_that_was_changed_elsewhere_does_not_come_back(strangers: Homes, code: str, tmp_path: Path) -> None:
    ours, other = strangers
    new = _rotate(ours)
    for _ in range(2):
        _look(other)
        for place in PLACES:
            assert not _opened_with(tmp_path / place, keys.RECOVERY_CODE, keys.read_recovery_code(code))
            assert _opened_with(tmp_path / place, keys.RECOVERY_CODE, keys.read_recovery_code(new))
    _attach(other, new)
    assert len(repositories.open_keyring(other, may_create=False, tell=silent).epochs) == 2
    _rotate(other)
    assert not _opened_with(tmp_path / "one", keys.RECOVERY_CODE, keys.read_recovery_code(new))


@pytest.mark.parametrize("is_away", [False, True])
def test_the_other_home_follows_and_lets_the_old_code_go(
    pair: Homes, code: str, tmp_path: Path, *, is_away: bool
) -> None:
    """Also while a destination is away, where the old slots stay until it is back."""
    ours, other = pair
    if is_away:
        (tmp_path / "two").rename(tmp_path / "away")
    new = _rotate(ours, waiting=int(is_away))
    with ExitStack() as stack:
        if is_away:
            stack.callback((tmp_path / "away").rename, tmp_path / "two")
        _look(other, places=1 if is_away else 2)
    _look(other)
    assert service.settle(other) == {}
    for place in (tmp_path / "one", tmp_path / "two", other.settings.home):
        assert not _opened_with(place, keys.RECOVERY_CODE, keys.read_recovery_code(code))
        assert _opened_with(place, keys.RECOVERY_CODE, keys.read_recovery_code(new))
    assert service.settle(ours) == {}
    assert _read(ours) == _read(other) == 1


def test_a_slot_that_was_lost_is_put_back(pair: Homes, code: str, tmp_path: Path) -> None:
    ours, _ = pair
    _look(ours)
    for slot in (tmp_path / "one" / "keys").iterdir():
        slot.unlink()
    _look(ours)
    assert _opened_with(tmp_path / "one", keys.RECOVERY_CODE, keys.read_recovery_code(code)) == 1


def _change_at_once(homes: Homes, tmp_path: Path) -> list[str]:
    """Each changes the keys while it sees no destination, then adds a restore point at the first one. Their codes."""
    codes = []
    for home in homes:
        for place in PLACES:
            (tmp_path / place).rename(tmp_path / f"{place}-away")
        codes.append(_rotate(home, waiting=len(PLACES)))
        for place in PLACES:
            (tmp_path / f"{place}-away").rename(tmp_path / place)
    for home in homes:
        _seal(home)
    return codes


def _rotate(home: Installation, *, waiting: int = 0) -> str:
    """Changes the keys; the new recovery code."""
    told: list[str] = []
    assert len(service.rotate(home, new_key=None, kept_code=None, tell=told.append).waiting) == waiting
    return "".join(told[-1].split("\n\n")[1].split())


def _attach(home: Installation, code: str) -> list[str]:
    """With a recovery code; what was told."""
    told: list[str] = []
    (one, _) = destinations.listing(home)
    with closing(repositories.open_storage(home, one)) as storage:
        keyrings.take_over_with_code(home.settings, storage, code, told.append)
    _look(home)
    return told


def _look(home: Installation, *, places: int = 2) -> None:
    """Opens the first destinations, as every backup does."""
    for destination in destinations.listing(home)[:places]:
        keyring = repositories.open_keyring(home, may_create=False, tell=silent)
        repository = repositories.open_repository(home, destination, keyring)
        with closing(repository.storage):
            keyring_copies.place(home.settings, repository, always=True)


@contextmanager
def _first(home: Installation) -> Iterator[engine.Repository]:
    (one, _) = destinations.listing(home)
    repository = repositories.open_repository(home, one, repositories.open_keyring(home, may_create=False, tell=silent))
    with closing(repository.storage):
        yield repository


def _seal(home: Installation) -> None:
    """One more restore point, sealed with the newest keys that this home has."""
    with _first(home) as repository:
        oldest = min(
            repository.manifest_ids(), key=lambda each: repository.storage.stat(f"manifests/{each.hex()}").modified_at
        )
        point = replace(repository.read_manifest(oldest).manifest, id=new_id())
        repository.commit(point, repository.seal_manifest(point))


def _read(home: Installation) -> int:
    """How many restore points the home reads at the first destination. Raises WrongKey."""
    with _first(home) as repository:
        return len([repository.read_manifest(each) for each in repository.manifest_ids()])


def _opened_with(folder: Path, kind: str, secret: bytes) -> int:
    """How many restore points the secret alone opens in a folder, in a home 1 if it opens a slot; 0 when it opens no
    slot. Raises WrongKey for one that it does not open."""
    slots = [keys.read_slot(f"keys/{path.name}", path.read_bytes()) for path in folder.glob("keys/[0-9a-f]*")]
    try:
        keyring = keys.unlock(slots, kind, secret)
    except WrongKey:
        return 0
    if not (folder / "holdfast.json").exists():
        return 1
    with closing(LocalStorage(folder)) as storage:
        repository = engine.open_repository(storage, keyring, expected=None)
        return len([repository.read_manifest(each) for each in repository.manifest_ids()])

"""The key file: made once however many ask at the same time, private, and never replaced when it is damaged."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from webapp.errors import KeyMissing, SettingsInvalid
from webapp.keyfile import encryption_key, key_path
from webapp.settings import Settings, read_settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return read_settings({"HOLDFAST_HOME": str(tmp_path / "home")})


def test_the_environment_comes_first(tmp_path: Path) -> None:
    settings = read_settings({"HOLDFAST_HOME": str(tmp_path), "BACKUP_ENCRYPTION_KEY": "ab" * 32})
    assert encryption_key(settings, may_generate=True, tell=print) == b"\xab" * 32
    assert not key_path(settings).exists()


def test_a_key_is_made_once_and_told(settings: Settings) -> None:
    told: list[str] = []
    first = encryption_key(settings, may_generate=True, tell=told.append)
    assert len(told) == 1
    assert str(key_path(settings)) in told[0]
    assert first.hex() not in told[0]
    assert encryption_key(settings, may_generate=False, tell=told.append) == first
    assert len(told) == 1
    assert stat.S_IMODE(key_path(settings).stat().st_mode) == 0o600
    assert [path.name for path in settings.home.iterdir()] == ["backup.key"]


def test_many_at_once_end_with_the_same_key(settings: Settings) -> None:
    keys: list[bytes] = []
    told: list[str] = []
    gate = threading.Barrier(8)

    def ask() -> None:
        gate.wait()
        keys.append(encryption_key(settings, may_generate=True, tell=told.append))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 8
    assert len(set(keys)) == 1
    assert len(told) == 1
    assert [path.name for path in settings.home.iterdir()] == ["backup.key"]


def test_a_missing_key_is_not_replaced_where_backups_exist(settings: Settings) -> None:
    with pytest.raises(KeyMissing, match=r"backup\.key does not exist"):
        encryption_key(settings, may_generate=False, tell=print)
    assert not settings.home.exists()


@pytest.mark.parametrize("content", [b"", b"ab" * 31, b"ab" * 33, b"zz" * 32, bytes(64), b"ab" * 32 + b"\nab"])
def test_a_damaged_key_file_is_an_error_and_stays(settings: Settings, content: bytes) -> None:
    settings.home.mkdir()
    key_path(settings).write_bytes(content)
    with pytest.raises(SettingsInvalid, match="64 hexadecimal digits"):
        encryption_key(settings, may_generate=True, tell=print)
    assert key_path(settings).read_bytes() == content


def test_a_key_file_that_others_can_read_is_a_warning(settings: Settings) -> None:
    told: list[str] = []
    key = encryption_key(settings, may_generate=True, tell=told.append)
    key_path(settings).chmod(0o644)
    assert encryption_key(settings, may_generate=True, tell=told.append) == key
    assert "0644" in told[-1]


def test_a_folder_in_the_place_of_the_key_is_an_error(settings: Settings) -> None:
    key_path(settings).mkdir(parents=True)
    with pytest.raises(SettingsInvalid, match="is not a file"):
        encryption_key(settings, may_generate=True, tell=print)

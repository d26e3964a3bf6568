"""The environment: every fault at once, no secret repeated, and the home made private."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from webapp.errors import SettingsInvalid
from webapp.settings import CHECKOUT, ensure_home, read_settings

KEY = "0123456789abcdef" * 4


def test_defaults_are_below_the_checkout() -> None:
    settings = read_settings({})
    assert settings.home == CHECKOUT / "data"
    assert settings.database_url == f"sqlite:///{CHECKOUT}/data/holdfast.db"
    assert settings.bind == ("127.0.0.1", 8000)
    assert settings.encryption_key is None
    assert settings.queues == ("backup", "restore", "system")


def test_everything_is_read(tmp_path: Path) -> None:
    settings = read_settings(
        {
            "HOLDFAST_HOME": "state",
            "HOLDFAST_DATABASE_URL": "postgresql://holdfast:secret@db/holdfast",
            "BACKUP_ENCRYPTION_KEY": KEY,
            "HOLDFAST_BIND": "[::1]:9000",
            "HOLDFAST_ALLOWED_NETWORKS": "10.0.0.0/8, fd00::/8",
            "HOLDFAST_TIMEZONE": "Europe/Berlin",
            "HOLDFAST_PG_BIN": str(tmp_path),
            "HOLDFAST_QUEUES": "backup,host:store-12",
            "HOLDFAST_CACHE_GIB": "20",
            "REDIS_URL": "",
        },
        cwd=tmp_path,
    )
    assert settings.home == tmp_path / "state"
    assert settings.encryption_key == bytes.fromhex(KEY)
    assert settings.bind == ("::1", 9000)
    assert settings.allowed_networks == ("10.0.0.0/8", "fd00::/8")
    assert settings.timezone == "Europe/Berlin"
    assert settings.pg_bin == tmp_path
    assert settings.queues == ("backup", "host:store-12")
    assert settings.cache_bytes == 20 << 30
    assert settings.redis_url is None


def test_all_faults_at_once_and_no_secret_in_them(tmp_path: Path) -> None:
    environment = {
        "BACKUP_ENCRYPTION_KEY": "canary-key",
        "HOLDFAST_SECRET_KEY": "canary-secret",
        "HOLDFAST_DATABASE_URL": "mysql://user:canary-password@host/db",
        "HOLDFAST_BIND": "8000",
        "HOLDFAST_ALLOWED_NETWORKS": "10.0.0.0/40",
        "HOLDFAST_TRUSTED_PROXIES": "proxy",
        "HOLDFAST_SMTP_URL": "http://user:canary-mail@host",
        "HOLDFAST_MAIL_FROM": "nobody",
        "HOLDFAST_TIMEZONE": "Mars/Olympus",
        "HOLDFAST_PG_BIN": str(tmp_path / "nowhere"),
        "HOLDFAST_QUEUES": "Backup!",
        "HOLDFAST_CACHE_GIB": "-1",
        "REDIS_URL": "tcp://host",
    }
    with pytest.raises(SettingsInvalid) as caught:
        read_settings(environment)
    assert {fault.pointer for fault in caught.value.faults} == set(environment)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("text", [KEY[:-1], KEY + "0", "g" * 64, KEY[:-2] + "  x"])
def test_a_key_is_exactly_64_hexadecimal_digits(text: str) -> None:
    with pytest.raises(SettingsInvalid, match="64 hexadecimal digits") as caught:
        read_settings({"BACKUP_ENCRYPTION_KEY": text})
    assert text not in str(caught.value)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:memory", "postgresql://h:port/db"])
def test_a_database_url_must_be_usable(url: str) -> None:
    with pytest.raises(SettingsInvalid):
        read_settings({"HOLDFAST_DATABASE_URL": url})


def test_a_misspelt_variable_is_a_warning() -> None:
    settings = read_settings({"HOLDFAST_DATABSE_URL": "x"})
    assert len(settings.warnings) == 1
    assert "HOLDFAST_DATABSE_URL" in settings.warnings[0]


def test_secrets_are_not_in_the_repr() -> None:
    settings = read_settings(
        {"BACKUP_ENCRYPTION_KEY": KEY, "HOLDFAST_SECRET_KEY": "canary" * 6, "HOLDFAST_SMTP_URL": "smtp://u:canary@h"}
    )
    assert "canary" not in repr(settings)
    assert KEY not in repr(settings)
    assert repr(bytes.fromhex(KEY)) not in repr(settings)


def test_the_home_is_made_private(tmp_path: Path) -> None:
    home = ensure_home(read_settings({"HOLDFAST_HOME": str(tmp_path / "a" / "b")}))
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_a_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name in ("file", "file/below"):
        with pytest.raises(SettingsInvalid, match="HOLDFAST_HOME"):
            ensure_home(read_settings({"HOLDFAST_HOME": str(tmp_path / name)}))
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("name", ["HOLDFAST_HOME", "HOLDFAST_PG_BIN"])
def test_the_home_of_a_user_who_does_not_exist_is_told(name: str) -> None:
    with pytest.raises(SettingsInvalid) as caught:
        read_settings({name: "~no-such-user/folder"})
    assert caught.value.faults[0].pointer == name
    assert "a user who does not exist" in caught.value.faults[0].detail

"""Secrets in files: read as their variables are, every fault told at once, and never handed on to a child."""

from __future__ import annotations

from pathlib import Path

import pytest

from webapp.errors import SettingsInvalid
from webapp.secret_files import NAMES, without_secrets
from webapp.settings import read_settings

KEY = "ab" * 32


def test_a_file_holds_the_value(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")
    (tmp_path / "url").write_text("postgresql://shop:secret@db/shop\r\n")
    (tmp_path / "empty").write_text("\n")
    files = {"BACKUP_ENCRYPTION_KEY": "key", "DATABASE_URL": "url", "HOLDFAST_SECRET_KEY": "empty"}
    given = {f"{name}_FILE": str(tmp_path / file) for name, file in files.items()}
    settings = read_settings(given)
    assert settings.encryption_key == bytes.fromhex(KEY)
    assert settings.environment["DATABASE_URL"] == "postgresql://shop:secret@db/shop"
    assert settings.secret_key is None
    assert settings.warnings == ()
    assert without_secrets(settings.environment) == given
    # What was read may be read again, as a child does that got all of it.
    assert read_settings(settings.environment).encryption_key == settings.encryption_key


def test_every_fault_at_once(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\0")
    (tmp_path / "large").write_bytes(b"x" * 100_000)
    environment = {
        "BACKUP_ENCRYPTION_KEY_FILE": str(tmp_path / "key"),
        "BACKUP_ENCRYPTION_KEY": "cd" * 32,
        "REDIS_URL_FILE": str(tmp_path / "missing"),
        "DATABASE_URL_FILE": str(tmp_path),
        "HOLDFAST_SECRET_KEY_FILE": str(tmp_path / "binary"),
        "HOLDFAST_SMTP_URL_FILE": str(tmp_path / "large"),
    }
    with pytest.raises(SettingsInvalid) as raised:
        read_settings(environment)
    found = {fault.pointer: fault.detail for fault in raised.value.faults}
    assert found.keys() == (environment.keys() - {"BACKUP_ENCRYPTION_KEY_FILE"})
    assert "No such file" in found["REDIS_URL_FILE"]
    assert KEY not in str(raised.value)


def test_what_a_file_says_is_checked_like_the_variable(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("not hexadecimal")
    with pytest.raises(SettingsInvalid) as raised:
        read_settings({"BACKUP_ENCRYPTION_KEY_FILE": str(tmp_path / "key")})
    assert [fault.pointer for fault in raised.value.faults] == ["BACKUP_ENCRYPTION_KEY"]


def test_every_name_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "containers.md").read_text(encoding="utf-8")
    assert [name for name in NAMES if f"`{name}`" not in text] == []

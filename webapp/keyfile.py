"""The installation's encryption key: from BACKUP_ENCRYPTION_KEY, else from `<home>/backup.key`, made on first need.

The file appears whole or not at all, with mode 0600, and two processes that make it at once end with the same key.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

from webapp.errors import Fault, Invalid, KeyMissing, SettingsInvalid
from webapp.files import publish
from webapp.settings import KEY_BYTES, Settings, ensure_home

KEY_FILE = "backup.key"
_CONTENT = re.compile(rb"\s*([0-9a-fA-F]{64})\s*")
_MAX_FILE = 4096


def generate_key() -> bytes:
    """A fresh random key of 32 bytes."""
    return os.urandom(KEY_BYTES)


def key_path(settings: Settings) -> Path:
    """Where the key file is or would be."""
    return settings.home / KEY_FILE


def encryption_key(settings: Settings, *, may_generate: bool, tell: Callable[[str], None]) -> bytes:
    """The key of 32 bytes. `tell` gets warnings and, when a key file was made, where it is.

    With `may_generate` false a missing key raises KeyMissing: backups exist that only the old key opens.
    A damaged key file raises SettingsInvalid.
    """
    if settings.encryption_key is not None:
        return settings.encryption_key
    path = key_path(settings)
    found = _read(path, tell)
    if found is not None:
        return found
    if not may_generate:
        raise KeyMissing(
            f"There is no encryption key: BACKUP_ENCRYPTION_KEY is not set and {path} does not exist.",
            hint="Put the key file back or set BACKUP_ENCRYPTION_KEY. If it is lost, the recovery code opens the "
            "backups: `backup-cli destination attach NAME … --recovery-code -`.",
        )
    ensure_home(settings)
    if _create(path, generate_key()):
        tell(f"A new encryption key was written to {path}. Keep a copy elsewhere: without it no backup can be opened.")
    made = _read(path, tell)
    if made is None:
        raise _damaged(path, "vanished while it was made")
    return made


def read_key_file(path: Path) -> bytes:
    """The key in a file that the user names. Raises SettingsInvalid, also when it is not there."""
    found = _read(path, lambda warning: None)
    if found is None:
        raise _damaged(path, "does not exist")
    return found


def parse_key(text: str) -> bytes:
    """The key that 64 hexadecimal digits spell. Raises Invalid."""
    match = _CONTENT.fullmatch(text.encode())
    if match is None:
        raise Invalid("A key is 64 hexadecimal digits.", hint="`backup-cli key generate` prints a new one.")
    return bytes.fromhex(match[1].decode())


def replace_key_file(settings: Settings, key: bytes) -> None:
    """Puts another key into the home's key file, at once and durably. Raises SettingsInvalid."""
    path = key_path(settings)
    try:
        publish(path, key.hex().encode() + b"\n", replace=True)
    except OSError as error:
        raise _damaged(path, f"cannot be written ({error.strerror})") from error


def _read(path: Path, tell: Callable[[str], None]) -> bytes | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _damaged(path, f"cannot be read ({error.strerror})") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _damaged(path, "is not a file")
        content = os.read(descriptor, _MAX_FILE)
    finally:
        os.close(descriptor)
    match = _CONTENT.fullmatch(content)
    if match is None:
        raise _damaged(path, "does not hold exactly 64 hexadecimal digits")
    if status.st_mode & 0o077:
        tell(f"Warning: other users can read {path} (mode {stat.S_IMODE(status.st_mode):04o}); set it to 0600.")
    return bytes.fromhex(match[1].decode())


def _create(path: Path, key: bytes) -> bool:
    """Writes the file unless it exists by now; whether this process made it. Durable on return."""
    try:
        return publish(path, key.hex().encode() + b"\n")
    except OSError as error:
        raise _damaged(path, f"cannot be written ({error.strerror})") from error


def _damaged(path: Path, what: str) -> SettingsInvalid:
    return SettingsInvalid(
        "The encryption key cannot be used.",
        [Fault(KEY_FILE, f"{path} {what}.")],
        hint="Put the right key file back or set BACKUP_ENCRYPTION_KEY.",
    )

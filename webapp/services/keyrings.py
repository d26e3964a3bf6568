"""The installation's keyring: wrapped slots in `<home>/keys/`, one file each, the same bytes as at every destination.

It appears whole or not at all, and is never replaced once a repository was made with it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from engine import keyring as keys
from engine.errors import Corrupt, EngineError, WrongKey
from engine.keyring import Keyring, Slot
from engine.repository import layout
from engine.repository import repository as repositories
from engine.storage.base import Storage
from webapp.errors import Fault, KeyMissing, NotFound, SettingsInvalid
from webapp.files import publish, sync_folder
from webapp.keyfile import encryption_key, key_path
from webapp.settings import Settings, ensure_home

Tell = Callable[[str], None]
FOLDER = "keys"
_LOCK = ".keys.lock"
_CODE_ROW = 7


def keys_folder(settings: Settings) -> Path:
    """Where the slots are."""
    return settings.home / FOLDER


def local_slots(settings: Settings) -> dict[str, bytes]:
    """The slots of this installation: the names of their objects and their bytes. None before the first backup."""
    found = {}
    with suppress(FileNotFoundError):
        for path in sorted(keys_folder(settings).iterdir()):
            if path.is_file() and not path.name.startswith("."):
                found[layout.KEYS + path.name] = path.read_bytes()
    return found


def readable(slots: dict[str, bytes]) -> list[Slot]:
    """Those of the slots that are not damaged."""
    found = []
    for name, data in slots.items():
        with suppress(Corrupt):
            found.append(keys.read_slot(name, data))
    return found


def is_there(settings: Settings) -> bool:
    """Whether the home holds a service slot that can be read."""
    return any(slot.kind == keys.SERVICE for slot in readable(local_slots(settings)))


def unlock(settings: Settings, slots: Iterable[Slot], *, tell: Tell) -> Keyring:
    """The keyring in the service slot. Raises WrongKey, KeyMissing, SettingsInvalid (a damaged key file)."""
    secret = encryption_key(settings, may_generate=False, tell=tell)
    try:
        return keys.unlock(slots, keys.SERVICE, secret)
    except WrongKey:
        source = "BACKUP_ENCRYPTION_KEY" if settings.encryption_key is not None else str(key_path(settings))
        raise WrongKey(
            f"The key in {source} is not the one that this installation's backups were made with.",
            hint="Set BACKUP_ENCRYPTION_KEY to that key, or put its key file back.",
        ) from None


def open_or_make(settings: Settings, *, used: bool, may_create: bool, places: Sequence[Storage], tell: Tell) -> Keyring:
    """For a home without a keyring: it is taken from one of the `places` that hold a repository which our key opens;
    else, with `may_create` and unless it was `used` for a repository, a new one, whose recovery code is told once.

    Raises KeyMissing, WrongKey, SettingsInvalid, and NotFound when there is none and none may be made.
    """
    with _locked(settings):
        if is_there(settings):  # another process was faster
            return unlock(settings, readable(local_slots(settings)), tell=tell)
        taken = _take_over(settings, places, tell)
        if taken is not None:
            return taken
        if used:
            raise KeyMissing(
                f"The keyring in {keys_folder(settings)} is gone, and no destination that holds a copy can be reached.",
                hint="Put the folder back from a copy, or bring a destination back; then run this again.",
            )
        if not may_create:
            raise NotFound("Nothing was backed up here yet.", hint="`backup-cli create` makes a backup.")
        return _make(settings, tell)


def _take_over(settings: Settings, places: Sequence[Storage], tell: Tell) -> Keyring | None:
    """The keyring of the first place that can be read, stored in the home as well."""
    for storage in places:
        try:
            found = {item.name: storage.get(item.name) for item in storage.list(layout.KEYS)}
            is_repository = repositories.exists(storage)
        except EngineError:
            continue
        slots = readable(found)
        if not is_repository or not any(slot.kind == keys.SERVICE for slot in slots):
            continue
        try:
            keyring = keys.unlock(slots, keys.SERVICE, encryption_key(settings, may_generate=False, tell=tell))
        except WrongKey:
            raise WrongKey(
                f"{storage.describe()} holds the repository of another installation, or its key is another one.",
                hint="Set BACKUP_ENCRYPTION_KEY to its key, or choose another place for this destination.",
            ) from None
        with _faults_of(settings):
            _fill(settings, {slot_name(slot): found[slot_name(slot)] for slot in slots})
        tell(f"The keyring was taken over from {storage.describe()}.")
        return keyring
    return None


def slot_name(slot: Slot) -> str:
    """The name of a slot's object."""
    return layout.KEYS + slot.slot.hex()


def _make(settings: Settings, tell: Tell) -> Keyring:
    secret = encryption_key(settings, may_generate=True, tell=tell)
    keyring = Keyring.generate()
    code = keys.new_recovery_code()
    slots = (
        keys.wrap(keyring, keys.SERVICE, secret),
        keys.wrap(keyring, keys.RECOVERY_CODE, keys.read_recovery_code(code)),
    )
    folder = keys_folder(settings)
    staged = folder.with_name(f".{FOLDER}.{os.urandom(8).hex()}")
    with _faults_of(settings):
        staged.mkdir(mode=0o700)
        try:
            for name, data in slots:
                publish(staged / name.removeprefix(layout.KEYS), data)
            # Told before it counts: a code that was shown in vain does no harm, one that nobody saw is lost.
            tell(_recovery_text(code))
            shutil.rmtree(folder, ignore_errors=True)  # half a keyring, and no repository knows it
            staged.rename(folder)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
        sync_folder(settings.home)
    return keyring


def _fill(settings: Settings, slots: dict[str, bytes]) -> None:
    folder = keys_folder(settings)
    folder.mkdir(mode=0o700, exist_ok=True)
    for name, data in slots.items():
        publish(folder / name.removeprefix(layout.KEYS), data, replace=True)
    sync_folder(settings.home)


def _recovery_text(code: str) -> str:
    groups = code.split("-")
    rows = ["-".join(groups[start : start + _CODE_ROW]) for start in range(0, len(groups), _CODE_ROW)]
    shown = "-\n    ".join(rows)
    return (
        f"Your recovery code, which opens the backups should the key be lost:\n\n    {shown}\n\n"
        "Write it down now: it is stored nowhere and is not shown again."
    )


@contextmanager
def _locked(settings: Settings) -> Iterator[None]:
    """Only one process at a time makes or fetches the keyring."""
    ensure_home(settings)
    with _faults_of(settings):
        descriptor = os.open(settings.home / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _faults_of(settings: Settings) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SettingsInvalid(
            "The keyring cannot be written.",
            [Fault("HOLDFAST_HOME", f"{error.filename or settings.home}: {error.strerror}.")],
            hint="Check the owner, mode and free space of the home.",
        ) from error

"""The installation's keyring: wrapped slots in `<home>/keys/`, one file each, the same bytes as at every destination.

It appears whole or not at all, and is never replaced once a repository was made with it. While keys are changed
(services/keys.py) old slots lie beside new ones: `.retired` names those that go when every destination has the others.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from engine import keyring as keys
from engine.errors import Corrupt, EngineError, NotARepository, WrongKey
from engine.keyring import Keyring, Slot
from engine.repository import layout
from engine.repository import repository as repositories
from engine.storage.base import Storage
from webapp import errors
from webapp.errors import Fault, KeyMissing, SettingsInvalid
from webapp.files import publish, sync_folder
from webapp.keyfile import encryption_key, key_path
from webapp.settings import Settings, ensure_home

Tell = Callable[[str], None]
FOLDER = "keys"
_LOCK = ".keys.lock"
_RETIRED, _PLACED, _CONFIRMED = ".retired", ".placed", ".confirmed"
_CODE_ROW = 7


def keys_folder(settings: Settings) -> Path:
    """Where the slots are."""
    return settings.home / FOLDER


def local_slots(settings: Settings) -> dict[str, bytes]:
    """The slots of this installation: the names of their objects and their bytes. None before the first backup."""
    found = {}
    folder = keys_folder(settings)
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.is_file() and not path.name.startswith("."):
            with suppress(FileNotFoundError):  # removed at this moment: a change of keys came to its end
                found[layout.KEYS + path.name] = path.read_bytes()
    return found


def retired(settings: Settings) -> set[str]:
    """Names of slots that go when every destination has the new ones. What cannot be read retires nothing."""
    return {str(name) for name in _notes(settings, _RETIRED).get("slots", ())}


def current_slots(settings: Settings) -> dict[str, bytes]:
    """The slots that stay: what every destination must have."""
    gone = retired(settings)
    return {name: data for name, data in local_slots(settings).items() if name not in gone}


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


def require_present_key(settings: Settings, key: bytes) -> None:
    """Raises WrongKey while a change of keys waits for another key than this one: what were sealed with it alone would
    be lost when the change ends."""
    if not retired(settings):
        return
    slots = [slot for slot in readable(current_slots(settings)) if slot.kind == keys.SERVICE]
    if slots and not any(keys.open_slot(slot, key) for slot in slots):
        raise outdated_key(settings)


def outdated_key(settings: Settings) -> WrongKey:
    """While a change of keys waits for the new key to be set."""
    return WrongKey(
        f"The keys were changed already, and the key in {key_source(settings)} is still the old one.",
        hint="Set the new key. If it is lost, `backup-cli destination attach NAME … --recovery-code -` takes the code "
        "that the change told.",
    )


def unlock(settings: Settings, slots: Iterable[Slot], *, tell: Tell) -> Keyring:
    """The keyring in the service slot. Raises WrongKey, KeyMissing, SettingsInvalid (a damaged key file)."""
    secret = encryption_key(settings, may_generate=False, tell=tell)
    try:
        return keys.unlock(slots, keys.SERVICE, secret)
    except WrongKey:
        raise WrongKey(
            f"The key in {key_source(settings)} is not the one that this installation's backups were made with.",
            hint="Set BACKUP_ENCRYPTION_KEY to that key, or put its key file back.",
        ) from None


def install(settings: Settings, slots: Sequence[tuple[str, bytes]], *, retire: Iterable[str]) -> None:
    """Adds slots to the home, in this order, and then notes which go. Killed in between, all old ones still open."""
    with _faults_of(settings):
        _fill(settings, dict(slots))
        _note(settings, _RETIRED, {"slots": sorted({*retire, *retired(settings)})})


def drop_retired(settings: Settings, slots: set[str]) -> None:
    """The end of a change of keys: these old slots, which no destination has any more, leave the home."""
    with _faults_of(settings):
        for name in slots:
            (keys_folder(settings) / name.removeprefix(layout.KEYS)).unlink(missing_ok=True)
        _note(settings, _RETIRED, {"slots": sorted(retired(settings) - slots)})


def placed(settings: Settings, repository_id: str) -> set[str] | None:
    """The slots that were seen at a destination at the last look; None before the first."""
    names = _notes(settings, _PLACED).get(repository_id)
    return set(names) if isinstance(names, list) else None


def note_placed(settings: Settings, repository_id: str, names: Iterable[str]) -> None:
    """Keeps what `placed` answers."""
    with _faults_of(settings):
        _note(settings, _PLACED, _notes(settings, _PLACED) | {repository_id: sorted(names)})


def confirm_code(settings: Settings, code: str) -> None:
    """Notes that the recovery code was typed back. Raises WrongKey when it is not the present one, or one that does not
    open everything since two homes changed the keys at once."""
    slots = [slot for slot in readable(current_slots(settings)) if slot.kind == keys.RECOVERY_CODE]
    secret = keys.read_recovery_code(code)
    fitting = [slot for slot in slots if keys.open_slot(slot, secret) is not None]
    if not fitting:
        raise WrongKey(
            "This recovery code is not the present one of this installation.",
            hint="Is it from an older kit? `backup-cli key kit` makes a new one.",
        )
    whole = [slot for slot in fitting if slot.epochs >= _all_epochs(settings)]
    if not whole:
        raise WrongKey(
            "This recovery code opens a part of the backups only: two installations changed the keys at the same time.",
            hint="`backup-cli key kit` makes a code that opens everything.",
        )
    with _faults_of(settings):
        _note(settings, _CONFIRMED, {"slots": [slot.slot.hex() for slot in whole]})


def is_code_confirmed(settings: Settings) -> bool:
    """Whether the present recovery code was typed back once, and opens everything."""
    needed = _all_epochs(settings)
    present = {
        slot.slot.hex()
        for slot in readable(current_slots(settings))
        if slot.kind == keys.RECOVERY_CODE and slot.epochs >= needed
    }
    return bool(present & set(_notes(settings, _CONFIRMED).get("slots", ())))


def _all_epochs(settings: Settings) -> frozenset[int]:
    slots = [slot for slot in readable(current_slots(settings)) if slot.kind == keys.SERVICE]
    return frozenset[int]().union(*(slot.epochs for slot in slots))


def key_source(settings: Settings) -> str:
    """Where the encryption key comes from, for people."""
    return "BACKUP_ENCRYPTION_KEY" if settings.encryption_key is not None else str(key_path(settings))


def open_or_make(settings: Settings, *, used: bool, may_create: bool, places: Sequence[Storage], tell: Tell) -> Keyring:
    """For a home without a keyring: it is taken from one of the `places` that hold a repository which our key opens;
    else, with `may_create` and unless it was `used` for a repository, a new one, whose recovery code is told once.

    Raises KeyMissing, WrongKey, SettingsInvalid, and NotFound when there is none and none may be made.
    """
    with locked(settings):
        if is_there(settings):  # another process was faster
            return unlock(settings, readable(local_slots(settings)), tell=tell)
        taken = take_over(settings, places, tell)
        if taken is not None:
            return taken
        if used:
            raise KeyMissing(
                f"The keyring in {keys_folder(settings)} is gone, and no destination that holds a copy can be reached.",
                hint="Put the folder back from a copy, or bring a destination back; then run this again.",
            )
        if not may_create:
            raise errors.NotFound("Nothing was backed up here yet.", hint="`backup-cli create` makes a backup.")
        return _make(settings, tell)


def take_over(settings: Settings, places: Sequence[Storage], tell: Tell) -> Keyring | None:
    """The keyring of the first place that can be read, stored in the home as well. Raises WrongKey, KeyMissing."""
    for storage in places:
        try:
            _, vault = repositories.read_identity(storage)
            found = {item.name: storage.get(item.name) for item in storage.list(layout.KEYS)}
        except EngineError:
            continue
        slots = [slot for slot in readable(found) if slot.vault == vault]
        if not any(slot.kind == keys.SERVICE for slot in slots):
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


def take_over_with_code(settings: Settings, storage: Storage, code: str, tell: Tell) -> Keyring:
    """The keyring of a place, opened with the recovery code, stored in the home with a slot for the home's own key,
    which is made when there is none. Raises WrongKey, Corrupt, NotARepository, SettingsInvalid, StorageError."""
    secret = keys.read_recovery_code(code)
    _, vault = repositories.read_identity(storage)
    with locked(settings):
        found = {item.name: storage.get(item.name) for item in storage.list(layout.KEYS)} | local_slots(settings)
        slots = [slot for slot in readable(found) if slot.vault == vault]
        try:
            keyring = keys.unlock(slots, keys.RECOVERY_CODE, secret)
        except WrongKey:
            raise WrongKey(
                f"This recovery code does not open {storage.describe()}.", hint="Is it from an older recovery kit?"
            ) from None
        repositories.open_repository(storage, keyring, expected=None)
        key = encryption_key(settings, may_generate=True, tell=tell)
        own = {slot_name(slot): found[slot_name(slot)] for slot in slots}
        with suppress(WrongKey, NotARepository):
            keyring = keyring.joined(keys.unlock(slots, keys.SERVICE, key))
        opened = [keys.open_slot(slot, key) for slot in slots if slot.kind == keys.SERVICE]
        if not any(each is not None and each.epochs == keyring.epochs for each in opened):
            name, data = keys.wrap(keyring, keys.SERVICE, key)
            own[name] = data
            tell(f"From now on the key of this installation ({key_source(settings)}) opens the backups, too.")
        with _faults_of(settings):
            _fill(settings, own)
    try:
        confirm_code(settings, code)
    except WrongKey as error:
        tell(f"Warning: {error}")
    return keyring


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
            tell(recovery_text(code))
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
    stored = local_slots(settings)
    if any(stored.get(name) != data for name, data in slots.items()):  # before older ones go
        raise OSError(errno.EIO, "what was written is not there", str(folder))


def code_rows(code: str) -> list[str]:
    """A recovery code in two rows, as people write it down."""
    groups = code.split("-")
    return ["-".join(groups[start : start + _CODE_ROW]) for start in range(0, len(groups), _CODE_ROW)]


def recovery_text(code: str) -> str:
    """What people are told of a new recovery code."""
    shown = "-\n    ".join(code_rows(code))
    return (
        f"Your recovery code, which opens the backups should the key be lost:\n\n    {shown}\n\n"
        "Write it down now: it is stored nowhere and is not shown again. "
        "`backup-cli key kit` makes a new one, on a page to print."
    )


def _notes(settings: Settings, name: str) -> dict[str, Any]:
    """A small file beside the slots; nothing when it is not there or cannot be read."""
    try:
        found = json.loads((keys_folder(settings) / name).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _note(settings: Settings, name: str, content: dict[str, Any]) -> None:
    publish(keys_folder(settings) / name, json.dumps(content, sort_keys=True).encode() + b"\n", replace=True)


@contextmanager
def locked(settings: Settings) -> Iterator[None]:
    """Only one process at a time makes, fetches or changes the keyring."""
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

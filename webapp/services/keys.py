"""`key slots` and `key rotate`: what opens the backups, where copies of it lie, and how it is changed.

Until every destination has the new slots the old ones stay, and both open everything."""

from __future__ import annotations

from contextlib import closing, suppress
from dataclasses import dataclass
from functools import reduce

from engine import keyring as keys
from engine.errors import EngineError, NotARepository, NotFound, WrongKey
from engine.keyring import Keyring
from engine.repository.repository import Repository, read_slots
from webapp import errors
from webapp.errors import Invalid, ServiceError
from webapp.installation import Installation
from webapp.keyfile import encryption_key, replace_key_file
from webapp.models import Destination
from webapp.services import keyring_copies, keyrings, repositories, sealed
from webapp.services.keyrings import Tell

HOME = "home"


@dataclass(frozen=True)
class SlotCopies:
    """One slot: its kind (`service`: the encryption key; `recovery-code`) and where it is (`home`, or the name of a
    destination). An old one goes when every destination has its successor."""

    slot: str
    kind: str
    places: tuple[str, ...]
    is_old: bool = False


@dataclass(frozen=True)
class Change:
    """What a change of keys came to: how many epochs there are, and why old slots are still there, by the name of the
    destination or `BACKUP_ENCRYPTION_KEY`."""

    epoch: int
    waiting: dict[str, str]


def slots(installation: Installation) -> tuple[list[SlotCopies], dict[str, str]]:
    """All slots, and why a destination could not be asked, by its name."""
    local = keyrings.readable(keyrings.local_slots(installation.settings))
    old = keyrings.retired(installation.settings)
    kinds = {slot.slot: slot.kind for slot in local}
    places = {slot.slot: [HOME] for slot in local}
    failures = {}
    for destination in _in_use(installation):
        try:
            with closing(repositories.open_storage(installation, destination)) as storage:
                there = read_slots(storage)
        except (EngineError, ServiceError) as error:
            failures[destination.name] = str(error)
            continue
        for slot in there:
            kinds.setdefault(slot.slot, slot.kind)
            places.setdefault(slot.slot, []).append(destination.name)
    listed = [
        SlotCopies(slot.hex(), kinds[slot], tuple(names), is_old=f"keys/{slot.hex()}" in old)
        for slot, names in places.items()
    ]
    return sorted(listed, key=lambda each: (each.kind, each.is_old, each.slot)), failures


def rotate(installation: Installation, *, new_key: bytes | None, kept_code: str | None, tell: Tell) -> Change:
    """A new epoch of sealing keys, and a new recovery code, since the old one's slot cannot learn the new epoch without
    it; `kept_code` is the present one, to be kept. With `new_key` that key opens the backups from now on.

    Killed anywhere, the old or the new key works everywhere, and a second call finishes. Raises NotFound when there is
    no keyring yet, WrongKey (also for a key that an unfinished change replaced, and where another home has keys that
    this one lacks), KeyMissing, Invalid."""
    settings = installation.settings
    _require_keyring(installation)
    key = encryption_key(settings, may_generate=False, tell=tell)
    if new_key == key:
        raise Invalid("The new key is the present one.", hint="`backup-cli key generate` prints a new one.")
    if kept_code is not None:
        keyrings.confirm_code(settings, kept_code)
    _look_around(installation, new_key, tell)
    if new_key is not None:
        sealed.reseal_all(installation, [key, new_key])
    with keyrings.locked(settings):
        keyring = _newest(installation, new_key, tell).with_new_epoch()
        code = kept_code or keys.new_recovery_code()
        if kept_code is None:
            tell(keyrings.recovery_text(code))  # before it counts: a code that nobody saw is lost
        old = keyrings.local_slots(settings).keys()
        # The code first: from the moment when the key's slot is there, data may be sealed with the new epoch.
        new = [
            keys.wrap(keyring, keys.RECOVERY_CODE, keys.read_recovery_code(code)),
            keys.wrap(keyring, keys.SERVICE, new_key or key),
        ]
        keyrings.install(settings, new, retire=old)
        if kept_code is not None:
            keyrings.confirm_code(settings, kept_code)
        if new_key is not None and settings.encryption_key is None:
            replace_key_file(settings, new_key)
    if new_key is not None:
        sealed.reseal_all(installation, [key, new_key])  # what another process sealed with the old key meanwhile
    return Change(len(keyring.epochs), settle(installation))


def replace_code(installation: Installation, *, tell: Tell) -> str:
    """A new recovery code. All others, also those that lie at a destination alone (it was attached again after the code
    had changed), work until `settle`, which is to be called when the new one was shown.

    What somebody with the old code and an old copy of its slot can read stays readable to them: only `rotate` seals
    new data with other keys. Raises NotFound, WrongKey, KeyMissing."""
    settings = installation.settings
    _require_keyring(installation)
    code = keys.new_recovery_code()
    elsewhere = _look_around(installation, None, tell)
    with keyrings.locked(settings):
        keyring = _newest(installation, None, tell)
        ours = keyrings.readable(keyrings.local_slots(settings))
        old = elsewhere | {keyrings.slot_name(slot) for slot in ours if slot.kind == keys.RECOVERY_CODE}
        new = keys.wrap(keyring, keys.RECOVERY_CODE, keys.read_recovery_code(code))
        keyrings.install(settings, [new], retire=old)
    return code


def settle(installation: Installation) -> dict[str, str]:
    """Ends a change of keys, as far as it can be ended now: every destination gets the new slots, and once all of them
    were read back there, and our key opens one, the old ones are deleted. Why that has to wait, by destination."""
    settings = installation.settings
    old = keyrings.retired(settings)
    if not old:
        return {}
    try:
        newest = keyrings.unlock(
            settings, keyrings.readable(keyrings.current_slots(settings)), tell=repositories.silent
        )
    except (WrongKey, ServiceError):
        newest = None
    try:
        keyring = newest or _unlock(installation, repositories.silent)
    except (WrongKey, ServiceError) as error:
        return {"BACKUP_ENCRYPTION_KEY": str(error)}
    reached, waiting = _reach_all(installation, keyring)
    if newest is None or newest.epoch < keyring.epoch:
        waiting["BACKUP_ENCRYPTION_KEY"] = "It is still the old key; set it to the new one."
    try:
        if not waiting:
            for name, repository in reached:
                _delete(name, repository, old, waiting)
    finally:
        _close(reached)
    if not waiting:
        sealed.reseal_all(installation, [encryption_key(settings, may_generate=False, tell=repositories.silent)])
        with keyrings.locked(settings):
            keyrings.drop_retired(settings, old)
    return waiting


def _reach_all(installation: Installation, keyring: Keyring) -> tuple[list[tuple[str, Repository]], dict[str, str]]:
    """Every destination in use, with our slots read back there, or why it has none; the repositories are open."""
    reached, waiting = [], {}
    for destination in _in_use(installation):
        try:
            repository = repositories.open_repository(installation, destination, keyring)
            try:
                keyring_copies.place(installation.settings, repository, always=True)
            except BaseException:
                repository.storage.close()
                raise
            reached.append((destination.name, repository))
        except (EngineError, ServiceError) as error:
            waiting[destination.name] = str(error)
    return reached, waiting


def _look_around(installation: Installation, new_key: bytes | None, tell: Tell) -> set[str]:
    """Takes over what other homes changed. The slots of recovery codes that lie at destinations alone. Raises WrongKey
    when keys are in use that this home lacks: nobody but their own slots has them."""
    codes: set[str] = set()
    reached, _ = _reach_all(installation, _newest(installation, new_key, tell))
    try:
        for _, repository in reached:
            repository.keyring = _newest(installation, new_key, tell)  # with what was found at the others
            keyring_copies.require_own(installation.settings, repository)
            found = keyring_copies.foreign(installation.settings, repository)
            known = repository.keyring.epochs.keys()
            codes |= {name for name, slot in found.items() if slot.kind == keys.RECOVERY_CODE and slot.epochs <= known}
    finally:
        _close(reached)
    return codes


def _close(reached: list[tuple[str, Repository]]) -> None:
    for _, repository in reached:
        repository.storage.close()


def _delete(name: str, repository: Repository, old: set[str], waiting: dict[str, str]) -> None:
    try:
        for slot in sorted(old):
            with suppress(NotFound):
                repository.storage.delete(slot)
    except EngineError as error:
        waiting[name] = str(error)


def _in_use(installation: Installation) -> list[Destination]:
    return [each for each in repositories.used_destinations(installation) if each.deleted_at is None]


def _require_keyring(installation: Installation) -> None:
    if not keyrings.is_there(installation.settings):
        repositories.open_keyring(
            installation, may_create=False, tell=repositories.silent
        )  # perhaps from a destination
    if not keyrings.is_there(installation.settings):
        raise errors.NotFound("There are no keys yet.", hint="`backup-cli create` makes them with the first backup.")


def _unlock(installation: Installation, tell: Tell) -> Keyring:
    slots = keyrings.readable(keyrings.local_slots(installation.settings))
    return keyrings.unlock(installation.settings, slots, tell=tell)


def _newest(installation: Installation, new_key: bytes | None, tell: Tell) -> Keyring:
    """The keyring, from the slots that stay. An old key given again while a change waits knows nothing of the epoch
    since: slots made with it would replace the only ones that open what was sealed meanwhile."""
    _unlock(installation, tell)  # a key that never was one of ours is told as such
    slots = keyrings.readable(keyrings.current_slots(installation.settings))
    present = encryption_key(installation.settings, may_generate=False, tell=tell)
    opened = []
    for secret in (present, new_key):
        if secret is not None:
            with suppress(WrongKey, NotARepository):
                opened.append(keys.unlock(slots, keys.SERVICE, secret))
    if not opened:
        raise keyrings.outdated_key(installation.settings)
    return reduce(Keyring.joined, opened)

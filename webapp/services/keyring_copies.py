"""The copies of the installation's key slots at its destinations: they arrive before anything is sealed with their
keys, and what another home of the installation changed is followed, never undone."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from engine import keyring as keys
from engine.errors import AlreadyExists, Corrupt, NotARepository, NotFound, UnsupportedVersion, WrongKey
from engine.keyring import Slot
from engine.repository import layout
from engine.repository.repository import Repository
from webapp.errors import KeyMissing
from webapp.keyfile import encryption_key
from webapp.services import keyrings
from webapp.settings import Settings


def place(settings: Settings, repository: Repository, *, always: bool = False) -> None:
    """Puts the current slots at a destination before anything is sealed there with the keys that they hold. Unless
    `always`, one that vanished there is not put back, so that a verification tells it; a backup does that.

    Newer keys in slots there that our key opens, made by another home of this installation, are taken over. What
    another home took away there when it changed the keys is not put back. Raises StorageError, Corrupt when a slot did
    not arrive."""
    identity, present = repository.id.hex(), _slots_at(repository)
    noted = keyrings.placed(settings, identity)
    seen = noted or set()
    is_known = keyrings.current_slots(settings).keys() <= seen
    if is_known and not always and present == seen:
        return
    others = foreign(settings, repository)
    _follow(settings, repository, others)
    missing = keyrings.current_slots(settings).keys() - present
    left_out = _replaced(settings, missing & seen, others) if always else missing & seen
    for name, data in keyrings.current_slots(settings).items():
        if name in left_out:
            continue
        if name in missing:
            with suppress(AlreadyExists):
                repository.storage.put(name, data)
        elif is_known or repository.storage.get(name) == data:
            continue
        else:
            repository.storage.put(name, data, create=False)  # damaged there
        if repository.storage.get(name) != data:
            raise Corrupt(f"{name} did not arrive at {repository.describe()} as it was sent.", name=name)
    now = present | left_out | keyrings.current_slots(settings).keys()
    if now != noted:
        keyrings.note_placed(settings, identity, now)


def require_own(settings: Settings, repository: Repository) -> None:
    """To be asked before slots are replaced. Raises WrongKey when a key's slot there, or in the home, holds keys that
    this home lacks: whoever replaced it would take the only way to them away. A recovery code's slot without that of a
    key comes from a change that was cut off: nothing was sealed with it yet."""
    slots = [*foreign(settings, repository).values(), *keyrings.readable(keyrings.local_slots(settings))]
    if any(slot.kind == keys.SERVICE and not slot.epochs <= repository.keyring.epochs.keys() for slot in slots):
        raise WrongKey(
            f"{repository.describe()}: the key was changed at another installation.",
            hint="Attach again with the new recovery code: `backup-cli destination attach NAME … --recovery-code -`.",
        )


def foreign(settings: Settings, repository: Repository) -> dict[str, Slot]:
    """The slots of this installation there that this home does not have, by name."""
    found = {}
    for name in sorted(_slots_at(repository) - keyrings.local_slots(settings).keys()):
        with suppress(Corrupt, NotFound, UnsupportedVersion):
            slot = keys.read_slot(name, repository.storage.get(name))
            if slot.vault == repository.keyring.vault:
                found[name] = slot
    return found


def _slots_at(repository: Repository) -> set[str]:
    return {item.name for item in repository.storage.list(layout.KEYS)}


def _follow(settings: Settings, repository: Repository, others: dict[str, Slot]) -> None:
    """Takes keys over that another home of this installation made. Our slots that hold no more than its own go."""
    theirs = [slot for slot in others.values() if not slot.epochs <= repository.keyring.epochs.keys()]
    try:
        secret = encryption_key(settings, may_generate=False, tell=lambda message: None)
        learned = keys.unlock(theirs, keys.SERVICE, secret, vault=repository.keyring.vault)
        joined = repository.keyring.joined(learned)
    except (WrongKey, NotARepository, KeyMissing):
        return  # another secret's; or one number for two keys, which are better kept apart
    taken = [slot for slot in theirs if slot.epochs <= joined.epochs.keys()]
    best = {kind: max((len(each.epochs) for each in taken if each.kind == kind), default=0) for kind in keys.KINDS}
    is_newer = len(learned.epochs) == len(joined.epochs)  # else both homes changed them, and both slots are needed
    ours = keyrings.readable(keyrings.current_slots(settings))
    old = [keyrings.slot_name(slot) for slot in ours if is_newer and len(slot.epochs) < best[slot.kind]]
    data = {keyrings.slot_name(slot): repository.storage.get(keyrings.slot_name(slot)) for slot in taken}
    with keyrings.locked(settings):
        keyrings.install(settings, list(data.items()), retire=old)
    repository.keyring = joined


def _replaced(settings: Settings, missing: Iterable[str], others: dict[str, Slot]) -> set[str]:
    """Those of our slots, missing at a destination that had them, that another home replaced there by its own."""
    ours = {keyrings.slot_name(slot): slot for slot in keyrings.readable(keyrings.current_slots(settings))}
    theirs = [slot for name, slot in others.items() if name not in ours]
    return {
        name
        for name in missing
        if name in ours and any(each.kind == ours[name].kind and ours[name].epochs <= each.epochs for each in theirs)
    }

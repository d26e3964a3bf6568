"""Makes good the small objects of a destination: tombstones, marks, fences and rescue programs. What is damaged is set
aside in quarantine/, and read again right before, since a report may be hours old; only a fence is written over, since
without it a run that failed would count for a moment."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from datetime import datetime

from engine import keyring
from engine.crypto import sha256
from engine.errors import AlreadyExists, Corrupt, NotFound, RepositoryError, StorageError
from engine.ids import new_id
from engine.repository import guide, layout, mark, session
from engine.repository.forget import Tombstone, read_tombstone, write
from engine.repository.reader import BlobReader
from engine.repository.repository import Repository
from engine.storage.base import Storage

_PROGRAM_ASIDE = re.compile(rf"{layout.quarantine(guide.RESCUE)}([0-9a-f]{{{2 * layout.HASH_BYTES}}}\.py)(\.\d+)?")


def set_aside(storage: Storage, name: str) -> str:
    """Moves a damaged object into quarantine; its name there. Raises NotFound."""
    for number in itertools.count(1):
        place = layout.quarantine(name, number)
        with suppress(AlreadyExists):
            storage.move(name, place)
            return place
    raise AssertionError("numbers do not end")


def set_all_aside(target: Repository, names: Iterable[str], *, anyway: Collection[str] = ()) -> dict[str, str]:
    """Moves those of the objects, none a pack, that are there and are damaged still into quarantine; their names there.
    Those in `anyway` can be read, and do not belong there. Raises StorageError."""
    moved = {}
    for name in names:
        if name in anyway or not is_sound(target, name):
            with suppress(NotFound):  # it is lost, or somebody else was faster
                moved[name] = set_aside(target.storage, name)
    return moved


def is_sound(target: Repository, name: str) -> bool:
    """Whether an object, no pack, can be read now and is what its name says. Raises StorageError."""
    identity = layout.last_part(name)
    try:
        if name.startswith(layout.MANIFESTS):
            target.read_manifest(identity)
        elif name.startswith(layout.INDEX):
            target.read_index(name)
        elif name.startswith(layout.TOMBSTONES):
            read_tombstone(target, identity)
        elif name.startswith(layout.MARKS):
            mark.read(target, identity)
        elif name.startswith(layout.KEYS):
            keyring.read_slot(name, target.storage.get(name))
        else:
            return name.startswith(guide.RESCUE) and sha256(target.storage.get(name)) == identity
    except (RepositoryError, NotFound):
        return False
    return True


def is_sound_pack(reader: BlobReader, pack: bytes) -> bool:
    """Whether a pack can be read now, its bytes fit its name, and what is in it opens. A base that another pack holds,
    and that does not open, speaks against that one only."""
    name, places = layout.pack(pack), reader.table.places_of_pack(pack)
    try:
        data = memoryview(reader.repository.storage.get(name))
    except StorageError:
        return False
    if sha256(data) != pack:
        return False
    for location in map(reader.table.location, places):
        start = location.entry.position
        try:
            reader.open(location, data[start : start + location.entry.stored])
        except Corrupt as error:
            if error.name == name:
                return False
        except StorageError:  # of a base: this pack was read
            continue
    return bool(places)


def mend_tombstones(
    target: Repository,
    sources: Collection[Repository],
    damaged: Collection[str],
    *,
    buried: Mapping[bytes, Tombstone],
    held: Collection[bytes],
) -> tuple[list[str], dict[str, str]]:
    """Write lost and damaged tombstones anew: as the caller remembers them (`buried`), else as another destination has
    them, unless the caller remembers that the restore point was not removed (`held`). One of which nobody knows
    anything stays as it is. The names of those that are there again, and what was set aside. Raises StorageError."""
    written, moved = list[str](), dict[str, str]()
    for name in [each for each in damaged if each.startswith(layout.TOMBSTONES) and not is_sound(target, each)]:
        identity = layout.last_part(name)
        note = buried.get(identity)
        if note is None and identity not in held:
            note = _from_elsewhere(sources, identity)
            if note is None:
                continue
        moved |= set_all_aside(target, [name])
        if note is not None:
            write(target, note)
            written.append(name)
    return written, moved


def mend_fences(target: Repository, damaged: Collection[str], *, now: datetime) -> list[str]:
    """Write damaged fences anew; their names. Raises StorageError."""
    written = [name for name in damaged if name.startswith(layout.FENCES)]
    for name in written:
        session.fence(target, layout.last_part(name), by=new_id(), now=now, replace=True)
    return written


def mend_programs(
    target: Repository, sources: Collection[Repository], damaged: Collection[str]
) -> tuple[list[str], dict[str, str]]:
    """Set damaged rescue programs aside and take them again from other destinations: the kit in a drawer may name one
    of an older version. The names of those that are there again, and what was set aside. Raises StorageError."""
    # A repair that was interrupted may have set one aside and not put it back, and no check misses it.
    aside = map(_PROGRAM_ASIDE.fullmatch, (item.name for item in target.storage.list(layout.QUARANTINE)))
    names = {name for name in damaged if name.startswith(guide.RESCUE)} | {guide.RESCUE + it[1] for it in aside if it}
    moved, written = set_all_aside(target, sorted(names)), list[str]()
    for name in sorted(names):
        if name in moved or not is_sound(target, name):
            data = _sound_program(sources, name)
            if data is not None:
                with suppress(AlreadyExists):  # somebody else was faster
                    target.storage.put(name, data)
                    written.append(name)
    return written, moved


def _from_elsewhere(sources: Iterable[Repository], restore_point: bytes) -> Tombstone | None:
    for source in sources:
        with suppress(NotFound, RepositoryError):
            return read_tombstone(source, restore_point)
    return None


def _sound_program(sources: Iterable[Repository], name: str) -> bytes | None:
    for source in sources:
        with suppress(StorageError):
            data = source.storage.get(name)
            if sha256(data) == layout.last_part(name):
                return data
    return guide.program() if name == guide.program_name() else None

"""What the packs of a repository hold: from its index objects, else from the packs themselves.

Nothing is missed while others compact indexes or prune: they publish before they remove."""

from __future__ import annotations

from collections.abc import Iterator

from engine.errors import Corrupt, NotFound, Truncated, WrongKey
from engine.repository import box, layout, pack
from engine.repository.pack import PackInfo
from engine.repository.repository import Repository

Damages = dict[str, Corrupt | WrongKey]
# In place of the size of a pack whose section was found: a second table of names would cost 6 bytes a chunk.
_TOLD = -1


def indexed(repository: Repository, *, damage: Damages) -> Iterator[PackInfo]:
    """The sections of all index objects, of which one at a time is in memory; those that do not open are put into
    `damage` by name. A pack may come more than once, and packs may come that are gone. Raises StorageError."""
    seen = set[str]()
    has_vanished = True
    while has_vanished:
        has_vanished = False
        for name in repository.index_names():
            if name in seen:
                continue
            seen.add(name)
            try:
                yield from repository.read_index(name)
            except NotFound:
                has_vanished = True  # what replaced it was perhaps not there yet when we listed
            except (Corrupt, WrongKey) as error:
                damage[name] = error


def load_sections(repository: Repository, *, damage: Damages, absent: list[PackInfo]) -> Iterator[PackInfo]:
    """What every existing pack holds, from the indexes and, for packs that none names, from their own directories.

    Objects that do not open are put into `damage` by name. Packs that only an index still names as they were are added
    to `absent`: whether one was lost or removed lawfully shows when a restore point needs it. Raises StorageError."""
    present = repository.list_packs()
    for info in indexed(repository, damage=damage):
        size = present[info.name] if info.name in present else _size_now(repository, info.name)
        if size is None:
            absent.append(info)
        elif size == info.size:
            present[info.name] = _TOLD
            yield info
        elif size != _TOLD:
            damage[layout.pack(info.name)] = _cut(info, size)
            absent.append(info)
    for name, size in present.items():
        if size != _TOLD:
            try:
                yield read_section(repository, name, size)
            except NotFound:
                continue  # deleted since it was listed
            except (Corrupt, WrongKey) as error:
                damage.setdefault(layout.pack(name), error)


def _size_now(repository: Repository, pack_name: bytes) -> int | None:
    """Of a pack that was not listed; a writer may have added it since."""
    try:
        return repository.storage.stat(layout.pack(pack_name)).size
    except NotFound:
        return None


def _cut(info: PackInfo, size: int) -> Corrupt:
    name = layout.pack(info.name)
    return Truncated(f"{name} has {size} bytes instead of {info.size}.", name=name)


def read_section(repository: Repository, pack_name: bytes, size: int) -> PackInfo:
    """An index section made from the pack itself. Raises NotFound, Corrupt, WrongKey, StorageError."""
    name, get = layout.pack(pack_name), repository.storage.get
    if size < box.HEADER_BYTES + pack.TRAILER_BYTES:
        raise Corrupt(f"{name} is cut off.", name=name)
    header = box.read_header(repository.keyring, get(name, 0, box.HEADER_BYTES), box.PACK_MAGIC, name)
    tail = get(name, size - pack.TRAILER_BYTES, pack.TRAILER_BYTES)
    position, length, plain_length = pack.read_trailer(tail, size, name)
    directory = pack.open_directory(header, position, get(name, position, length), plain_length, name)
    return PackInfo(pack_name, size, header.raw, directory)

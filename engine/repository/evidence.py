"""The small objects of a destination, each opened and held against its name: heads, tombstones, sessions, marks, fences
and rescue programs. What cannot be opened is put into `damage` by its name, and proves nothing."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import msgpack

from engine.crypto import keyed_hash, sha256
from engine.errors import Corrupt, NotFound, RepositoryError
from engine.repository import box, guide, layout
from engine.repository.forget import Tombstone, read_tombstone
from engine.repository.history import Evidence, Point
from engine.repository.repository import Head, Repository

Damaged = dict[str, RepositoryError]
_SET_ASIDE = re.compile(rf"{layout.quarantine(layout.MANIFESTS)}([0-9a-f]{{{2 * layout.ID_BYTES}}})(\.\d+)?")


def read_heads(repository: Repository, *, damage: Damaged) -> dict[str, Head]:
    """The heads by configuration. To be read before the manifests are listed: a head is written after its manifest.

    Raises StorageError."""
    heads = {}
    for item, _ in layout.named(repository.storage.list(layout.HEADS), layout.HASH_BYTES):
        try:
            head = repository.open_head(item.name)
        except RepositoryError as error:
            damage[item.name] = error
            continue
        heads[head.config_id] = head
    return heads


def gather(
    repository: Repository,
    heads: Mapping[str, Head],
    listed: Collection[bytes],
    points: Mapping[bytes, Point],
    *,
    with_tombstones: bool,
    damage: Damaged,
) -> Evidence:
    """The evidence, after the manifests were listed: a tombstone is written before its manifest is deleted, so what
    was removed meanwhile has one. Without `with_tombstones` only their names are read. Raises StorageError."""
    buried = repository.removed_ids()
    opened = _tombstones(repository, buried, damage) if with_tombstones else {}
    headless = _headless(repository, heads, listed, points, damage)
    return Evidence(listed, points, heads, buried, opened, headless, set_aside(repository))


def set_aside(repository: Repository) -> set[bytes]:
    """Restore points of which a damaged manifest lies in quarantine. Whoever moves a manifest there by hand does not
    hide that it is gone: it is told all the same, in other words. Raises StorageError."""
    found = (_SET_ASIDE.fullmatch(item.name) for item in repository.storage.list(layout.QUARANTINE))
    return {bytes.fromhex(match[1]) for match in found if match}


def check_markers(repository: Repository, *, damage: Damaged) -> int:
    """Opens every session, mark and fence; how many there are. Raises StorageError."""
    count = sum(1 for _ in _sessions(repository, damage))
    for kind, prefix, owner in ((box.MARK, layout.MARKS, "pruner"), (box.FENCE, layout.FENCES, "session")):
        for name, raw in _boxes(repository, kind, prefix, damage):
            count += 1
            if raw[owner] != layout.last_part(name):
                damage[name] = Corrupt(f"{name} belongs to another {owner}.", name=name)
    return count


def check_programs(repository: Repository, *, damage: Damaged) -> int:
    """Holds the rescue programs against their names; how many there are. Raises StorageError."""
    count = 0
    for item, digest in layout.named(repository.storage.list(guide.RESCUE), layout.HASH_BYTES):
        count += 1
        if sha256(repository.storage.get(item.name)) != digest:
            damage[item.name] = Corrupt(f"{item.name} is damaged or was replaced: do not run it.", name=item.name)
    return count


def _headless(
    repository: Repository,
    heads: Mapping[str, Head],
    listed: Collection[bytes],
    points: Mapping[bytes, Point],
    damage: Damaged,
) -> dict[str, str]:
    """Names of the heads that should be there, by configuration. A first run that is at work or was killed has none
    yet: its session marker tells, or the head, which came before the marker went."""
    lacking = [point for point in points.values() if point.id in listed and point.config_id not in heads]
    if not lacking:
        return {}
    busy = {raw["session"]: raw["configId"] for _, raw in _sessions(repository, damage)}
    if "" in busy.values():
        return {}  # somebody copies restore points of any configuration to this place
    without = {point.config_id for point in lacking if point.session not in busy}
    names = {each: layout.head(keyed_hash(repository.keyring.head_key, each.encode())) for each in without}
    present = {item.name for item in repository.storage.list(layout.HEADS)}
    return {config_id: name for config_id, name in names.items() if name not in present}


def _tombstones(repository: Repository, buried: Collection[bytes], damage: Damaged) -> dict[bytes, Tombstone]:
    opened = {}
    for identity in buried:
        try:
            opened[identity] = read_tombstone(repository, identity)
        except NotFound:
            continue  # recalled meanwhile
        except RepositoryError as error:
            damage[layout.tombstone(identity)] = error
    return opened


def _sessions(repository: Repository, damage: Damaged) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, raw in _boxes(repository, box.SESSION, layout.SESSIONS, damage):
        if layout.session(raw["session"], raw["n"]) == name:
            yield name, raw
        else:
            damage[name] = Corrupt(f"{name} is the marker of another session.", name=name)


def _boxes(repository: Repository, kind: int, prefix: str, damage: Damaged) -> Iterator[tuple[str, dict[str, Any]]]:
    for item, _ in layout.named(repository.storage.list(prefix), layout.ID_BYTES):
        try:
            plain = box.open_box(repository.keyring, kind, repository.storage.get(item.name), item.name)
        except NotFound:
            continue  # it ended meanwhile
        except RepositoryError as error:
            damage[item.name] = error
            continue
        yield item.name, msgpack.unpackb(plain)

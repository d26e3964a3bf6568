"""Marks: packs that somebody is about to delete or to set aside. No writer refers to them, no pruner counts them.

A mark is touched by its owner only. Who writes one first and looks at all others afterwards never relies on a copy
that another is about to take away (tests/model)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

import msgpack

from engine.errors import Corrupt, NotFound
from engine.ids import new_id
from engine.model.manifest import from_micros, to_micros
from engine.repository import box, layout, reserve

if TYPE_CHECKING:
    from engine.repository.repository import Repository


@dataclass(frozen=True)
class Mark:
    """`sessions` were at work when the mark had been written; None until they were listed. `added_bytes` were written
    to make its packs superfluous. `going` are the sizes of packs whose deletion has begun: whoever finishes it tells
    what was freed in all. `started_at` and `written_at` are its owner's clock, `modified_at` the storage's."""

    id: bytes
    packs: frozenset[bytes]
    sessions: tuple[bytes, ...] | None
    started_at: datetime
    written_at: datetime
    modified_at: datetime
    added_bytes: int = 0
    going: Mapping[bytes, int] = field(default_factory=dict)

    def storage_time(self, now: datetime) -> datetime:
        """What the storage's clock shows when its owner's shows `now`."""
        return self.modified_at + (now - self.written_at)


def create(
    repository: Repository,
    packs: Collection[bytes],
    *,
    now: datetime,
    added_bytes: int = 0,
    identity: bytes | None = None,
) -> Mark:
    """A new mark over some packs. A repair names its mark by its session (`identity`), so that others can tell when
    it has ended. Raises StorageError."""
    own = Mark(identity or new_id(), frozenset(packs), None, now, now, now, added_bytes)
    return write(repository, own, now=now)


def write(repository: Repository, mark: Mark, *, now: datetime) -> Mark:
    """Store an own mark as it is now, over what was there. Raises StorageError."""
    plain = msgpack.packb(
        {
            "pruner": mark.id,
            "packs": sorted(mark.packs),
            "sessions": mark.sessions,
            "startedAt": to_micros(mark.started_at),
            "writtenAt": to_micros(now),
            "addedBytes": mark.added_bytes,
            "going": dict(mark.going),
        }
    )
    sealed, name = box.seal_box(repository.keyring, box.MARK, plain, repository.suite), layout.mark(mark.id)
    reserve.spend(repository.storage, lambda: repository.storage.put(name, sealed, create=False))
    return replace(mark, written_at=now, modified_at=repository.storage.stat(name).modified_at)


def read(repository: Repository, identity: bytes) -> Mark:
    """Raises NotFound, Corrupt, WrongKey."""
    name = layout.mark(identity)
    raw = msgpack.unpackb(box.open_box(repository.keyring, box.MARK, repository.storage.get(name), name))
    if raw["pruner"] != identity:
        raise Corrupt(f"{name} is another mark under a false name.", name=name)
    sessions = raw["sessions"]
    return Mark(
        identity,
        frozenset(raw["packs"]),
        None if sessions is None else tuple(sessions),
        from_micros(raw["startedAt"]),
        from_micros(raw.get("writtenAt", raw["startedAt"])),
        repository.storage.stat(name).modified_at,
        raw.get("addedBytes", 0),
        raw.get("going", {}),
    )


def read_all(repository: Repository) -> list[Mark]:
    """All marks, whoever owns them. Raises Corrupt: what an unreadable mark names cannot be told."""
    found = []
    for _, identity in layout.named(repository.storage.list(layout.MARKS), layout.ID_BYTES):
        try:
            found.append(read(repository, identity))
        except NotFound:
            continue  # its owner is done
        except Corrupt as error:
            raise Corrupt(
                f"{error.message} So nobody can tell which packs are about to be deleted, and nothing is written or "
                f"deleted at {repository.describe()}.",
                name=error.name,
                hint="`backup-cli destination sync NAME --repair` sets it aside.",
            ) from error
    return found


def of_repairs(repository: Repository) -> frozenset[bytes]:
    """Identities of the marks that repairs wrote: those named as a session that is at work, or that was fenced. Raises
    StorageError."""
    sessions = layout.named(repository.storage.list(layout.SESSIONS), layout.ID_BYTES)
    known = {identity for _, identity in sessions} | repository.fenced_sessions()
    marks = layout.named(repository.storage.list(layout.MARKS), layout.ID_BYTES)
    return frozenset(identity for _, identity in marks if identity in known)


def sweep_repairs(repository: Repository) -> None:
    """Remove the marks of repairs that were killed and fenced since, as soon as none of their packs exists: whoever
    would still wait for such a pack waits in vain. Raises Corrupt, StorageError."""
    fenced = repository.fenced_sessions()
    dead = [each for each in read_all(repository) if each.id in fenced]
    present = repository.list_packs() if dead else {}
    for each in dead:
        if each.packs.isdisjoint(present):
            remove(repository, each.id)


def remove(repository: Repository, identity: bytes) -> None:
    """Take back an own mark. Raises StorageError."""
    try:
        repository.storage.delete(layout.mark(identity))
    except NotFound:
        return

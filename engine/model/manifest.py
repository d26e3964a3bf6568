"""A restore point as it is stored: one immutable manifest, the same bytes at every destination (docs/format.md, 9)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgpack

from engine.errors import Corrupt, UnsupportedVersion
from engine.model.content import Content
from engine.model.tree import Node

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Ids of blobs, one behind the other.
Ids = bytes


@dataclass(frozen=True)
class FilesRoot:
    """A folder of the source. `node` is the folder itself; its content names the tree blobs below it. `sparse` are the
    ids of bundles of which its files need less than half: the next run bundles those anew."""

    path: bytes
    node: Node
    files: int
    bytes: int
    users: dict[int, str] = field(default_factory=dict)
    groups: dict[int, str] = field(default_factory=dict)
    sparse: Ids = b""


@dataclass(frozen=True)
class StreamRoot:
    """A stream of the source, such as the dump of one database. `facts` is what the source recorded of it."""

    kind: str
    name: str
    size: int
    content: Content
    facts: dict[str, Any]


@dataclass(frozen=True)
class Problem:
    """One item that was not stored as it is at the source."""

    kind: str
    path: str
    reason: str


@dataclass(frozen=True)
class Manifest:
    """Everything about one restore point. `previous` is the SHA-256 of the stored manifest before it in this
    configuration's series; `config` is a copy of the configuration without secrets; `suite` is that of the data blobs;
    times are aware UTC."""

    id: bytes
    session: bytes
    config_id: str
    config: dict[str, Any]
    sequence: int
    previous: bytes | None
    started_at: datetime
    finished_at: datetime
    type: str
    suite: int
    parent: bytes | None
    roots: tuple[FilesRoot | StreamRoot, ...]
    totals: dict[str, int]
    problems: tuple[Problem, ...]
    tags: dict[str, str]
    program: str
    host: str


def encode(manifest: Manifest) -> bytes:
    """The plaintext of a manifest box."""
    return bytes(
        msgpack.packb(
            {
                "v": 1,
                "id": manifest.id,
                "session": manifest.session,
                "configId": manifest.config_id,
                "config": manifest.config,
                "sequence": manifest.sequence,
                "previous": manifest.previous,
                "startedAt": to_micros(manifest.started_at),
                "finishedAt": to_micros(manifest.finished_at),
                "type": manifest.type,
                "suite": manifest.suite,
                "parent": manifest.parent,
                "roots": [_encode_root(root) for root in manifest.roots],
                "totals": manifest.totals,
                "problems": [[p.kind, p.path, p.reason] for p in manifest.problems],
                "tags": manifest.tags,
                "program": manifest.program,
                "host": manifest.host,
            }
        )
    )


def decode(plain: bytes) -> Manifest:
    """The manifest of a box's plaintext. Raises Corrupt, or UnsupportedVersion for a newer one."""
    try:
        raw = msgpack.unpackb(plain, use_list=False, strict_map_key=False)
        if raw["v"] != 1:
            raise UnsupportedVersion(
                f"This restore point has version {raw['v']}; this Holdfast reads version 1.",
                hint="Use a newer Holdfast.",
            )
        return Manifest(
            id=raw["id"],
            session=raw["session"],
            config_id=raw["configId"],
            config=_with_lists(raw["config"]),
            sequence=raw["sequence"],
            previous=raw["previous"],
            started_at=from_micros(raw["startedAt"]),
            finished_at=from_micros(raw["finishedAt"]),
            type=raw["type"],
            suite=raw["suite"],
            parent=raw["parent"],
            roots=tuple(_decode_root(root) for root in raw["roots"]),
            totals=raw["totals"],
            problems=tuple(Problem(*p) for p in raw["problems"]),
            tags=raw["tags"],
            program=raw["program"],
            host=raw["host"],
        )
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise Corrupt("A restore point's manifest is not readable.") from error


def to_micros(moment: datetime) -> int:
    """Microseconds since 1970 of an aware time."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def from_micros(micros: int) -> datetime:
    """The aware UTC time of `to_micros`."""
    return _EPOCH + timedelta(microseconds=micros)


def _with_lists(value: Any) -> Any:
    """A document as it was given to `encode`: MessagePack's arrays are read as tuples, which suits nodes, not these."""
    if isinstance(value, dict):
        return {key: _with_lists(item) for key, item in value.items()}
    return [_with_lists(item) for item in value] if isinstance(value, tuple) else value


def _encode_root(root: FilesRoot | StreamRoot) -> dict[str, Any]:
    if isinstance(root, StreamRoot):
        return {"kind": root.kind, "name": root.name, "size": root.size, "content": root.content, "facts": root.facts}
    return {
        "kind": "files",
        "path": root.path,
        "node": root.node,
        "files": root.files,
        "bytes": root.bytes,
        "users": root.users,
        "groups": root.groups,
        "sparse": root.sparse,
    }


def _decode_root(raw: dict[str, Any]) -> FilesRoot | StreamRoot:
    if raw["kind"] != "files":
        return StreamRoot(raw["kind"], raw["name"], raw["size"], raw["content"], _with_lists(raw["facts"]))
    node = Node._make(raw["node"])
    return FilesRoot(raw["path"], node, raw["files"], raw["bytes"], raw["users"], raw["groups"], raw.get("sparse", b""))

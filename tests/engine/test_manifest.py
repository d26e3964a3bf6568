"""A manifest says after decoding exactly what was said before, documents with lists included."""

from __future__ import annotations

from datetime import UTC, datetime

import msgpack
import pytest

from engine.errors import Corrupt, UnsupportedVersion
from engine.model import content as contents
from engine.model import manifest as manifests
from engine.model import tree
from engine.model.manifest import FilesRoot, Manifest, Problem, StreamRoot
from engine.model.tree import Node

NODE = Node(tree.DIRECTORY, b"", 0o755, 0, 0, 0, -5, 7, 3, b"t" * 32, {"x": {b"user.a": b"\xff"}})
MANIFEST = Manifest(
    id=b"i" * 16,
    session=b"s" * 16,
    config_id="shop",
    config={
        "id": "shop",
        "sources": {"paths": [{"path": "${A}", "exclude": ["*.tmp"]}]},
        "enabled": True,
        "labels": {},
    },
    sequence=3,
    previous=b"p" * 32,
    started_at=datetime(2026, 11, 23, 2, 0, 0, 123456, UTC),
    finished_at=datetime(1969, 12, 31, 23, 59, 59, 999999, UTC),
    type="full",
    suite=1,
    parent=None,
    roots=(
        FilesRoot(b"/srv/\xff", NODE, 1, 10, {0: "root"}, {0: "root"}),
        StreamRoot(
            "postgres", "db", 5, (contents.CHUNKS, b"c" * 44), {"tables": [{"id": 1, "rows": 2}], "roles": ["a"]}
        ),
    ),
    totals={"files": 1},
    problems=(Problem("file", "/x", "vanished"),),
    tags={"k": "v"},
    program="test 1",
    host="here",
)


def test_it_comes_back_equal() -> None:
    decoded = manifests.decode(manifests.encode(MANIFEST))
    assert decoded == MANIFEST
    assert isinstance(decoded.roots[1].facts["roles"], list)  # type: ignore[union-attr]


def test_a_newer_version_is_refused_with_a_sentence() -> None:
    raw = msgpack.unpackb(manifests.encode(MANIFEST), strict_map_key=False)
    with pytest.raises(UnsupportedVersion, match=r"version 2.*newer Holdfast"):
        manifests.decode(msgpack.packb(raw | {"v": 2}))


@pytest.mark.parametrize("key", ["id", "roots", "startedAt", "totals", "problems"])
def test_what_lacks_a_part_is_damage(key: str) -> None:
    raw = msgpack.unpackb(manifests.encode(MANIFEST), strict_map_key=False)
    del raw[key]
    with pytest.raises(Corrupt):
        manifests.decode(msgpack.packb(raw))


@pytest.mark.parametrize("plain", [b"", b"\xc1", b"\x01", msgpack.packb([1]), msgpack.packb({"v": 1})])
def test_what_is_no_manifest_is_damage(plain: bytes) -> None:
    with pytest.raises(Corrupt):
        manifests.decode(plain)

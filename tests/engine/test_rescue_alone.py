"""The rescue program needs nothing of ours, and its own MessagePack reader takes no junk."""

from __future__ import annotations

import ast
import contextlib
from pathlib import Path

import msgpack
from hypothesis import given
from hypothesis import strategies as st

from engine import rescue
from tests.support.bare import BareMachine

PROGRAM = Path(rescue.__file__)


def test_without_its_packages_it_says_what_to_install(tmp_path: Path) -> None:
    done = BareMachine(tmp_path, ())(PROGRAM, "list")
    assert done.code == 1
    assert "pip install cryptography zstandard" in done.stderr


def test_it_stands_alone() -> None:
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(PROGRAM.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [each.name for each in node.names])
    }
    assert not imported & {"engine", "webapp", "cli", "msgpack"}
    assert {"cryptography", "zstandard"} <= imported


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.binary() | st.text(),
    lambda inner: st.lists(inner, max_size=40) | st.dictionaries(st.text() | st.binary(), inner, max_size=20),
    max_leaves=60,
)


@given(_VALUES)
def test_its_messagepack_reader_agrees_with_the_other_one(value: object) -> None:
    assert rescue.unpack(msgpack.packb(value), "x") == value


@given(st.binary(max_size=200))
def test_junk_is_damage_and_nothing_else(junk: bytes) -> None:
    with contextlib.suppress(rescue.Damaged):
        found = rescue.unpack(junk, "x")
        assert repr(found) == repr(msgpack.unpackb(junk, strict_map_key=False, unicode_errors="replace"))

"""Makes a lost blob again from the files that it was made from, where they are there unchanged. Its id proves it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import suppress

from engine import crypto
from engine.keyring import Keyring
from engine.model.tree import Node
from engine.repository.needs import Part

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def make_again(keyring: Keyring, id: bytes, parts: Iterable[Part]) -> tuple[bytes, int] | None:
    """The plaintext and the suite of a data blob, put together from the parts of files that are as they were when they
    were backed up; None when they are not, or do not give the blob."""
    by_start: dict[int, list[Part]] = {}
    for part in parts:
        by_start.setdefault(part.start, []).append(part)
    pieces, position, suite = list[bytes](), 0, crypto.AES_256_GCM
    while position in by_start:
        suite = by_start[position][0].suite
        piece = next(filter(None, map(_read, by_start.pop(position))), None)
        if piece is None:
            return None
        pieces.append(piece)
        position += len(piece)
    plain = b"".join(pieces)
    key = keyring.plain_key if suite == crypto.NONE else keyring.data_key
    return (plain, suite) if plain and crypto.keyed_hash(key, plain) == id else None


def _read(part: Part) -> bytes | None:
    """A part of a file that is unchanged before and after it was read."""
    with suppress(OSError):
        descriptor = os.open(part.path, _FLAGS)
        try:
            if _is_unchanged(part.node, os.fstat(descriptor)):
                piece = os.pread(descriptor, part.length, part.offset)
                if len(piece) == part.length and _is_unchanged(part.node, os.fstat(descriptor)):
                    return piece
        finally:
            os.close(descriptor)
    return None


def _is_unchanged(node: Node, status: os.stat_result) -> bool:
    return (
        stat.S_ISREG(status.st_mode)
        and status.st_size == node.size
        and status.st_mtime_ns == node.mtime
        and status.st_ctime_ns == node.ctime
        and status.st_ino == node.inode
    )

"""Content of a file or stream: which blobs hold its bytes (docs/format.md, 8.2)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

BUNDLE, CHUNKS, LISTS = 1, 2, 3
ENTRY_BYTES = 44
_ENTRY = struct.Struct("<32sI8s")

# None, (BUNDLE, id, offset), (CHUNKS, entries) or (LISTS, ids): tuples as MessagePack gives them back.
Content = tuple[int, bytes, int] | tuple[int, bytes] | None


class Chunk(NamedTuple):
    """One entry of a content list: `length` plain bytes; `tail` is the keyed fingerprint of the last 64."""

    id: bytes
    length: int
    tail: bytes


def pack_entry(chunk: Chunk) -> bytes:
    """The 44 bytes of one entry."""
    return _ENTRY.pack(*chunk)


def unpack_entries(entries: bytes) -> Iterator[Chunk]:
    """The chunks of a packed list. Raises ValueError when the length is not a multiple of 44."""
    if len(entries) % ENTRY_BYTES:
        raise ValueError("a content list is cut off")
    return map(Chunk._make, _ENTRY.iter_unpack(entries))


def chunk_ids(entries: bytes) -> list[bytes]:
    """The ids alone of a packed list. Raises ValueError as `unpack_entries`."""
    if len(entries) % ENTRY_BYTES:
        raise ValueError("a content list is cut off")
    return [entries[i : i + 32] for i in range(0, len(entries), ENTRY_BYTES)]


def split_ids(ids: bytes) -> list[bytes]:
    """The 32-byte ids that were stored one after another."""
    if len(ids) % 32:
        raise ValueError("a list of ids is cut off")
    return [ids[i : i + 32] for i in range(0, len(ids), 32)]

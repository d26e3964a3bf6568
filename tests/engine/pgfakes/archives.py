"""Writes archives in pg_dump's custom format by hand, so that readers can be tried with every shape of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

END_OF_ROWS = b"\\.\n\n\n"


@dataclass(frozen=True)
class Entry:
    """One entry of the contents; `block` is its data block or None."""

    id: int
    description: str
    schema: str
    name: str
    block: bytes | None = None
    dependencies: tuple[int, ...] = ()
    definition: str = ""
    owner: str = "keeper"


def number(value: int) -> bytes:
    return bytes([value < 0]) + abs(value).to_bytes(4, "little")


def text(value: str | None) -> bytes:
    if value is None:
        return number(-1)
    raw = value.encode()
    return number(len(raw)) + raw


def chunked(pieces: Iterable[bytes]) -> bytes:
    return b"".join(number(len(piece)) + piece for piece in pieces if piece) + number(0)


def table_block(dump_id: int, pieces: Iterable[bytes]) -> bytes:
    """A block with these chunks; the end of COPY's text is for the caller to add."""
    return b"\x01" + number(dump_id) + chunked(pieces)


def rows_block(dump_id: int, rows: Sequence[bytes]) -> bytes:
    """A block as pg_dump up to 18 writes it: each row a chunk."""
    return table_block(dump_id, [*rows, END_OF_ROWS])


def objects_block(dump_id: int, objects: Sequence[Sequence[bytes]]) -> bytes:
    """A block of large objects, each a row of chunks."""
    parts = [number(1000 + index) + chunked(pieces) for index, pieces in enumerate(objects)]
    return b"\x03" + number(dump_id) + b"".join(parts) + number(0)


def head(
    entries: Sequence[Entry], *, version: tuple[int, int, int] = (1, 16, 0), client: str = "18.4", compression: int = 0
) -> bytes:
    """Header and contents."""
    out = [b"PGDMP", bytes(version), bytes([4, 8, 1])]
    out.append(bytes([compression]) if version >= (1, 15, 0) else number(compression))
    out += [number(value) for value in (1, 2, 3, 4, 5, 126, 0)]
    out += [text("shop"), text("18.4 (Debian)"), text(client), number(len(entries))]
    for entry in entries:
        out += [number(entry.id), number(entry.block is not None), text("0"), text("0")]
        out += [text(entry.name), text(entry.description), number(3)]
        out += [text(entry.definition), text(None), text("COPY …" if entry.block is not None else None)]
        out += [text(entry.schema), text("")]
        out += [text("heap")] if version >= (1, 14, 0) else []
        out += [number(114)] if version >= (1, 16, 0) else []
        out += [text(entry.owner), text("false")]
        out += [text(str(each)) for each in entry.dependencies]
        out += [text(None), bytes([1 if entry.block is not None else 3]), bytes(8)]
    return b"".join(out)


def archive(
    entries: Sequence[Entry], *, version: tuple[int, int, int] = (1, 16, 0), client: str = "18.4", compression: int = 0
) -> bytes:
    """A complete archive: the contents, then the blocks in their order."""
    start = head(entries, version=version, client=client, compression=compression)
    return start + b"".join(entry.block for entry in entries if entry.block is not None)

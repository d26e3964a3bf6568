"""Index objects: which blob lies in which pack (docs/format.md, 7). The table that they fill is in table.py."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from engine.errors import Corrupt
from engine.keyring import Keyring
from engine.repository import box
from engine.repository.box import Header
from engine.repository.pack import Base, Entry, PackInfo

# Sections beyond this many bytes begin another index object: reading them one after another then needs little memory.
FULL_BYTES = 4 << 20
SECTION_BYTES = 136
_SECTION = struct.Struct("<32sI96sI")


@dataclass(frozen=True)
class Pack:
    """A pack that the index knows: SHA-256 name and size in bytes."""

    name: bytes
    size: int
    raw_header: bytes
    keyring: Keyring

    @cached_property
    def header(self) -> Header:
        """The checked header with its keys."""
        return box.read_header(self.keyring, self.raw_header, box.PACK_MAGIC, f"pack {self.name.hex()}")


@dataclass(frozen=True)
class Location:
    """Where one blob is; `base` is what it leans on when it is a difference."""

    pack: Pack
    entry: Entry
    base: Base | None = None


def encode(packs: Iterable[PackInfo]) -> bytes:
    """The plaintext of an index object."""
    return b"".join(
        _SECTION.pack(info.name, info.size, info.header, len(info.directory)) + info.directory for info in packs
    )


def length_of(info: PackInfo) -> int:
    """Bytes that a pack's section takes."""
    return SECTION_BYTES + len(info.directory)


def decode(plain: bytes, name: str) -> Iterator[PackInfo]:
    """The sections of an index object. Raises Corrupt."""
    position = 0
    while position < len(plain):
        try:
            pack_name, size, header, length = _SECTION.unpack_from(plain, position)
        except struct.error as error:
            raise Corrupt(f"{name} is damaged: it is cut off.", name=name) from error
        position += _SECTION.size
        if position + length > len(plain):
            raise Corrupt(f"{name} is damaged: it is cut off.", name=name)
        yield PackInfo(pack_name, size, header, plain[position : position + length])
        position += length

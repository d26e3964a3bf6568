"""Packs: many sealed blobs in one object (docs/format.md, 6)."""

from __future__ import annotations

import hashlib
import os
import struct
import threading
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from engine import compress, crypto
from engine.errors import Corrupt, Unavailable
from engine.ids import random_bytes
from engine.keyring import Keyring
from engine.repository import box
from engine.repository.box import HEADER_BYTES, NO_ID, Header

DATA, TREE, LIST, DIRECTORY = 1, 2, 3, 255
MAX_BLOB_PLAIN = 16 << 20
MAX_BLOBS = 65_536
FULL_BYTES = 32 << 20
ENTRY_BYTES = 48
BASE_BYTES = 36
_ENTRY = struct.Struct("<32sIIIBBBx")
_BASE = struct.Struct("<32sI")
_COUNT = struct.Struct("<I")
TRAILER_BYTES = 12
# Smaller blobs are gathered until they are worth a write and a hash, which both give up the interpreter's lock.
_SMALL_BYTES, _GATHERED_BYTES = 64 << 10, 512 << 10
_TRAILER = struct.Struct("<II4s")
_END = b"HFEN"


class Entry(NamedTuple):
    """Where a blob lies in its pack: `position` and `stored` length in bytes, `plain` length in bytes."""

    id: bytes
    position: int
    stored: int
    plain: int
    type: int
    codec: int
    depth: int


class Base(NamedTuple):
    """What a difference leans on: the id of its base, and the `full` sealed length that the blob's own full form would
    have, 0 when unknown."""

    id: bytes
    full: int


class PackInfo(NamedTuple):
    """A pack as an index describes it: SHA-256 name, size in bytes, raw header and directory plaintext."""

    name: bytes
    size: int
    header: bytes
    directory: bytes


class _Kept(threading.local):
    """Memory for sealing and for opening again, kept by each thread."""

    def __init__(self) -> None:
        self.sealed, self.opened = bytearray(), bytearray()


_kept = _Kept()


class OpenPack:
    """A pack that is being written to a file of ours. Used by one thread at a time."""

    def __init__(self, keyring: Keyring, kind: int, suite: int, folder: Path) -> None:
        self.header = box.new_header(keyring, box.PACK_MAGIC, kind, suite)
        self.path = folder / random_bytes(16).hex()
        try:
            self._file = open(self.path, "xb", buffering=0, opener=_private)  # noqa: SIM115 - see finish, abandon
        except OSError as error:
            raise _unusable(self.path, error) from error
        self._hash = hashlib.sha256()
        self._entries: list[bytes] = []
        self._bases: list[bytes] = []
        self._gathered = bytearray()
        self.size = 0
        self._write(self.header.raw)

    @property
    def is_full(self) -> bool:
        """No further blob fits."""
        return self.size >= FULL_BYTES or len(self._entries) >= MAX_BLOBS

    def append(
        self,
        id: bytes,
        type: int,
        codec: int,
        plain_length: int,
        payload: bytes | memoryview,
        *,
        depth: int = 0,
        base: Base | None = None,
    ) -> int:
        """Seal a blob into the pack, having opened it again to prove that it can be. Returns its stored length.

        A difference has a `depth` above 0, and a `base`. Raises ValueError for one without the other."""
        if (base is None) != (depth == 0):
            raise ValueError("a difference has a depth and a base")
        bound = self.header.bound(
            self.size, type, codec, plain_length, id=id, depth=depth, base=base.id if base else NO_ID
        )
        stored = self.header.cipher.seal_into(payload, bound, _kept.sealed)
        with memoryview(_kept.sealed)[:stored] as sealed:
            if not self.header.cipher.opens_as(sealed, bound, payload, _kept.opened):
                raise Corrupt("A sealed blob did not open again.", hint="Check this machine's memory and processor.")
            self._entries.append(_ENTRY.pack(id, self.size, stored, plain_length, type, codec, depth))
            if base is not None:
                self._bases.append(_BASE.pack(*base))
            self._write(sealed)
        return stored

    def finish(self) -> PackInfo:
        """Write the directory and close the file, which is then the whole object."""
        directory = _COUNT.pack(len(self._entries)) + b"".join(self._entries + self._bases)
        bound = self.header.bound(self.size, DIRECTORY, compress.NONE, len(directory))
        sealed = self.header.sealing_cipher.seal(directory, bound)
        self._write(sealed + _TRAILER.pack(len(sealed), len(directory), _END))
        self._flush()
        self._file.close()
        return PackInfo(self._hash.digest(), self.size, self.header.raw, directory)

    def abandon(self) -> None:
        """Close and remove the file. What cannot be removed goes with the scratch folder."""
        self._file.close()
        with suppress(OSError):
            self.path.unlink()

    def _write(self, data: bytes | memoryview) -> None:
        self.size += len(data)
        if len(data) < _SMALL_BYTES:
            self._gathered += data
            if len(self._gathered) >= _GATHERED_BYTES:
                self._flush()
        else:
            self._flush()
            self._put(data)

    def _flush(self) -> None:
        gathered, self._gathered = self._gathered, bytearray()
        self._put(gathered)

    def _put(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._file.fileno(), view) :]
        except OSError as error:
            raise _unusable(self.path, error) from error
        self._hash.update(data)


def finished_size(suite: int, size: int, blobs: int, *, differences: int = 0) -> int:
    """The size of a pack once it is finished, when `size` bytes of header and blobs are in it."""
    directory = _COUNT.size + blobs * ENTRY_BYTES + differences * BASE_BYTES
    return size + crypto.sealed_length(suite or crypto.AES_256_GCM, directory) + TRAILER_BYTES


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _unusable(path: Path, error: OSError) -> Unavailable:
    folder, reason = path.parent.parent, os.strerror(error.errno or 0).lower()
    return Unavailable(f"The scratch folder {folder} cannot be written: {reason}.", hint="Free some space there.")


def decode_directory(directory: bytes, name: str) -> list[Entry]:
    """The entries of a directory, differences' bases aside. Raises Corrupt."""
    try:
        (count,) = _COUNT.unpack_from(directory)
        end = _COUNT.size + count * ENTRY_BYTES
        entries = [Entry._make(fields) for fields in _ENTRY.iter_unpack(directory[_COUNT.size : end])]
    except struct.error as error:
        raise Corrupt(f"{name} is damaged: its directory is cut off.", name=name) from error
    bases = sum(1 for entry in entries if entry.depth) * BASE_BYTES
    if len(entries) != count or len(directory) != end + bases:
        raise Corrupt(f"{name} is damaged: its directory is cut off.", name=name)
    return entries


def bases_of(directory: bytes, name: str) -> list[tuple[bytes, bytes]]:
    """Id and base's id of each difference in a directory. Raises Corrupt."""
    if len(directory) == _COUNT.size + int.from_bytes(directory[: _COUNT.size], "little") * ENTRY_BYTES:
        return []  # nothing follows the entries
    entries = decode_directory(directory, name)
    bases = _BASE.iter_unpack(directory[_COUNT.size + len(entries) * ENTRY_BYTES :])
    differences = (entry.id for entry in entries if entry.depth)
    return [(id, base) for id, (base, _) in zip(differences, bases, strict=True)]


def unpack_base(record: bytes | memoryview) -> Base:
    """One of the records of 36 bytes that follow the entries of a directory."""
    return Base._make(_BASE.unpack(record))


def open_blob(
    header: Header,
    entry: Entry,
    sealed: bytes | memoryview,
    decompressor: compress.Decompressor,
    *,
    name: str,
    base: bytes = NO_ID,
    base_plain: bytes | None = None,
) -> bytes:
    """The plaintext of a blob; its id is still to be compared. A difference needs the id of its `base` and the
    plaintext of that, whose id was compared. Raises Corrupt."""
    if entry.depth and base_plain is None:
        raise Corrupt("A difference cannot be opened without its base.", name=name)
    payload = open_payload(header, entry, sealed, name=name, base=base)
    try:
        return decompressor.decompress(entry.codec, payload, entry.plain, base_plain if entry.depth else None)
    except compress.BadFrame as error:
        raise Corrupt(f"A blob in {name} is damaged.", name=name) from error


def open_payload(header: Header, entry: Entry, sealed: bytes | memoryview, *, name: str, base: bytes = NO_ID) -> bytes:
    """A blob as it was compressed; of a difference, `base` is the id of its base. Raises Corrupt."""
    if entry.plain > MAX_BLOB_PLAIN:
        raise Corrupt(f"{name} is damaged: a blob claims an absurd length.", name=name)
    bound = header.bound(
        entry.position, entry.type, entry.codec, entry.plain, id=entry.id, depth=entry.depth, base=base
    )
    try:
        return header.cipher.open(sealed, bound)
    except crypto.OpenFailed as error:
        raise Corrupt(f"A blob in {name} is damaged.", name=name) from error


def read_trailer(tail: bytes | memoryview, size: int, name: str) -> tuple[int, int, int]:
    """Position, sealed and plain length of the directory, from the end of a pack of `size` bytes. Raises Corrupt."""
    if len(tail) < _TRAILER.size or size < HEADER_BYTES + _TRAILER.size:
        raise Corrupt(f"{name} is cut off.", name=name)
    length, plain_length, end = _TRAILER.unpack(tail[-_TRAILER.size :])
    position = size - _TRAILER.size - length
    if end != _END or position < HEADER_BYTES:
        raise Corrupt(f"{name} is damaged: it does not end as a pack does.", name=name)
    return position, length, plain_length


def info_of(keyring: Keyring, name: bytes, data: bytes) -> PackInfo:
    """The description of a whole pack in memory. Raises Corrupt, WrongKey."""
    shown = f"pack {name.hex()}"
    header = box.read_header(keyring, data, box.PACK_MAGIC, shown)
    position, length, plain_length = read_trailer(data[-TRAILER_BYTES:], len(data), shown)
    directory = open_directory(header, position, data[position : position + length], plain_length, shown)
    return PackInfo(name, len(data), header.raw, directory)


def open_directory(header: Header, position: int, sealed: bytes | memoryview, plain_length: int, name: str) -> bytes:
    """The directory's plaintext. Raises Corrupt."""
    bound = header.bound(position, DIRECTORY, compress.NONE, plain_length)
    try:
        directory = header.sealing_cipher.open(sealed, bound)
    except crypto.OpenFailed as error:
        raise Corrupt(f"{name} is damaged: its directory does not open.", name=name) from error
    if len(directory) != plain_length:
        raise Corrupt(f"{name} is damaged: its directory is cut off.", name=name)
    return directory

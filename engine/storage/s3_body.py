"""What is to be put in one request: a buffer or a file with its size and hashes, read in pieces and never whole."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from engine.errors import StorageError, Unavailable
from engine.storage.base import Buffer

LARGEST_BYTES = 64 << 20
_READ_BYTES = 1 << 20


@dataclass(frozen=True)
class Body:
    """`size` in bytes; `md5` is what stores call the object's ETag, which is the one hash that all of them report."""

    data: bytes | Path
    size: int
    sha256: bytes
    md5: str

    @property
    def checksum(self) -> str:
        """The SHA-256 as S3 writes it."""
        return base64.b64encode(self.sha256).decode()

    def open(self) -> AbstractContextManager[bytes | BinaryIO]:
        """From byte 0, anew for each try. Raises Unavailable when our own file is gone."""
        if not isinstance(self.data, Path):
            return nullcontext(self.data)
        try:
            return self.data.open("rb")
        except OSError as error:
            raise _unreadable(self.data, error) from error


def measure(name: str, data: Buffer | Path) -> Body:
    """The body for an object. Raises StorageError when it is larger than 64 MiB or our own file cannot be read."""
    held = data if isinstance(data, (bytes, Path)) else bytes(data)
    sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    for piece in _pieces(held):
        sha256.update(piece)
        md5.update(piece)
        size += len(piece)
        if size > LARGEST_BYTES:
            raise StorageError(f"{name} is too large: an object has at most {LARGEST_BYTES} bytes.")
    return Body(held, size, sha256.digest(), md5.hexdigest())


def _pieces(data: bytes | Path) -> Iterator[bytes]:
    if isinstance(data, bytes):
        yield data
        return
    try:
        with data.open("rb", buffering=0) as file:
            while piece := file.read(_READ_BYTES):
                yield piece
    except OSError as error:
        raise _unreadable(data, error) from error


def _unreadable(path: Path, error: OSError) -> Unavailable:
    reason = os.strerror(error.errno or 0).lower()
    return Unavailable(f"The file {path} that was to be stored cannot be read: {reason}.")

"""Headers of sealed objects, and boxes: objects that hold one sealed piece (docs/format.md, 5)."""

from __future__ import annotations

import hashlib
import hmac
import struct
from dataclasses import dataclass
from functools import cached_property

from engine import compress, crypto
from engine.errors import Corrupt, UnsupportedVersion, WrongKey
from engine.ids import random_bytes
from engine.keyring import Keyring

PACK_MAGIC, BOX_MAGIC = b"HFPK", b"HFBX"
DATA_PACK, TREE_PACK = 0, 1
INDEX, MANIFEST, HEAD, TOMBSTONE, SESSION, MARK, FENCE = range(16, 23)
HEADER_BYTES = 96
MAX_BOX_PLAIN = 256 << 20
_HEADER = struct.Struct("<4sBBBxI4x32s32s16s")
_BOUND = struct.Struct("<IBBBxI32s32s")
_BOX = struct.Struct("<B3sI")
_ZEROS = bytes(3)
_VERSION = 1
_CHECKED_BYTES = 80
NO_ID = bytes(32)


@dataclass(frozen=True)
class Header:
    """A header that was checked against a keyring, with the keys that it leads to."""

    raw: bytes
    suite: int
    kind: int
    secret: bytes
    vault: bytes

    @cached_property
    def cipher(self) -> crypto.Cipherer:
        """Seals and opens the object's blobs."""
        if self.suite == crypto.AES_256_GCM:
            return self.sealing_cipher
        if self.suite == crypto.AES_256_CBC:
            return crypto.Cbc(self._key(b"cbc"), self._key(b"hmac"))
        return crypto.Plain(self._key(b"hmac"))

    @cached_property
    def sealing_cipher(self) -> crypto.Cipherer:
        """Seals and opens the directory: as `cipher`, but encrypted whatever the suite."""
        if self.suite == crypto.AES_256_CBC:
            return self.cipher
        return crypto.Gcm(self._key(b"gcm"))

    def bound(
        self,
        position: int,
        kind: int,
        codec: int,
        length: int,
        *,
        id: bytes = NO_ID,
        depth: int = 0,
        base: bytes = NO_ID,
    ) -> bytes:
        """The additional data that ties a sealed piece to its place and meaning."""
        return self.raw + _BOUND.pack(position, kind, codec, depth, length, id, base)

    def _key(self, label: bytes) -> bytes:
        return _derive(self.secret, self.raw[16:48], label, self.suite, self.vault)


def new_header(keyring: Keyring, magic: bytes, kind: int, suite: int) -> Header:
    """A header with a fresh salt under the keyring's newest epoch."""
    salt = random_bytes(32)
    secret = keyring.epochs[keyring.epoch]
    commitment = _derive(secret, salt, b"commitment", suite, keyring.vault)
    head = _HEADER.pack(magic, _VERSION, suite, kind, keyring.epoch, salt, commitment, b"")[:_CHECKED_BYTES]
    return Header(head + hashlib.sha256(head).digest()[:16], suite, kind, secret, keyring.vault)


def read_header(keyring: Keyring, raw: bytes, magic: bytes, name: str) -> Header:
    """The header at the beginning of the object `name`. Raises Corrupt, WrongKey, UnsupportedVersion."""
    if len(raw) < HEADER_BYTES:
        raise Corrupt(f"{name} is cut off.", name=name)
    raw = raw[:HEADER_BYTES]
    found, version, suite, kind, epoch, salt, commitment, checksum = _HEADER.unpack(raw)
    if found != magic or hashlib.sha256(raw[:_CHECKED_BYTES]).digest()[:16] != checksum:
        raise Corrupt(f"{name} is damaged: its header does not fit its checksum.", name=name)
    if version != _VERSION:
        raise UnsupportedVersion(
            f"{name} has format {version}; this Holdfast reads format {_VERSION}.", hint="Use a newer Holdfast."
        )
    if suite not in crypto.SUITES.values():
        raise UnsupportedVersion(f"{name} is sealed with the unknown suite {suite}.", hint="Use a newer Holdfast.")
    secret = keyring.epochs.get(epoch)
    if secret is None:
        raise WrongKey(
            f"{name} was sealed with a key that is not known here: the key was changed at another installation.",
            hint="If trying again does not help, attach again with the new recovery code: "
            "`backup-cli destination attach NAME … --recovery-code -`.",
        )
    if not hmac.compare_digest(commitment, _derive(secret, salt, b"commitment", suite, keyring.vault)):
        raise WrongKey(f"{name} was sealed with another key.", hint="Does it belong to another installation?")
    return Header(raw, suite, kind, secret, keyring.vault)


def seal_box(keyring: Keyring, kind: int, plain: bytes, suite: int) -> bytes:
    """A whole box. Suite 0 is raised to AES-256-GCM: metadata is never stored in clear."""
    header = new_header(keyring, BOX_MAGIC, kind, suite or crypto.AES_256_GCM)
    codec, payload = compress.Compressor(compress.ZSTD).compress(plain)
    bound = header.bound(HEADER_BYTES + _BOX.size, kind, codec, len(plain))
    return header.raw + _BOX.pack(codec, _ZEROS, len(plain)) + header.cipher.seal(payload, bound)


def open_box(keyring: Keyring, kind: int, data: bytes, name: str) -> bytes:
    """The plaintext of the box `name`. Raises Corrupt, WrongKey, UnsupportedVersion."""
    header = read_header(keyring, data, BOX_MAGIC, name)
    start = HEADER_BYTES + _BOX.size
    if header.kind != kind or header.suite == crypto.NONE or len(data) < start:
        raise Corrupt(f"{name} is damaged: it is not what its place says.", name=name)
    codec, zeros, length = _BOX.unpack(data[HEADER_BYTES:start])
    if zeros != _ZEROS or length > MAX_BOX_PLAIN:
        raise Corrupt(f"{name} is damaged: it claims something absurd.", name=name)
    try:
        payload = header.cipher.open(memoryview(data)[start:], header.bound(start, kind, codec, length))
        return compress.Decompressor().decompress(codec, payload, length)
    except (crypto.OpenFailed, compress.BadFrame) as error:
        raise Corrupt(f"{name} is damaged.", name=name) from error


def _derive(secret: bytes, salt: bytes, label: bytes, suite: int, vault: bytes) -> bytes:
    return crypto.hkdf(secret, salt, b"holdfast-1 " + label + b" " + bytes([suite]) + vault)

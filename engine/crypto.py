"""Key derivation and the three suites that seal bytes (docs/format.md, 5). It knows no objects and no names."""

from __future__ import annotations

import hashlib
import hmac
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from engine.ids import random_bytes

NONE, AES_256_GCM, AES_256_CBC = 0, 1, 2
SUITES = {"none": NONE, "aes-256-gcm": AES_256_GCM, "aes-256-cbc": AES_256_CBC}
_NONCE, _TAG, _IV, _MAC, _BLOCK = 12, 16, 16, 32, 16
# Up to here a hash keeps the interpreter's lock: to get it back from busy threads takes longer than the hash itself
# (1.2 ms for a directory's 3 KB). hashlib keeps it for updates of fewer than 2048 bytes.
_SHORT_BYTES, _HELD_BYTES = 32 << 10, 2047
_PIECE_BYTES = 512 << 10


class OpenFailed(Exception):
    """A sealed piece does not fit its key or its additional data. One error for every cause, on purpose."""


class Cipherer(Protocol):
    """Seals and opens pieces under one object's keys. Safe to use from several threads.

    A `room` is memory that the caller keeps: fresh memory for each piece costs a tenth of a backup."""

    def seal(self, payload: bytes | memoryview, bound: bytes) -> bytes:
        """The sealed piece; `bound` is the additional data."""

    def open(self, sealed: bytes | memoryview, bound: bytes) -> bytes:
        """The payload. Raises OpenFailed."""

    def seal_into(self, payload: bytes | memoryview, bound: bytes, room: bytearray) -> int:
        """As `seal`, into the front of `room`, which grows when it must. Returns the length."""

    def opens_as(self, sealed: bytes | memoryview, bound: bytes, payload: bytes | memoryview, room: bytearray) -> bool:
        """Whether the sealed piece opens, and to exactly this payload. `room` is used and grows, but never large."""


def hkdf(key: bytes, salt: bytes, info: bytes) -> bytes:
    """HKDF-SHA256 (RFC 5869), 32 bytes."""
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=salt or None, info=info).derive(key)


def keyed_hash(key: bytes, data: bytes | memoryview) -> bytes:
    """HMAC-SHA256; releases the interpreter's lock on large data only."""
    if len(data) > _SHORT_BYTES:
        return hmac.digest(key, data, "sha256")
    digest = hmac.new(key, digestmod="sha256")
    for start in range(0, len(data), _HELD_BYTES):
        digest.update(data[start : start + _HELD_BYTES])
    return digest.digest()


def sha256(data: bytes | memoryview) -> bytes:
    """Plain SHA-256."""
    return hashlib.sha256(data).digest()


class Gcm:
    """Suite 1: AES-256-GCM with a random 96-bit nonce before the ciphertext (NIST SP 800-38D)."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._aead = AESGCM(key)

    def seal(self, payload: bytes | memoryview, bound: bytes) -> bytes:
        nonce = random_bytes(_NONCE)
        return nonce + self._aead.encrypt(nonce, payload, bound)

    def open(self, sealed: bytes | memoryview, bound: bytes) -> bytes:
        try:
            return self._aead.decrypt(bytes(sealed[:_NONCE]), sealed[_NONCE:], bound)
        except (InvalidTag, ValueError) as error:
            raise OpenFailed from error

    def seal_into(self, payload: bytes | memoryview, bound: bytes, room: bytearray) -> int:
        length = _NONCE + len(payload) + _TAG
        _make_room(room, length)
        nonce = random_bytes(_NONCE)
        room[:_NONCE] = nonce
        with memoryview(room)[_NONCE:length] as rest:
            self._aead.encrypt_into(nonce, payload, bound, rest)
        return length

    def opens_as(self, sealed: bytes | memoryview, bound: bytes, payload: bytes | memoryview, room: bytearray) -> bool:
        if len(sealed) != _NONCE + len(payload) + _TAG:
            return False
        with memoryview(sealed) as piece, memoryview(payload) as wanted:
            mode = modes.GCM(bytes(piece[:_NONCE]), bytes(piece[-_TAG:]))
            decryptor = Cipher(algorithms.AES(self._key), mode).decryptor()
            decryptor.authenticate_additional_data(bound)
            _make_room(room, min(len(payload), _PIECE_BYTES))
            for start in range(0, len(payload), _PIECE_BYTES):
                part = wanted[start : start + _PIECE_BYTES]
                count = decryptor.update_into(piece[_NONCE + start : _NONCE + start + len(part)], room)
                if count != len(part) or not room.startswith(part):
                    return False
            try:
                decryptor.finalize()
            except InvalidTag:
                return False
        return True


class Cbc:
    """Suite 2: AES-256-CBC, random IV prepended, encrypt-then-MAC with HMAC-SHA-256, compared before decrypting."""

    def __init__(self, key: bytes, mac_key: bytes) -> None:
        self._algorithm = algorithms.AES(key)
        self._mac_key = mac_key

    def seal(self, payload: bytes | memoryview, bound: bytes) -> bytes:
        iv = random_bytes(_IV)
        padder = padding.PKCS7(_BLOCK * 8).padder()
        encryptor = Cipher(self._algorithm, modes.CBC(iv)).encryptor()
        padded = encryptor.update(padder.update(payload)) + encryptor.update(padder.finalize())
        body = iv + padded + encryptor.finalize()
        return body + _mac(self._mac_key, AES_256_CBC, bound, body)

    def open(self, sealed: bytes | memoryview, bound: bytes) -> bytes:
        body = _authentic(self._mac_key, AES_256_CBC, bound, sealed)
        if len(body) < _IV + _BLOCK or len(body) % _BLOCK:
            raise OpenFailed
        decryptor = Cipher(self._algorithm, modes.CBC(body[:_IV])).decryptor()
        unpadder = padding.PKCS7(_BLOCK * 8).unpadder()
        try:
            padded = decryptor.update(body[_IV:]) + decryptor.finalize()
            return unpadder.update(padded) + unpadder.finalize()
        except ValueError as error:
            raise OpenFailed from error

    def seal_into(self, payload: bytes | memoryview, bound: bytes, room: bytearray) -> int:
        return _put(self.seal(payload, bound), room)

    def opens_as(self, sealed: bytes | memoryview, bound: bytes, payload: bytes | memoryview, room: bytearray) -> bool:
        return _opens_as(self, sealed, bound, payload)


class Plain:
    """Suite 0: not encrypted, yet authenticated."""

    def __init__(self, mac_key: bytes) -> None:
        self._mac_key = mac_key

    def seal(self, payload: bytes | memoryview, bound: bytes) -> bytes:
        return b"".join((payload, _mac(self._mac_key, NONE, bound, payload)))

    def open(self, sealed: bytes | memoryview, bound: bytes) -> bytes:
        return _authentic(self._mac_key, NONE, bound, sealed)

    def seal_into(self, payload: bytes | memoryview, bound: bytes, room: bytearray) -> int:
        return _put(self.seal(payload, bound), room)

    def opens_as(self, sealed: bytes | memoryview, bound: bytes, payload: bytes | memoryview, room: bytearray) -> bool:
        return _opens_as(self, sealed, bound, payload)


def sealed_length(suite: int, length: int) -> int:
    """How long a piece of `length` bytes is when it is sealed."""
    if suite == AES_256_GCM:
        return _NONCE + length + _TAG
    if suite == AES_256_CBC:
        return _IV + length // _BLOCK * _BLOCK + _BLOCK + _MAC
    return length + _MAC


def _opens_as(cipher: Cipherer, sealed: bytes | memoryview, bound: bytes, payload: bytes | memoryview) -> bool:
    try:
        opened = cipher.open(sealed, bound)
    except OpenFailed:
        return False
    return len(opened) == len(payload) and opened.startswith(payload)


def _make_room(room: bytearray, length: int) -> None:
    if len(room) < length:
        room.extend(bytes(length - len(room)))


def _put(piece: bytes, room: bytearray) -> int:
    _make_room(room, len(piece))
    room[: len(piece)] = piece
    return len(piece)


def _mac(key: bytes, suite: int, bound: bytes, body: bytes | memoryview) -> bytes:
    mac = hmac.new(key, bytes([suite]) + len(bound).to_bytes(4, "little") + bound, "sha256")
    mac.update(body)
    return mac.digest()


def _authentic(key: bytes, suite: int, bound: bytes, sealed: bytes | memoryview) -> bytes:
    if len(sealed) < _MAC:
        raise OpenFailed
    body = bytes(sealed[:-_MAC])
    if not hmac.compare_digest(_mac(key, suite, bound, body), bytes(sealed[-_MAC:])):
        raise OpenFailed
    return body

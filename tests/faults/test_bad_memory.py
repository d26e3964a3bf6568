"""Bad memory, or a fault in a cipher or compressor: what was sealed is opened and compared before it is stored."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from engine import compress, crypto, keyring
from engine.errors import Corrupt
from engine.repository import box
from tests.support.repositories import Bench
from tests.support.streams import Stream

SIZES = (1, 5000, crypto._PIECE_BYTES, 2 * crypto._PIECE_BYTES + 1)


class Flipping:
    """AES-GCM on a machine that turns over one bit of what is sealed, `place` bytes from the end of it."""

    place = 20

    def __init__(self, key: bytes) -> None:
        self._sound = AESGCM(key)
        self.encrypt, self.decrypt = self._sound.encrypt, self._sound.decrypt

    def encrypt_into(self, nonce: bytes, data: Any, bound: Any, room: Any) -> int:
        count = self._sound.encrypt_into(nonce, data, bound, room)
        room[-self.place] ^= 1
        return count


@pytest.mark.parametrize("place", [1, 20, 3000])
def test_what_does_not_open_again_is_not_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: int) -> None:
    bench, source = Bench(tmp_path), tmp_path / "source"
    bench.create()
    source.mkdir()
    (source / "file").write_bytes(os.urandom(5000))
    monkeypatch.setattr(crypto, "AESGCM", Flipping)
    monkeypatch.setattr(Flipping, "place", place)
    with pytest.raises(Corrupt, match="did not open again"):
        bench.backup(source)
    assert not bench.open().list_packs()
    assert not bench.manifests()


def test_what_does_not_decompress_again_is_not_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench, source = Bench(tmp_path), tmp_path / "source"
    bench.create()
    source.mkdir()
    (source / "file").write_bytes(b"".join(b"%d, " % number for number in range(9000)))
    sound = compress.Compressor.compress

    def change_one_byte(self: compress.Compressor, plain: bytes | memoryview) -> tuple[int, bytes | memoryview]:
        return sound(self, bytes(plain).replace(b"77,", b"78,", 1))

    monkeypatch.setattr(compress.Compressor, "compress", change_one_byte)
    with pytest.raises(Corrupt, match="did not decompress again"):
        bench.backup(source)
    assert not bench.open().list_packs()


def test_a_difference_that_does_not_give_its_chunk_again_is_not_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, data = Bench(tmp_path), b"".join(b"%d, " % number for number in range(9000))
    bench.create()
    bench.backup(streams=[Stream(data)])
    before = bench.open().list_packs()
    sound = compress.Compressor.difference

    def change_one_byte(self: compress.Compressor, plain: bytes | memoryview, base: bytes) -> bytes:
        return sound(self, bytes(plain).replace(b"77,", b"78,", 1), base)

    monkeypatch.setattr(compress.Compressor, "difference", change_one_byte)
    with pytest.raises(Corrupt, match="did not give its chunk again"):
        bench.backup(streams=[Stream(data + b"more")])
    assert bench.open().list_packs() == before


@pytest.mark.parametrize("suite", crypto.SUITES.values())
@pytest.mark.parametrize("size", SIZES)
def test_only_the_very_payload_counts(suite: int, size: int) -> None:
    header = box.new_header(keyring.Keyring.generate(), box.PACK_MAGIC, box.DATA_PACK, suite)
    payload, bound, sealed, room = os.urandom(size), b"bound", bytearray(), bytearray()
    length = header.cipher.seal_into(payload, bound, sealed)
    piece = bytes(sealed[:length])
    assert header.cipher.opens_as(piece, bound, payload, room)
    assert len(room) <= crypto._PIECE_BYTES
    for other in (payload[:-1] + bytes([payload[-1] ^ 1]), payload[:-1], payload + b"\0", b""):
        assert not header.cipher.opens_as(piece, bound, other, room)
    assert not header.cipher.opens_as(piece, b"other", payload, room)
    for place in (0, length // 2, length - 1):
        spoilt = piece[:place] + bytes([piece[place] ^ 1]) + piece[place + 1 :]
        assert not header.cipher.opens_as(spoilt, bound, payload, room)

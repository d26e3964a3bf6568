"""Packs and boxes: what is sealed opens, and nothing that was changed in any bit does."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine import compress, crypto
from engine.errors import Corrupt, WrongKey
from engine.keyring import Keyring
from engine.repository import box, pack
from engine.repository.index import decode, encode
from engine.repository.pack import OpenPack, PackInfo
from engine.repository.table import IndexTable

SUITES = list(crypto.SUITES.values())


@pytest.fixture
def keyring() -> Keyring:
    return Keyring.generate()


def make_pack(keyring: Keyring, folder: Path, suite: int, plains: list[bytes]) -> tuple[bytes, PackInfo]:
    opened = OpenPack(keyring, box.DATA_PACK, suite, folder)
    for plain in plains:
        codec, payload = compress.Compressor(compress.ZSTD).compress(plain)
        id = crypto.keyed_hash(keyring.plain_key if suite == 0 else keyring.data_key, plain)
        opened.append(id, pack.DATA, codec, len(plain), payload)
    info = opened.finish()
    return opened.path.read_bytes(), info


def open_pack(keyring: Keyring, data: bytes) -> list[bytes]:
    header = box.read_header(keyring, data, box.PACK_MAGIC, "pack")
    position, length, plain_length = pack.read_trailer(data[-pack.TRAILER_BYTES :], len(data), "pack")
    directory = pack.open_directory(header, position, data[position : position + length], plain_length, "pack")
    decompressor = compress.Decompressor()
    return [
        pack.open_blob(header, e, data[e.position : e.position + e.stored], decompressor, name="pack")
        for e in pack.decode_directory(directory, "pack")
    ]


@pytest.mark.parametrize("suite", SUITES)
def test_a_pack_tells_itself_what_it_holds(keyring: Keyring, tmp_path: Path, suite: int) -> None:
    plains = [b"", b"x", b"compressible " * 1000, bytes(range(256)) * 9]
    data, info = make_pack(keyring, tmp_path, suite, plains)
    assert crypto.sha256(data) == info.name
    assert len(data) == info.size
    assert open_pack(keyring, data) == plains


@pytest.mark.parametrize("suite", SUITES)
def test_every_flipped_bit_of_a_pack_is_noticed(keyring: Keyring, tmp_path: Path, suite: int) -> None:
    data, _ = make_pack(keyring, tmp_path, suite, [b"one", b"two " * 30])
    for place in range(len(data)):
        flipped = data[:place] + bytes([data[place] ^ (1 << place % 8)]) + data[place + 1 :]
        with pytest.raises(Corrupt):
            open_pack(keyring, flipped)


@pytest.mark.parametrize("suite", [crypto.AES_256_GCM, crypto.AES_256_CBC])
def test_every_flipped_bit_and_every_cut_of_a_box_is_noticed(keyring: Keyring, suite: int) -> None:
    data = box.seal_box(keyring, box.MANIFEST, b"some plain text " * 5, suite)
    assert box.open_box(keyring, box.MANIFEST, data, "box") == b"some plain text " * 5
    for place in range(len(data)):
        flipped = data[:place] + bytes([data[place] ^ (1 << place % 8)]) + data[place + 1 :]
        with pytest.raises(Corrupt):
            box.open_box(keyring, box.MANIFEST, flipped, "box")
    for length in range(len(data)):
        with pytest.raises(Corrupt):
            box.open_box(keyring, box.MANIFEST, data[:length], "box")
    with pytest.raises(Corrupt):
        box.open_box(keyring, box.MANIFEST, data + b"x", "box")


def test_a_box_of_another_kind_does_not_open(keyring: Keyring) -> None:
    data = box.seal_box(keyring, box.HEAD, b"plain", crypto.AES_256_GCM)
    with pytest.raises(Corrupt):
        box.open_box(keyring, box.MANIFEST, data, "box")


def test_metadata_is_encrypted_even_where_data_is_not(keyring: Keyring) -> None:
    data = box.seal_box(keyring, box.MANIFEST, b"a name that nobody shall read", crypto.NONE)
    assert b"nobody" not in data
    assert data[5] == crypto.AES_256_GCM


def test_an_intact_object_of_another_installation_is_a_wrong_key(keyring: Keyring, tmp_path: Path) -> None:
    data = box.seal_box(keyring, box.INDEX, b"plain", crypto.AES_256_GCM)
    with pytest.raises(WrongKey):
        box.open_box(Keyring.generate(), box.INDEX, data, "box")
    packed, _ = make_pack(keyring, tmp_path, crypto.AES_256_GCM, [b"x"])
    with pytest.raises(WrongKey):
        open_pack(Keyring.generate(), packed)


def test_a_blob_does_not_open_in_another_place(keyring: Keyring, tmp_path: Path) -> None:
    """Two blobs of equal length change places: nothing but their position tells them apart."""
    data, info = make_pack(keyring, tmp_path, crypto.AES_256_GCM, [b"aaaa", b"bbbb"])
    first, second = pack.decode_directory(info.directory, "pack")
    swapped = bytearray(data)
    swapped[first.position : first.position + first.stored] = data[second.position : second.position + second.stored]
    header = box.read_header(keyring, data, box.PACK_MAGIC, "pack")
    moved = second._replace(position=first.position)
    sealed = bytes(swapped[first.position : first.position + first.stored])
    with pytest.raises(Corrupt):
        pack.open_blob(header, moved, sealed, compress.Decompressor(), name="pack")


@pytest.mark.parametrize("codec", [compress.ZSTD, compress.GZIP, compress.BZIP2])
def test_decompression_stops_at_the_stated_length(codec: int) -> None:
    used, bomb = compress.Compressor(codec).compress(bytes(50_000_000))
    assert used == codec
    with pytest.raises(compress.BadFrame):
        compress.Decompressor().decompress(codec, bomb, 1000)


def test_an_index_finds_every_blob_and_no_other(keyring: Keyring, tmp_path: Path) -> None:
    plains = [b"blob %d" % n for n in range(3000)]
    _, first = make_pack(keyring, tmp_path, crypto.AES_256_GCM, plains[:1500])
    _, second = make_pack(keyring, tmp_path, crypto.AES_256_GCM, plains[1500:])
    table = IndexTable(keyring)
    table.load(decode(encode([first, second]), "index"))
    for plain in plains:
        found = table.find(crypto.keyed_hash(keyring.data_key, plain))
        assert found is not None
        assert found.entry.plain == len(plain)
    for n in range(3000):
        assert crypto.keyed_hash(keyring.data_key, b"other %d" % n) not in table
    assert len(table) == 3000
    assert {place.entry.id for known in table.packs() for place in table.of_pack(known)} == {
        crypto.keyed_hash(keyring.data_key, plain) for plain in plains
    }


def test_a_cut_index_is_damage(keyring: Keyring, tmp_path: Path) -> None:
    _, info = make_pack(keyring, tmp_path, crypto.AES_256_GCM, [b"x"])
    plain = encode([info])
    for length in range(1, len(plain)):
        with pytest.raises(Corrupt):
            list(decode(plain[:length], "index"))

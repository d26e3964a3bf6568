"""A difference in a pack: it comes back with its base and with nothing else, and says what it leans on."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import zstandard

from engine import compress, crypto
from engine.errors import Corrupt
from engine.keyring import Keyring
from engine.repository import box, pack
from engine.repository.index import Location
from engine.repository.pack import Base, OpenPack, PackInfo
from engine.repository.table import IndexTable

KEYRING = Keyring.generate()
SUITES = sorted(crypto.SUITES.values())


def frame(plain: bytes, base: bytes) -> bytes:
    """A frame that leans on `base`."""
    known = zstandard.ZstdCompressionDict(base, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    return zstandard.ZstdCompressor(level=3, dict_data=known).compress(plain)


def stored(suite: int, folder: Path, seed: int) -> tuple[bytes, bytes, Location, bytes]:
    """Base and difference in one pack: their plaintexts, where the difference lies, and the bytes of the pack."""
    rng = random.Random(seed)
    base = rng.randbytes(100_000)
    plain = base[:40_000] + b"changed" + base[40_000:]
    key = KEYRING.plain_key if suite == crypto.NONE else KEYRING.data_key
    ids = [crypto.keyed_hash(key, each) for each in (base, plain)]
    opened = OpenPack(KEYRING, box.DATA_PACK, suite, folder)
    opened.append(ids[0], pack.DATA, compress.NONE, len(base), base)
    payload = frame(plain, base)
    length = opened.append(ids[1], pack.DATA, compress.ZSTD, len(plain), payload, depth=1, base=Base(ids[0], 4711))
    assert length < 1000
    assert length == crypto.sealed_length(suite, len(payload))
    size = opened.size
    info = opened.finish()
    assert info.size == pack.finished_size(suite, size, 2, differences=1)
    return base, plain, location_of(info, ids[1]), opened.path.read_bytes()


def location_of(info: PackInfo, id: bytes) -> Location:
    table = IndexTable(KEYRING)
    table.add(info)
    assert table.holds(id)
    found = table.find(id)
    assert found is not None
    return found


def opened_again(found: Location, data: bytes, base_id: bytes, base: bytes | None) -> bytes:
    entry = found.entry
    sealed = data[entry.position : entry.position + entry.stored]
    return pack.open_blob(
        found.pack.header, entry, sealed, compress.Decompressor(), name="it", base=base_id, base_plain=base
    )


@pytest.mark.parametrize("suite", SUITES)
def test_a_difference_comes_back_with_its_base_alone(suite: int, tmp_path: Path, seed: int) -> None:
    base, plain, found, data = stored(suite, tmp_path, seed)
    leans_on = found.base
    assert leans_on is not None
    assert (found.entry.depth, leans_on.full) == (1, 4711)
    assert opened_again(found, data, leans_on.id, base) == plain
    with pytest.raises(Corrupt, match="without its base"):
        opened_again(found, data, leans_on.id, None)
    with pytest.raises(Corrupt, match="damaged"):
        opened_again(found, data, found.entry.id, base)


def test_a_difference_says_what_it_leans_on_or_is_refused(tmp_path: Path) -> None:
    opened = OpenPack(KEYRING, box.DATA_PACK, crypto.AES_256_GCM, tmp_path)
    for depth, base in ((1, None), (0, Base(bytes(32), 0))):
        with pytest.raises(ValueError, match="depth and a base"):
            opened.append(b"i" * 32, pack.DATA, compress.ZSTD, 1, b"x", depth=depth, base=base)
    opened.abandon()


def test_only_zstd_leans_on_anything() -> None:
    for codec in (compress.NONE, compress.GZIP, compress.BZIP2):
        with pytest.raises(compress.BadFrame):
            compress.Decompressor().decompress(codec, b"abc", 3, b"base")


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 1000])
def test_a_short_base_will_do(length: int, seed: int) -> None:
    """The last chunk of a file may have one byte."""
    plain, base = random.Random(seed).randbytes(100_000), b"b" * length
    payload = compress.Compressor(compress.ZSTD).difference(plain, base)
    assert compress.Decompressor().decompress(compress.ZSTD, payload, len(plain), base) == plain


def test_frames_that_lean_on_each_other_come_back_or_not_at_all(seed: int) -> None:
    rng, tool, compressor = random.Random(seed), compress.Decompressor(), compress.Compressor(compress.ZSTD)
    plains = [rng.randbytes(50_000)]
    frames = [zstandard.ZstdCompressor().compress(plains[0])]
    for number in range(3):
        plains.append(plains[-1][: 9000 * number] + b"changed" + plains[-1][9000 * number :])
        frames.append(compressor.difference(memoryview(plains[-1]), plains[-2]))
    lengths = [len(plain) for plain in plains]
    for count in range(1, 5):
        assert tool.follow(frames[:count], lengths[:count]) == plains[count - 1]
    assert max(map(len, frames[1:])) < 200
    with pytest.raises(compress.BadFrame):
        tool.follow(frames, [*lengths[:-1], lengths[-1] - 1])
    for broken in ([frames[0], frames[2]], [b"no frame", frames[1]], [frames[0], frames[1][:-1]]):
        with pytest.raises(compress.BadFrame):
            tool.follow(broken, [lengths[0], lengths[2]])


@pytest.mark.parametrize("number", range(3))
def test_nothing_may_follow_a_frame(seed: int, number: int) -> None:
    """Whether the frames of a chain are opened in one go or one by one."""
    plains, compressor, tool = [b"first" * 3000], compress.Compressor(compress.ZSTD), compress.Decompressor()
    plains += [plains[0] + random.Random(seed).randbytes(100), b"x" + plains[0]]
    frames = [compressor.compress(plains[0])[1], *map(compressor.difference, plains[1:], plains)]
    lengths = [len(plain) for plain in plains]
    assert tool.follow([*map(bytes, frames)], lengths) == plains[-1]
    for more in (b"more", frames[0]):
        longer = [bytes(frame) + more * (place == number) for place, frame in enumerate(frames)]
        with pytest.raises(compress.BadFrame):
            tool.follow(longer, lengths)
        with pytest.raises(compress.BadFrame):
            tool.decompress(compress.ZSTD, longer[number], lengths[number], plains[number - 1] if number else None)

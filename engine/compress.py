"""Codecs by number (docs/format.md, 5.3). Decompression never yields more than it was told to expect."""

from __future__ import annotations

import bz2
import zlib

import zstandard
from isal import igzip_lib

NONE, ZSTD, GZIP, BZIP2 = 0, 1, 2, 3
CODECS = {"none": NONE, "zstd": ZSTD, "gzip": GZIP, "bzip2": BZIP2}
# Measured on chunks of generated uploads (docs/performance.md): zstd's level 2 is 1.4 times as fast as 3 and makes text
# 1 % larger; level 1 gains little more and makes it 6 % larger.
_ZSTD_LEVEL, _GZIP_LEVEL, _BZIP2_LEVEL = 2, 2, 9
_GZIP_WINDOW = 31
# Of a difference (measured on a week of dumps): smaller tables lose matches, a tenth in size on a usual day and twice
# that size with a new column; larger ones take a fifth more time; no higher level makes it smaller, and long-distance
# matching finds little where every row has changed. The window covers the longest chunk and its base.
_DIFFERENCE_LEVEL, _WINDOW_LOG, _HASH_LOG = 1, 23, 19
# What is shorter is no prefix.
_PREFIX_BYTES = 8


class BadFrame(Exception):
    """The compressed bytes are not what the codec wrote, or hold more than was stated."""


class Compressor:
    """Compresses with one codec. Not for use by two threads at once: each makes its own."""

    def __init__(self, codec: int) -> None:
        self._codec = codec
        self._zstd = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_content_size=True, write_checksum=False)

    def compress(self, plain: bytes | memoryview) -> tuple[int, bytes | memoryview]:
        """The codec used and the payload: `plain` itself, not a copy, where compressing saves less than 3 %."""
        if self._codec != NONE:
            packed = self._pack(plain)
            if len(packed) < len(plain) * 0.97:
                return self._codec, packed
        return NONE, plain

    def difference(self, plain: bytes | memoryview, base: bytes) -> bytes:
        """A zstd frame that opens only with the bytes of `base` at hand."""
        if len(base) < _PREFIX_BYTES:
            return self._zstd.compress(plain)
        # As a prefix, which is read in 0.4 of the time that a dictionary for many frames takes. Imported here: few
        # commands make differences.
        from backports import zstd

        options: dict[int, int] = {
            zstd.CompressionParameter.compression_level: _DIFFERENCE_LEVEL,
            zstd.CompressionParameter.window_log: _WINDOW_LOG,
            zstd.CompressionParameter.hash_log: _HASH_LOG,
        }
        return zstd.compress(plain, options=options, zstd_dict=zstd.ZstdDict(base, is_raw=True).as_prefix)

    def _pack(self, plain: bytes | memoryview) -> bytes:
        if self._codec == ZSTD:
            return self._zstd.compress(plain)
        if self._codec == GZIP:
            return bytes(igzip_lib.compress(plain, level=_GZIP_LEVEL, flag=igzip_lib.COMP_GZIP))
        return bz2.compress(plain, _BZIP2_LEVEL)


class Decompressor:
    """Decompresses any codec. Not for use by two threads at once: each makes its own."""

    def __init__(self) -> None:
        self._zstd = zstandard.ZstdDecompressor()

    def decompress(self, codec: int, payload: bytes, length: int, base: bytes | None = None) -> bytes:
        """Exactly `length` bytes; of a difference, `base` is the plaintext that it leans on. Raises BadFrame."""
        try:
            plain = self._unpack(codec, payload, length, base)
        except (zstandard.ZstdError, OSError, EOFError, ValueError, zlib.error) as error:
            raise BadFrame from error
        if len(plain) != length:
            raise BadFrame
        return plain

    def follow(self, frames: list[bytes], lengths: list[int]) -> bytes:
        """What the last of these zstd frames holds, when each but the first leans on the one before it; `lengths` are
        those of their plaintexts. As `decompress` for each in turn, at a fifth of the time. Raises BadFrame."""
        from backports import zstd  # see Compressor.difference

        try:
            if [zstandard.frame_content_size(frame) for frame in frames] != lengths:
                raise BadFrame
            if any(zstd.get_frame_size(frame) != len(frame) for frame in frames):  # the chain passes over what follows
                raise BadFrame
            return self._zstd.decompress_content_dict_chain([*frames])
        except (zstandard.ZstdError, zstd.ZstdError, ValueError) as error:
            raise BadFrame from error

    def _unpack(self, codec: int, payload: bytes, length: int, base: bytes | None) -> bytes:
        if base is not None and codec != ZSTD:
            raise BadFrame
        if codec == NONE:
            return payload
        if codec == ZSTD:
            if zstandard.frame_content_size(payload) != length:
                raise BadFrame
            tool = self._zstd
            if base is not None:
                known = zstandard.ZstdCompressionDict(base, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
                tool = zstandard.ZstdDecompressor(dict_data=known)
            return tool.decompress(payload, max_output_size=length, allow_extra_data=False)
        if codec == GZIP:
            return zlib.decompressobj(_GZIP_WINDOW).decompress(payload, length + 1)
        if codec == BZIP2:
            return bz2.BZ2Decompressor().decompress(payload, length + 1)
        raise BadFrame

"""Counts the rows in the data block of a table, exactly and at memory speed, without a step of Python for each row.

A block is a row of chunks: a sign byte (0), four bytes of length, the lowest first, and so many bytes of COPY text;
a chunk of length 0 ends it. COPY text never holds a NUL, so in a block each NUL belongs to a length; and a newline
outside of lengths always ends a row (newlines inside values are escaped).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

PREFIX_BYTES = 5
# Five NULs are the end of the block and nothing else: any other length has at least one byte that is not 0, and
# between two lengths lies at least one byte of text.
TERMINATOR = bytes(PREFIX_BYTES)
# What follows the last row: the end of COPY's text and two empty lines, as pg_dump has always written it.
END_OF_ROWS = b"\\.\n\n\n"
NEWLINES_AFTER_ROWS = END_OF_ROWS.count(b"\n")

# In the cache of a core, and short enough that a row which ends inside has a length below 0x0A0000 (_fast_count).
WINDOW = 256 << 10
# The first window of a call: a dump may hold thousands of tiny tables, and each ends in its first one.
FIRST_WINDOW = 4 << 10
_ALL_BUT_NUL_AND_NEWLINE = bytes(value for value in range(256) if value not in b"\0\n")
# Greedy, so only a length that is cut by the end of the searched part is matched by fewer than five bytes.
_PREFIX = re.compile(rb"\x00.{0,4}", re.DOTALL)
_NEWLINE_IN_LENGTH = b"\n\0\n\0\0"
_NEWLINE_IN_LENGTH_REMOVED = b"\n\0\0\0"
_ROW_BOUNDARY = b"\n\0\0\0"


@dataclass(frozen=True)
class Counted:
    """`newlines` of COPY text lie before `position`, where reading goes on. With `ended` the block's terminator begins
    there; else what is left is the beginning of a length (up to 4 bytes)."""

    newlines: int
    position: int
    ended: bool


def count_newlines(buffer: bytes, position: int, *, row_per_chunk: bool) -> Counted:
    """Newlines of COPY text from `position`, which lies anywhere in a block but not inside a length.

    With `row_per_chunk` the writer is one that puts every row into a chunk of its own (pg_dump up to 18); this allows
    a way that is three times as fast. Without it any division into chunks is counted exactly.
    """
    newlines = 0
    end = len(buffer)
    window = FIRST_WINDOW
    while position < end:
        if not buffer[position]:
            if end - position < PREFIX_BYTES:
                break
            if buffer.startswith(TERMINATOR, position):
                return Counted(newlines, position, ended=True)
            position += PREFIX_BYTES
            continue
        stop = min(position + window, end)
        window = min(2 * window, WINDOW)
        if row_per_chunk:
            stop = _before_lengths(buffer, position, stop)
            quick = _fast_count(buffer[position:stop])
            if quick is not None:
                newlines += quick
                position = stop
                continue
        found, position = _exact_count(buffer, position, stop)
        newlines += found
    return Counted(newlines, position, ended=False)


def _before_lengths(buffer: bytes, position: int, stop: int) -> int:
    """A stop a little earlier, if that keeps lengths away from the window's end; `_fast_count` needs it."""
    for earlier in (stop, stop - 2 * PREFIX_BYTES, stop - 4 * PREFIX_BYTES):
        if earlier - PREFIX_BYTES > position and 0 not in buffer[earlier - PREFIX_BYTES : earlier]:
            return earlier
    return stop


def _fast_count(window: bytes) -> int | None:
    """Newlines of COPY text where every chunk is one row; None when this way cannot tell.

    `window` begins with a byte of text. All but NULs and newlines is deleted. A row's end and the length after it then
    read as a newline and 3 or 4 NULs (lengths below 65536 have two high bytes of 0 and a sign of 0). A length with one
    byte 0x0A reads as newline, NUL, newline, NUL, NUL: that second newline is taken out. If after this every newline
    is followed by three NULs, but for one that ends the window, no other newline can stem from a length. The test of
    this module tries all combinations of lengths' bytes.
    """
    if 0 in window[-PREFIX_BYTES:]:
        return None
    bare = window.translate(None, _ALL_BUT_NUL_AND_NEWLINE)
    if TERMINATOR in bare:
        return None
    bare = bare.replace(_NEWLINE_IN_LENGTH, _NEWLINE_IN_LENGTH_REMOVED)
    newlines = bare.count(b"\n")
    if bare.count(_ROW_BOUNDARY) + window.endswith(b"\n") != newlines:
        return None
    return newlines


def _exact_count(buffer: bytes, position: int, stop: int) -> tuple[int, int]:
    """Newlines of COPY text between `position` and `stop`, whatever the chunks are, and where to go on: at `stop`, or
    before it at the terminator or at a length that `stop` cuts."""
    terminator = buffer.find(TERMINATOR, position, stop)
    limit = stop if terminator < 0 else terminator
    lengths = _PREFIX.findall(buffer, position, limit)
    if lengths and len(lengths[-1]) < PREFIX_BYTES:
        limit -= len(lengths.pop())
    newlines = buffer.count(b"\n", position, limit) - b"".join(lengths).count(b"\n")
    return newlines, limit

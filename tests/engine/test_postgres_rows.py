"""Counting rows in a table's data block: exact for every shape of chunks, rows and splits."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence

from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.postgres import rows
from engine.postgres.rows import NEWLINES_AFTER_ROWS, TERMINATOR, count_newlines
from tests.engine.pgfakes.archives import END_OF_ROWS, chunked

# Lengths whose bytes hold 0x0A or 0x00 in every place, beside ordinary ones.
LENGTHS = [1, 2, 5, 9, 10, 11, 100, 255, 256, 257, 266, 2559, 2560, 2561, 2570, 2815, 2816, 65535, 65536, 65546, 68096]
LENGTHS += [655_359, 655_360, 655_370, 657_930]


def row(length: int) -> bytes:
    """A row of so many bytes, its newline included; it looks a little like COPY text."""
    return (b"12\t\\N\t\\\\.x" * (length // 9 + 1))[: length - 1] + b"\n"


def naive(block: bytes) -> int:
    """Newlines of text, one chunk after the other."""
    position = found = 0
    while length := int.from_bytes(block[position + 1 : position + 5], "little"):
        found += block.count(b"\n", position + 5, position + 5 + length)
        position += 5 + length
    assert position + 5 == len(block)
    return found


def streamed(block: bytes, cuts: Sequence[int], *, row_per_chunk: bool) -> tuple[int, int]:
    """(newlines, where the terminator lies) when the block comes in the pieces that `cuts` make."""
    carry, base, newlines = b"", 0, 0
    for start, stop in itertools.pairwise([0, *sorted(cuts), len(block)]):
        buffer = carry + block[start:stop]
        counted = count_newlines(buffer, 0, row_per_chunk=row_per_chunk)
        newlines += counted.newlines
        if counted.ended:
            return newlines, base + counted.position
        carry = buffer[counted.position :]
        base += counted.position
        assert len(carry) < len(TERMINATOR)
    raise AssertionError("the end of the block was not seen")


@st.composite
def row_lengths(draw: st.DrawFn) -> list[int]:
    few = st.lists(st.sampled_from(LENGTHS) | st.integers(1, 300), max_size=40)
    times = draw(st.sampled_from([1, 1, 1, 50]))
    lengths = draw(few)
    return lengths * times if sum(lengths) < 20_000 else lengths


@given(row_lengths(), st.data())
@settings(max_examples=150)
@example([10] * 40_000, None)
@example([2560, 10, 2570] * 300, None)
def test_a_row_in_each_chunk_is_counted_both_ways(lengths: list[int], data: st.DataObject | None) -> None:
    block = chunked([*(row(length) for length in lengths), END_OF_ROWS])
    cuts = data.draw(st.lists(st.integers(0, len(block)), max_size=6)) if data else [len(block) // 3]
    expected = (len(lengths) + NEWLINES_AFTER_ROWS, len(block) - len(TERMINATOR))
    assert naive(block) == expected[0]
    assert streamed(block, cuts, row_per_chunk=True) == expected
    assert streamed(block, cuts, row_per_chunk=False) == expected


@given(row_lengths(), st.data())
@settings(max_examples=150)
def test_any_division_into_chunks_is_counted(lengths: list[int], data: st.DataObject) -> None:
    content = b"".join(row(length) for length in lengths) + END_OF_ROWS
    sizes = data.draw(st.lists(st.sampled_from([*LENGTHS, 131_072]) | st.integers(1, 40), min_size=1, max_size=30))
    pieces, position = [], 0
    least = len(content) // 2000  # thousands of chunks show nothing that hundreds do not
    for size in itertools.cycle(max(size, least) for size in sizes):
        pieces.append(content[position : position + size])
        position += size
        if position >= len(content):
            break
    block = chunked(pieces)
    cuts = data.draw(st.lists(st.integers(0, len(block)), max_size=6))
    expected = (len(lengths) + NEWLINES_AFTER_ROWS, len(block) - len(TERMINATOR))
    assert naive(block) == expected[0]
    assert streamed(block, cuts, row_per_chunk=False) == expected


def test_every_length_up_to_70_000_is_counted(seed: int) -> None:
    """All lengths whose two low bytes vary, in an order that changes their neighbours."""
    lengths = list(range(1, 3000)) + list(range(3000, 70_001, 97)) + list(range(65_400, 65_700))
    random.Random(seed).shuffle(lengths)
    block = chunked([*(row(length) for length in lengths), END_OF_ROWS])
    expected = (len(lengths) + NEWLINES_AFTER_ROWS, len(block) - len(TERMINATOR))
    assert streamed(block, list(range(0, len(block), 1 << 20)), row_per_chunk=True) == expected


def test_a_block_cut_at_every_byte_is_counted() -> None:
    block = chunked([row(1), row(10), row(7), row(2560), row(1), END_OF_ROWS])
    expected = (5 + NEWLINES_AFTER_ROWS, len(block) - len(TERMINATOR))
    for cut in range(len(block)):
        assert streamed(block, [cut], row_per_chunk=True) == expected, cut
        assert streamed(block, [cut], row_per_chunk=False) == expected, cut


def lengths_seen_bare(third: Sequence[int], fourth: Sequence[int]) -> set[bytes]:
    """What stays of a length's five bytes when all but NULs and newlines is taken out."""
    kinds = itertools.product((0, 10, 1), (0, 10, 1), third, fourth)
    return {bytes(byte for byte in (0, *kind) if byte in (0, 10)) for kind in kinds if any(kind)}


def bare_windows() -> Iterator[tuple[bytes, int]]:
    """(window, rows that end in it) for all sequences of up to three rows and any length that begins in it. A row that
    ends inside of a window is shorter than it, so the fourth byte of its length is 0 and the third is below 0x0A."""
    inside = sorted(lengths_seen_bare((0, 1), (0,)))
    beyond = sorted(lengths_seen_bare((0, 10, 1), (0, 10, 1)))
    assert rows.WINDOW < 0x0A0000
    for count in range(4):
        for lengths in itertools.product(inside, repeat=count):
            window = b"x\n" + b"".join(length + b"x\n" for length in lengths)
            yield window, 1 + count
            for last in beyond:
                yield window + last + b"xxxxx", 1 + count


def test_the_fast_way_is_never_wrong_whatever_bytes_the_lengths_have() -> None:
    wrong, sure = [], 0
    for window, expected in bare_windows():
        # The window's last five bytes must not hold a NUL: text stands in for them where a row has just ended.
        padded = window[:-1] + b"xxxxx\n" if window.endswith(b"\n") else window
        counted = rows._fast_count(padded)
        sure += counted is not None
        if counted not in (None, expected):
            wrong.append((window, counted, expected))
    assert wrong == []
    assert sure > 300

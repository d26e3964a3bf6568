"""Cut points are part of the format's promise to deduplicate: frozen for a seed, and stable under insertion."""

from __future__ import annotations

import random

from engine import chunker

SEED = 0x1234_5678_9ABC_DEF1
GOLDEN = [858068, 1353876, 774835, 1392505, 639861, 1502255, 1178035, 1100296, 1142271, 355428, 311420, 1391150]


def cut(data: bytes) -> list[int]:
    return [length for _, length in chunker.make_cutter(SEED)(memoryview(data))]


def test_golden_cut_points() -> None:
    assert cut(random.Random(7).randbytes(12_000_000)) == GOLDEN


def test_pieces_cover_the_buffer_within_the_limits() -> None:
    data = random.Random(8).randbytes(9_000_000)
    pieces = chunker.make_cutter(SEED)(memoryview(data))
    assert [offset for offset, _ in pieces] == [sum(length for _, length in pieces[:n]) for n in range(len(pieces))]
    assert sum(length for _, length in pieces) == len(data)
    assert all(chunker.MINIMUM <= length <= chunker.MAXIMUM for _, length in pieces[:-1])


def test_an_insertion_moves_few_cuts() -> None:
    data = random.Random(9).randbytes(20_000_000)
    changed = data[:7_000_000] + b"inserted" + data[7_000_000:]
    before, after = cut(data), cut(changed)
    assert len(set(before) & set(after)) >= len(before) - 4


def test_the_seed_matters() -> None:
    data = random.Random(10).randbytes(8_000_000)
    other = [length for _, length in chunker.make_cutter(SEED ^ 0xF0F0)(memoryview(data))]
    assert cut(data) != other

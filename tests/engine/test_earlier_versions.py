"""Which chunk of the version before a new chunk is held against."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from engine.errors import Unavailable
from engine.model.content import Chunk
from engine.repository import bases
from engine.repository.bases import EarlierVersion


def tail(number: int) -> bytes:
    return b"t%07d" % number


def id_of(number: int) -> bytes:
    return b"i%031d" % number


def chunks(count: int) -> Iterator[Chunk]:
    return (Chunk(id_of(number), 1, tail(number)) for number in range(count))


def held_against(version: EarlierVersion, tails: list[int]) -> list[int | None]:
    found = [version.base_for(tail(number)) for number in tails]
    return [None if id is None else int(id[1:]) for id in found]


def test_the_same_tail_else_the_next_in_order() -> None:
    # 100 and more are tails that the earlier version does not have.
    assert held_against(EarlierVersion(chunks(9), number=2), [0, 1, 100, 3, 101, 102, 6, 2, 103, 8, 104]) == (
        [0, 1, 2, 3, 4, 5, 6, 2, 3, 8, None]
    )


def test_of_equal_tails_the_next_one_counts() -> None:
    same = (Chunk(id_of(number), 1, tail(0)) for number in range(4))
    assert held_against(EarlierVersion(same, number=2), [0, 0, 0, 0]) == [0, 1, 2, 3]


def test_only_a_window_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bases, "WINDOW_CHUNKS", 10)
    version = EarlierVersion(chunks(1000), number=2)
    assert held_against(version, [10, 20, 33, *range(32, 900)])[:4] == [10, 20, 21, 32]
    assert len(version._known) <= 31 >= len(version._numbers)
    assert held_against(version, [895, 1, 898]) == [895, 896, 898]


def test_what_cannot_be_read_ends_it() -> None:
    def broken() -> Iterator[Chunk]:
        yield from chunks(2)
        raise Unavailable("The line is dead.")

    assert held_against(EarlierVersion(broken(), number=2), [0, 1, 2]) == [0, 1, None]


def test_where_guesses_fail_few_are_made() -> None:
    version = EarlierVersion(chunks(40), number=2)
    for _ in range(4):
        version.judge(was_kept=False)
    assert held_against(version, [*range(100, 110), 10]) == [0, *[None] * 7, 8, None, 10]
    version.judge(was_kept=True)
    assert held_against(version, [100, 101]) == [11, 12]


def test_how_far_down_each_version_leans() -> None:
    assert [EarlierVersion(chunks(0), number=n).steps_down for n in range(2, 10)] == [1, 0, 2, 0, 1, 0, 3, 0]

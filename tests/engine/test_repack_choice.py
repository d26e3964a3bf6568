"""Which packs are worth writing anew."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from engine.repository.index import Pack
from engine.repository.repack import MANY_SMALL, SMALL_BYTES, Usage, choose

BIG = 32 << 20


def usage(number: int, size: int, live: float, *, blobs: int = 10, suite: int = 1, kind: int = 0) -> Usage:
    header = bytes([0] * 5 + [suite, kind]) + bytes(89)
    known = Pack(number.to_bytes(32, "big"), size, header, None)  # type: ignore[arg-type]
    return Usage(known, int(size * live), round(blobs * live), blobs)


USAGES = st.lists(
    st.builds(
        usage,
        st.integers(0, 10_000),
        st.integers(10_000, BIG),
        st.sampled_from([0, 0.1, 0.3, 0.6, 1]),
        suite=st.sampled_from([0, 1, 2]),
        kind=st.sampled_from([0, 1]),
    ),
    max_size=40,
    unique_by=lambda each: each.pack.name,
)


@given(usages=USAGES, limit=st.integers(0, 1 << 28))
def test_what_is_chosen_is_worth_it_and_fits(usages: list[Usage], limit: int) -> None:
    by_name = {each.pack.name: each for each in usages}
    chosen = [by_name[each.name] for each in choose(usages, limit_bytes=limit)]
    assert len({each.pack.name for each in chosen}) == len(chosen)
    assert sum(each.needed_bytes for each in chosen) <= limit
    assert all(each.live_blobs for each in chosen)
    small = [each for each in chosen if not each.is_half_dead]
    assert all(each.pack.size < SMALL_BYTES for each in small)
    for kind in {each.pack.raw_header[5:7] for each in small}:
        assert sum(each.pack.raw_header[5:7] == kind for each in small) >= MANY_SMALL
    if limit >= sum(each.needed_bytes for each in usages):
        assert {each.pack.name for each in usages if each.is_half_dead} <= {each.pack.name for each in chosen}


def test_half_dead_packs_come_in_order_of_what_they_free() -> None:
    usages = [usage(1, BIG, 0.4), usage(2, BIG, 0.1), usage(3, BIG, 0.6), usage(4, BIG, 0), usage(5, BIG, 0.3)]
    assert [each.name[-1] for each in choose(usages, limit_bytes=BIG)] == [2, 5, 1]
    assert [each.name[-1] for each in choose(usages, limit_bytes=BIG // 2)] == [2, 5]


def test_small_packs_are_merged_once_they_are_many() -> None:
    few = [usage(n, 1 << 20, 1) for n in range(MANY_SMALL - 1)]
    assert choose(few, limit_bytes=BIG) == []
    assert choose([*few, usage(98, SMALL_BYTES, 1), usage(99, 1000, 1, kind=1)], limit_bytes=BIG) == []
    assert len(choose([*few, usage(98, SMALL_BYTES - 1, 1)], limit_bytes=BIG)) == MANY_SMALL
    assert choose([*few, usage(98, SMALL_BYTES - 1, 1)], limit_bytes=BIG // 8) == []

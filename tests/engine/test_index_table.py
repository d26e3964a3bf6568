"""The table of blobs in memory: finds every copy of every blob, whatever the order and number, and stays small."""

from __future__ import annotations

import itertools
import random
import struct
import threading
import tracemalloc
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import hypothesis.strategies as st
import pytest
from hypothesis import given

from benchmarks import years
from engine.errors import Corrupt
from engine.keyring import Keyring
from engine.repository import box, table
from engine.repository.pack import BASE_BYTES, DATA, ENTRY_BYTES, Base, PackInfo
from engine.repository.reader import open_reader
from engine.repository.table import IndexTable

KEYRING = Keyring.generate()
HEADER = box.new_header(KEYRING, box.PACK_MAGIC, box.DATA_PACK, 1).raw
ENTRY = struct.Struct("<32sIIIBBBx")
# Ids that share their hashed part, so that they meet in the table's slots, and others.
IDS = st.sampled_from([bytes([n]) * 4 + bytes([m]) * 28 for n in (0, 1, 255) for m in range(4)])
PACKS = st.lists(st.lists(st.tuples(IDS, st.integers(0, 3)), max_size=8), max_size=12)


def base_for(number: int, place: int) -> Base:
    """What the difference at a place of a pack leans on, where a test does not care."""
    return Base(struct.pack("<II24x", number, place), place)


def section(number: int, entries: Iterable[tuple[bytes, int]], bases: Mapping[bytes, bytes] | None = None) -> PackInfo:
    """A pack with blobs of these ids and depths; differences lean on what `bases` says, else on nothing that is."""
    packed, leaning = list[bytes](), list[bytes]()
    for n, (id, depth) in enumerate(entries):
        packed.append(ENTRY.pack(id, 96 + n * 10, 10, 20, DATA, 0, depth))
        if depth:
            base = base_for(number, n) if bases is None else Base(bases[id], n)
            leaning.append(struct.pack("<32sI", *base))
    directory = struct.pack("<I", len(packed)) + b"".join(packed + leaning)
    return PackInfo(number.to_bytes(32, "big"), 1000 + number, HEADER, directory)


def uniform(seed: int, count: int) -> list[bytes]:
    rng = random.Random(seed)
    return [rng.randbytes(32) for _ in range(count)]


@given(loaded=PACKS, added=PACKS)
def test_it_finds_what_a_dictionary_finds(
    loaded: list[list[tuple[bytes, int]]], added: list[list[tuple[bytes, int]]]
) -> None:
    made = IndexTable(KEYRING)
    sections = [section(n, entries) for n, entries in enumerate(loaded + added)]
    made.load(itertools.chain(sections[: len(loaded)], sections[: len(loaded) // 2]))
    for info in sections[len(loaded) :]:
        made.add(info)
        made.add(info)
    expected: dict[bytes, list[tuple[int, int]]] = {}
    for number, entries in enumerate(loaded + added):
        for id, depth in entries:
            expected.setdefault(id, []).append((depth, number))
    assert len(made) == sum(map(len, expected.values()))
    for id, copies in expected.items():
        assert id in made
        assert [(each.entry.depth, each.pack.size - 1000) for each in made.find_all(id)] == sorted(copies)
        first = made.find(id)
        assert first is not None
        assert first.entry.depth == min(copies)[0]
        assert made.first(id) == min(made.places(id))
    assert bytes(32) not in expected or bytes(32) in made
    assert b"\x07" * 32 not in made
    assert made.find(b"\x07" * 32) is None
    assert made.place(b"\x07" * 32) is None
    assert made.first(b"\x07" * 32) is None


@given(loaded=PACKS)
def test_it_tells_what_each_difference_leans_on(loaded: list[list[tuple[bytes, int]]]) -> None:
    made = IndexTable(KEYRING)
    made.load(section(n, entries) for n, entries in enumerate(loaded))
    expected, place = dict[int, Base](), 0
    for number, entries in enumerate(loaded):
        for n, (_, depth) in enumerate(entries):
            if depth:
                expected[place] = base_for(number, n)
            place += 1
    assert {place: base for place in range(len(made)) if (base := made.base_of(place))} == expected
    assert dict(made.differences()) == expected
    assert {n: made.location(n).base for n in range(len(made))} == {n: expected.get(n) for n in range(len(made))}
    with pytest.raises(IndexError):
        made.base_of(len(made))


def test_bases_of_a_pack_that_reaches_over_several_blocks(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(table, "_ENTRY_BITS", 2)
    made, rng = IndexTable(KEYRING), random.Random(seed)
    packs = [[(id, rng.randrange(3)) for id in uniform(seed + n, 23)] for n in range(4)]
    made.load(section(n, entries) for n, entries in enumerate(packs))
    depths = [(number, n, depth) for number, entries in enumerate(packs) for n, (_, depth) in enumerate(entries)]
    wanted = [base_for(number, n) if depth else None for number, n, depth in depths]
    assert [made.base_of(place) for place in range(len(made))] == wanted


def test_a_difference_is_held_only_with_all_that_it_leans_on() -> None:
    full, first, second, lost, cyclic, other = uniform(3, 6)
    bases = {first: full, second: first, lost: b"gone" * 8, cyclic: other, other: cyclic}
    made = IndexTable(KEYRING)
    made.load([section(0, [(second, 2), (lost, 1), (cyclic, 1), (other, 1)], bases), section(1, [(first, 1)], bases)])
    assert [id for id in (first, second, lost, cyclic, other) if made.holds(id)] == []
    made.add(section(2, [(full, 0)]))
    assert [id for id in (full, first, second, lost, cyclic, other) if made.holds(id)] == [full, first, second]
    assert [made.holds(first, below=depth) for depth in (0, 1, 2)] == [False, False, True]
    made.add(section(3, [(cyclic, 0)]))
    assert made.holds(other)
    assert not made.holds(b"\x07" * 32)


def test_a_base_must_be_held_at_a_lower_depth() -> None:
    """A copy that is as deep as the difference cannot carry it, though it could be opened itself."""
    full, base, leaning = uniform(4, 3)
    made = IndexTable(KEYRING)
    made.load([section(0, [(full, 0), (base, 2), (leaning, 2)], {base: full, leaning: base})])
    assert (made.holds(base), made.holds(leaning)) == (True, False)


def test_places_are_numbers_that_stay(seed: int) -> None:
    made, ids = IndexTable(KEYRING), uniform(seed, 500)
    made.load(section(n, ((id, 0) for id in ids[n * 50 : n * 50 + 50])) for n in range(8))
    places = {id: made.place(id) for id in ids[:400]}
    made.add(section(8, ((id, 0) for id in ids[400:450])))
    made.add(section(9, ((id, 0) for id in ids[450:])))
    assert [made.place(id) for id in ids] == list(range(500))
    assert all(made.place(id) == place for id, place in places.items())
    assert [(place, entry.id, number) for place, entry, number in made.records()] == [
        (n, id, n // 50) for n, id in enumerate(ids)
    ]
    for start in (1, 49, 50, 499, 500):
        assert [place for place, _, _ in made.records(start)] == list(range(start, 500))
    for number, known in enumerate(made.packs()):
        assert made.places_of_pack(known.name) == range(number * 50, number * 50 + 50)
        assert [each.entry.id for each in made.of_pack(known)] == ids[number * 50 : number * 50 + 50]
    assert made.places_of_pack(b"x" * 32) == range(0)
    assert made.location(499).entry.id == ids[499]
    for place in (-1, 500):
        with pytest.raises(IndexError):
            made.location(place)


def test_packs_without_blobs_do_not_shift_the_others() -> None:
    made = IndexTable(KEYRING)
    id, other = uniform(1, 2)
    made.load([section(0, []), section(1, [(id, 0)]), section(2, []), section(3, [(other, 0)]), section(4, [])])
    assert [known.size for known in made.packs()] == [1000, 1001, 1002, 1003, 1004]
    assert [len(list(made.of_pack(known))) for known in made.packs()] == [0, 1, 0, 1, 0]
    found = [made.find(id), made.find(other)]
    assert [each and each.pack.size for each in found] == [1001, 1003]


def test_blocks_of_memory_do_not_cut_records(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(table, "_ENTRY_BITS", 2)
    monkeypatch.setattr(table, "_PACK_BITS", 1)
    monkeypatch.setattr(table, "_KEPT_PACKS", 3)
    made, ids = IndexTable(KEYRING), uniform(seed, 333)
    made.load(section(n, ((id, 0) for id in ids[n * 3 : n * 3 + 3])) for n in range(100))
    for n in range(100, 111):
        made.add(section(n, ((id, 0) for id in ids[n * 3 : n * 3 + 3])))
    assert [made.place(id) for id in ids] == list(range(333))
    assert [known.size for known in made.packs()[5:8]] == [1005, 1006, 1007]


def test_look_ups_see_what_is_there_while_packs_are_added(seed: int) -> None:
    made, ids = IndexTable(KEYRING), uniform(seed, 30_000)
    made.load(section(n, ((id, 0) for id in ids[n * 100 : n * 100 + 100])) for n in range(100))
    failures: list[bytes] = []
    ended = threading.Event()

    def look(wanted: Sequence[bytes]) -> None:
        while not ended.is_set():
            failures.extend(id for id in wanted if id not in made or made.location(made.places(id)[0]).entry.id != id)

    threads = [threading.Thread(target=look, args=(ids[start:10_000:40],)) for start in (0, 7)]
    for thread in threads:
        thread.start()
    for n in range(100, 300):
        made.add(section(n, ((id, 0) for id in ids[n * 100 : n * 100 + 100])))
        assert ids[n * 100] in made
    ended.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert all(id in made for id in ids)


LEANING = ENTRY.pack(b"d" * 32, 96, 10, 20, DATA, 1, 1)


@pytest.mark.parametrize(
    "directory",
    [
        b"",
        b"\1\0",
        struct.pack("<I", 2) + bytes(ENTRY_BYTES),
        struct.pack("<I", 1) + LEANING,
        struct.pack("<I", 1) + LEANING + bytes(BASE_BYTES - 1),
        struct.pack("<I", 1) + bytes(ENTRY_BYTES + BASE_BYTES),
    ],
)
def test_a_cut_section_is_damage_and_leaves_the_table_as_it_was(directory: bytes) -> None:
    made = IndexTable(KEYRING)
    (id,) = uniform(1, 1)
    made.load([section(0, [(id, 0)])])
    with pytest.raises(Corrupt, match="cut off"):
        made.load([PackInfo(b"n" * 32, 1, HEADER, directory)])
    with pytest.raises(Corrupt, match="no header"):
        made.add(PackInfo(b"m" * 32, 1, HEADER[:-1], struct.pack("<I", 0)))
    assert (len(made), len(made.packs())) == (1, 1)
    assert id in made


def test_a_chunk_takes_at_most_64_bytes_of_memory(tmp_path: Path) -> None:
    """Opening a repository with generated indexes, from the first byte read to the last. What does not grow with the
    number of chunks cancels out; `python -m benchmarks.years` measures up to ten million."""
    few, many = (memory_of_opening(tmp_path / str(chunks), chunks) for chunks in (100_000, 300_000))
    assert (many.peak - few.peak) / 200_000 <= 64
    assert (many.after - few.after) / 200_000 <= 60
    assert many.peak - 64 * 300_000 < 24 << 20


class Memory(NamedTuple):
    """Bytes: at most while something was done, and still in use after it."""

    peak: int
    after: int


def memory_of_opening(place: Path, chunks: int) -> Memory:
    years.make(place, chunks)
    opened = years.opened(place, chunks)
    tracemalloc.start()
    try:
        reader = open_reader(opened)
        after, peak = tracemalloc.get_traced_memory()
        assert len(reader.table) == chunks
    finally:
        tracemalloc.stop()
    return Memory(peak, after)

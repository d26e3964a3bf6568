"""The reader opens differences of any depth: by the shallowest copy, with every id compared, and blames the object
that is damaged, be it a base's. The differences here are made by hand, from docs/format.md."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from engine.errors import Corrupt, Missing
from engine.model.manifest import StreamRoot
from engine.repository import layout
from engine.repository.decoded import DecodedBases
from engine.repository.failover import FailoverReader, Spare
from engine.repository.index import Location
from engine.repository.reader import BlobReader, open_reader
from engine.repository.repository import Repository
from engine.repository.table import IndexTable
from engine.storage.local import LocalStorage
from tests.engine.test_destinations import Fleet
from tests.faults.test_bases import BYTES, chain, flip, point, store_each, versions
from tests.support.packs import DATA, Blob, blob_id, store
from tests.support.repositories import Bench

DEEPEST = 255


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path)
    made.create()
    return made


class Counting(BlobReader):
    """Counts how often each blob is opened."""

    def __init__(self, repository: Repository, table: IndexTable) -> None:
        super().__init__(repository, table)
        self.opened: list[bytes] = []

    def open(self, location: Location, sealed: bytes | memoryview, *, base: bytes | None = None) -> bytes:
        self.opened.append(location.entry.id)
        return super().open(location, sealed, base=base)


@pytest.mark.parametrize("kept", [0, 2 * BYTES, 1 << 30])
def test_the_deepest_chain_comes_back_and_each_base_is_decoded_once(bench: Bench, seed: int, kept: int) -> None:
    plains = versions(seed, DEEPEST + 1)
    ids = store(bench.open(), *chain(plains))
    reader = Counting(bench.open(), open_reader(bench.open()).table)
    reader.bases = DecodedBases(reader, limit=kept)
    assert reader.read(ids[-1]) == plains[-1]
    assert reader.opened.count(ids[0]) == 1
    assert len(reader.opened) == len(ids)
    other = store(bench.open(), Blob(DATA, plains[0][::-1], plains[-2], DEEPEST))[0]
    assert open_reader(bench.open()).read(other) == plains[0][::-1]


def test_a_chain_of_the_usual_length_is_decoded_at_once(bench: Bench, seed: int) -> None:
    plains = versions(seed, 9)
    ids = store(bench.open(), *chain(plains))
    reader = Counting(bench.open(), open_reader(bench.open()).table)
    assert [reader.read(id) for id in ids] == plains
    assert reader.opened == ids


def test_what_shares_a_base_that_was_decoded_decodes_it_no_more(bench: Bench, seed: int) -> None:
    first, second, third = versions(seed, 3)
    base, *leaning = store(bench.open(), Blob(DATA, first), Blob(DATA, second, first, 1), Blob(DATA, third, first, 1))
    reader = Counting(bench.open(), open_reader(bench.open()).table)
    assert reader.bases.read(base, 1) == first
    assert [reader.read(id) for id in leaning] == [second, third]
    assert reader.opened == [base, *leaning]


def test_a_base_that_is_not_what_its_id_says_is_not_leant_on(bench: Bench, seed: int) -> None:
    """The pack that claims to hold the base is sealed as it should be, but with another plaintext."""
    opened, (first, second, other) = bench.open(), versions(seed, 3)
    store(opened, Blob(DATA, other), claims={other: blob_id(opened, Blob(DATA, first))})
    (lying,) = opened.list_packs()
    (id,) = store(opened, Blob(DATA, second, first, 1))
    with pytest.raises(Corrupt, match="not what its id says") as caught:
        open_reader(bench.open()).read(id)
    assert caught.value.name == layout.pack(lying)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_the_damaged_object_is_named_through_several_levels(bench: Bench, seed: int, level: int) -> None:
    ids, packs = store_each(bench.open(), chain(versions(seed, 4)))
    name = flip(bench, packs[level], seed)
    reader = open_reader(bench.open())
    for id in ids[level:]:
        with pytest.raises(Corrupt) as caught:
            reader.read(id)
        assert caught.value.name == name
    for id in ids[:level]:
        reader.read(id)


def test_only_a_shallower_copy_is_a_base(bench: Bench, seed: int) -> None:
    """Two blobs whose copies lean on each other: neither can be read, and it does not go round in circles."""
    one, other = versions(seed, 2)
    ids = store(bench.open(), Blob(DATA, one, other, 2), Blob(DATA, other, one, 2))
    for id in ids:
        with pytest.raises(Missing):
            open_reader(bench.open()).read(id)


def test_a_damaged_copy_of_a_base_gives_way_to_another_one(bench: Bench, seed: int) -> None:
    first, second, third = versions(seed, 3)
    blobs = [Blob(DATA, first), Blob(DATA, second), Blob(DATA, second, first, 1), Blob(DATA, third, second, 2)]
    ids, packs = store_each(bench.open(), blobs)
    flip(bench, packs[1], seed)
    assert open_reader(bench.open()).read(ids[3]) == third


def attempted(reader: BlobReader, id: bytes) -> bytes | None:
    try:
        return reader.read(id)
    except Corrupt:
        return None


def test_bases_come_from_any_destination(tmp_path: Path, seed: int) -> None:
    """The base is damaged at one place, the difference at the other: the blob is read from both together."""
    fleet, plains = Fleet(tmp_path), versions(seed, 4)
    made = []
    for name in fleet.names:
        fleet.create(name)
        made.append(store_each(fleet.open(name), chain(plains)))
    (ids, _), names = made[0], fleet.names[:2]
    damaged = [flip(fleet.bench(names[0]), made[0][1][0], seed), flip(fleet.bench(names[1]), made[1][1][3], seed)]
    places = [Spare(name, lambda name=name: open_reader(fleet.open(name))) for name in names]  # type: ignore[misc]
    reader = FailoverReader(places[0], places[1:], lambda text: None)
    assert attempted(reader, ids[3]) == plains[3]
    (noted,) = reader.substitutions()
    assert (noted.place, noted.objects, noted.taken_from) == (names[0], {damaged[0]}, {names[1]})


def test_an_end_that_is_damaged_everywhere_is_tried_once_at_each_place(tmp_path: Path, seed: int) -> None:
    fleet, depth = Fleet(tmp_path), 40
    ids: list[bytes] = []
    readers = []
    for name in fleet.names:
        fleet.create(name)
        ids, packs = store_each(fleet.open(name), chain(versions(seed, depth + 1)))
        flip(fleet.bench(name), packs[0], seed)
        readers.append(Counting(fleet.open(name), open_reader(fleet.open(name)).table))
    places = [Spare.of(name, reader) for name, reader in zip(fleet.names, readers, strict=True)]
    with pytest.raises(Corrupt):
        FailoverReader(places[0], places[1:], lambda text: None).read(ids[-1])
    assert [reader.opened.count(ids[0]) for reader in readers] == [1] * len(readers)


def test_a_part_of_a_stream_needs_only_the_chains_of_its_chunks(bench: Bench, seed: int) -> None:
    """As for one table of a dump: the other chunks may be lost."""
    opened, rng = bench.open(), random.Random(seed)
    chunks = [chain(versions(rng.randrange(1 << 30), 3)) for _ in range(3)]
    stored = [store_each(opened, steps) for steps in chunks]
    made = point(opened, *(ids[-1] for ids, _ in stored))
    for number in (0, 2):
        flip(bench, stored[number][1][0], seed)
    (root,) = made.roots
    assert isinstance(root, StreamRoot)
    reader = open_reader(bench.open())
    part = b"".join(reader.slice(root.content, root.size, BYTES + 10, BYTES - 20))
    assert part == chunks[1][2].plain[10:-10]
    with pytest.raises(Corrupt):
        b"".join(reader.slice(root.content, root.size, BYTES - 1, 2))
    reader.close()


class Distant(LocalStorage):
    """A place where each request takes its time, such as a bucket. Keeps the requests for packs."""

    requests_at_once = 4

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.asked: list[str] = []

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        self.asked += [name] if name.startswith(layout.PACKS) else []
        return super().get(name, offset, length)


def test_from_afar_differences_come_with_those_beside_them(bench: Bench, seed: int) -> None:
    """A dump of forty chunks, each two steps from its base: a request for each base, and one for each day's pack."""
    count, rng = 40, random.Random(seed)
    chunks = [chain(versions(rng.randrange(1 << 30), 3)) for _ in range(count)]
    days = [store(bench.open(), *(steps[day] for steps in chunks)) for day in range(3)]
    made = point(bench.open(), *days[2])
    (root,) = made.roots
    assert isinstance(root, StreamRoot)
    storage = Distant(bench.place)
    reader = open_reader(bench.open(storage))
    assert b"".join(reader.stream(root.content, root.size)) == b"".join(steps[2].plain for steps in chunks)
    assert sorted(Counter(storage.asked).values()) == [1, 1, count]


def test_from_afar_a_lost_pack_is_told_and_asked_for_again(bench: Bench, seed: int) -> None:
    opened, plains = bench.open(), versions(seed, 2)
    ids, packs = store_each(opened, chain(plains))
    reader, path = open_reader(bench.open(Distant(bench.place))), bench.place / layout.pack(packs[1])
    data = path.read_bytes()
    path.unlink()
    with pytest.raises(Missing) as caught:
        reader.read(ids[1])
    assert caught.value.name == layout.pack(packs[1])
    path.write_bytes(data)
    assert reader.read(ids[1]) == plains[1]

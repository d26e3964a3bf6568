"""A base is needed as long as anything that is needed leans on it: clean-ups keep it, estimates count it, and no copy
of greater depth stands in for it. The differences here are made by hand, from docs/format.md."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from engine import rescue
from engine.model.manifest import Manifest, StreamRoot
from engine.progress import Silent
from engine.repository import layout, mark
from engine.repository.forget import empty_trash, forget
from engine.repository.heal import sync
from engine.repository.pack import decode_directory
from engine.repository.prune import Freed, Rules, prune_now
from engine.repository.reader import open_reader
from engine.repository.redundancy import judge
from engine.repository.repack import rewrite
from engine.repository.repository import Repository
from engine.repository.usage import estimate, survey, weigh
from engine.storage.base import Buffer
from engine.storage.local import LocalStorage
from tests.engine.test_destinations import Fleet
from tests.support.packs import DATA, Blob, commit, store
from tests.support.repositories import SECRET, Bench

BYTES = 50_000
# A base as deep as what leans on it is none: a copy of depth 3 takes the place of one of depth 0.
DEEP = 3


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path)
    made.create()
    return made


def versions(seed: int, count: int) -> list[bytes]:
    """The same content again and again, with one byte changed each time."""
    rng = random.Random(seed)
    found = [rng.randbytes(BYTES)]
    for _ in range(count - 1):
        changed = bytearray(found[-1])
        changed[rng.randrange(BYTES)] ^= 1
        found.append(bytes(changed))
    return found


def point(repository: Repository, *ids: bytes, sequence: int = 1) -> Manifest:
    """A restore point of one dump of chunks that all have the same length."""
    content = 2, b"".join(id + BYTES.to_bytes(4, "little") + bytes(8) for id in ids)
    return commit(repository, StreamRoot("postgres", "shop", BYTES * len(ids), content, {}), sequence=sequence)


def store_each(repository: Repository, blobs: Sequence[Blob]) -> tuple[list[bytes], list[bytes]]:
    """Each blob in a pack of its own; the ids of the blobs and the names of the packs."""
    ids, packs = [], []
    for blob in blobs:
        before = set(repository.list_packs())
        ids += store(repository, blob)
        packs += set(repository.list_packs()) - before
    return ids, packs


def chain(plains: Sequence[bytes]) -> list[Blob]:
    """Each plaintext but the first as a difference to the one before it."""
    return [
        Blob(DATA, plain, base, depth)
        for depth, (plain, base) in enumerate(zip(plains, [None, *plains[:-1]], strict=True))
    ]


def clean_up(bench: Bench) -> Freed:
    freed = prune_now(bench.open(), rules=Rules(), clock=bench.clock, progress=Silent(), spool=bench.folder / "spool")
    assert isinstance(freed, Freed)
    return freed


def remove(bench: Bench, manifest: Manifest) -> None:
    forget(bench.open(), manifest.id, reason="test", now=bench.clock())
    empty_trash(bench.open(), [manifest.id], delay=timedelta(), now=bench.clock())


def rescued(bench: Bench, out: Path) -> bytes:
    """The newest dump, read by the program that shares nothing with the engine."""
    (bench.folder / "key").write_text(SECRET.hex())
    place, key = str(bench.place), str(bench.folder / "key")
    arguments = ["restore", "--repository", place, "--key-file", key, "--backup", "test@latest", "--to", str(out)]
    assert rescue.main(arguments) == 0
    return (out / "test" / "shop.dump").read_bytes()


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_a_chain_is_kept_down_to_its_last_base_and_goes_as_a_whole(
    bench: Bench, seed: int, depth: int, tmp_path: Path
) -> None:
    opened, plains = bench.open(), versions(seed, depth + 1)
    ids, packs = store_each(opened, chain(plains))
    made = point(opened, ids[-1])
    (_, garbage) = store_each(opened, [Blob(DATA, b"needed by nobody" * 9000)])
    assert clean_up(bench).packs == len(garbage)
    assert set(bench.open().list_packs()) == set(packs)
    assert rescued(bench, tmp_path / "out") == plains[-1]
    remove(bench, made)
    assert clean_up(bench).packs == len(packs)
    assert not bench.open().list_packs()


def test_a_base_goes_with_the_last_point_that_leans_on_it(bench: Bench, seed: int) -> None:
    """What removing a point frees is only what no other one needs, bases of others included."""
    opened, plains = bench.open(), versions(seed, 3)
    (old, new, other), packs = store_each(opened, [*chain(plains[:2]), Blob(DATA, plains[2], plains[0], 1)])
    sizes = [opened.list_packs()[name] for name in packs]
    points = [point(opened, id, sequence=number) for number, id in enumerate((old, new, other), 1)]
    expected = estimate(bench.open(), [points[0].id], progress=Silent())
    assert (expected.freed_bytes, expected.by_point) == (0, {points[0].id: 0})
    expected = estimate(bench.open(), [each.id for each in points[:2]], progress=Silent())
    assert expected.freed_bytes == sizes[1]
    expected = estimate(bench.open(), [each.id for each in points], progress=Silent())
    assert expected.freed_bytes == sum(sizes)
    remove(bench, points[0])
    assert clean_up(bench).packs == 0
    remove(bench, points[1])
    assert clean_up(bench).bytes == sizes[1]
    remove(bench, points[2])
    assert clean_up(bench).bytes == sizes[0] + sizes[2]


def test_a_deeper_copy_does_not_stand_in_for_a_base(bench: Bench, seed: int, tmp_path: Path) -> None:
    """The point needs a difference of depth 1, whose base is there in full and as a difference too deep for it."""
    opened, (base, plain, further) = bench.open(), versions(seed, 3)
    blobs = [
        Blob(DATA, base),
        Blob(DATA, plain, base, 1),
        Blob(DATA, further),
        Blob(DATA, base, further, DEEP),
    ]
    ids, packs = store_each(opened, blobs)
    point(opened, ids[1])
    found = survey(bench.open(), progress=Silent())
    unneeded = {usage.pack.name for usage in weigh(found).usages if not usage.live_blobs}
    assert unneeded == {packs[3]}
    verdict = judge(found, [packs[0]], uncounted=(), progress=Silent())
    assert verdict.superfluous == frozenset()
    assert verdict.referable == {packs[0]}
    clean_up(bench)
    assert {packs[0], packs[1]} <= set(bench.open().list_packs())
    assert rescued(bench, tmp_path / "out") == plain


@pytest.mark.parametrize("are_together", [False, True])
def test_differences_move_with_what_they_lean_on_kept(
    bench: Bench, seed: int, tmp_path: Path, *, are_together: bool
) -> None:
    """Most of their packs is dead: what is needed is written anew, as differences to the same bases."""
    opened, plains = bench.open(), versions(seed, 3)
    dead = [Blob(DATA, random.Random(seed + number).randbytes(8 * BYTES)) for number in range(3)]
    if are_together:
        ids = store(opened, *chain(plains), *dead)[:3]
    else:
        ids = [store(opened, *pair)[0] for pair in zip(chain(plains), dead, strict=True)]
    point(opened, ids[2])
    before, sizes = opened.list_packs(), sum(opened.list_packs().values())
    expected = estimate(bench.open(), [], progress=Silent())
    assert expected.freed_bytes > 24 * BYTES
    assert clean_up(bench).bytes == expected.freed_bytes == sizes - sum(bench.open().list_packs().values())
    assert not before.keys() & bench.open().list_packs().keys()
    table = open_reader(bench.open()).table
    found = [table.find(id) for id in ids]
    assert [each.entry.depth for each in found if each] == [0, 1, 2]
    assert [each.base.id for each in found if each and each.base] == ids[:2]
    assert rescued(bench, tmp_path / "out") == plains[2]
    assert clean_up(bench).packs == 0


@pytest.mark.parametrize("shallow_first", [False, True])
def test_the_shallower_copy_is_written_anew_in_any_case(bench: Bench, seed: int, *, shallow_first: bool) -> None:
    """Whatever comes first: something may lean on the one that is too shallow to lean on the other."""
    opened, (base, plain) = bench.open(), versions(seed, 2)
    copies = [[Blob(DATA, plain)], [Blob(DATA, base), Blob(DATA, plain, base, DEEP)]]
    packs = [store_each(opened, blobs)[1][-1] for blobs in (copies if shallow_first else copies[::-1])]
    table = open_reader(opened).table
    known = {each.name: each for each in table.packs()}
    live = [(known[name], list(table.of_pack(known[name]))) for name in packs]
    done = rewrite(opened, live, table=table, spool=bench.folder / "spool", progress=Silent())
    entries = [entry for info in done.infos for entry in decode_directory(info.directory, "")]
    assert min(entry.depth for entry in entries) == 0


def test_a_difference_whose_base_is_damaged_stays_where_it_is(bench: Bench, seed: int) -> None:
    """Its pack is no worse for it, but a fresh one would look as if all were well."""
    opened, plains = bench.open(), versions(seed, 2)
    dead = Blob(DATA, random.Random(seed + 1).randbytes(8 * BYTES))
    _, packs = store_each(opened, [Blob(DATA, plains[0])])
    _, needed = store(opened, dead, Blob(DATA, plains[1], plains[0], 1))
    point(opened, needed)
    flip(bench, packs[0], seed)
    before, progress = opened.list_packs(), Silent()
    prune_now(bench.open(), rules=Rules(), clock=bench.clock, progress=progress, spool=bench.folder / "spool")
    assert bench.open().list_packs() == before
    (problem,) = set(progress.problems)
    assert layout.pack(packs[0]) in problem[2]


def test_in_an_abandoned_mark_too(bench: Bench, seed: int, tmp_path: Path) -> None:
    """Whoever takes such a mark over writes what is needed of its packs anew, and only then deletes them."""
    opened, plains = bench.open(), versions(seed, 2)
    ids, packs = store_each(opened, chain(plains))
    point(opened, ids[1])
    mark.create(opened, packs, now=bench.clock())
    bench.clock.now += 2 * Rules().takeover
    progress = Silent()
    prune_now(bench.open(), rules=Rules(), clock=bench.clock, progress=progress, spool=bench.folder / "spool")
    assert progress.problems == []
    assert not set(packs) & set(bench.open().list_packs())
    assert rescued(bench, tmp_path / "out") == plains[1]


class Recording(LocalStorage):
    """Keeps which packs were put, in their order."""

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self.packs: list[str] = []

    def put(self, name: str, data: Buffer | Path, *, create: bool = True) -> None:
        super().put(name, data, create=create)
        self.packs += [name] if name.startswith(layout.PACKS) else []


@pytest.mark.parametrize("is_second_of_pack", [False, True])
def test_a_destination_gets_bases_before_what_leans_on_them(
    tmp_path: Path, seed: int, *, is_second_of_pack: bool
) -> None:
    """Two differences in one pack whose bases lie elsewhere: with the second one the pack is there already."""
    fleet = Fleet(tmp_path)
    for name in fleet.names:
        fleet.create(name)
    one, plains = fleet.open("one"), versions(seed, 4)
    _, bases = store_each(one, [Blob(DATA, plains[0]), Blob(DATA, plains[2])])
    ids = store(one, Blob(DATA, plains[1], plains[0], 1), Blob(DATA, plains[3], plains[2], 1))
    made = point(one, *(ids if is_second_of_pack else ids[:1]))
    storage = Recording(fleet.bench("two").place)
    done = sync([("one", one)], "two", fleet.open("two", storage), clock=fleet.clock, progress=Silent(), spool=tmp_path)
    assert done.points == [made.id]
    assert storage.packs[0] == layout.pack(bases[0])
    assert (layout.pack(bases[1]) in storage.packs) is is_second_of_pack
    expected = plains[1] + plains[3] if is_second_of_pack else plains[1]
    assert rescued(fleet.bench("two"), tmp_path / "out") == expected


def flip(bench: Bench, pack: bytes, seed: int) -> str:
    """Damage the first blob of a pack; the object's name."""
    path = bench.place / layout.pack(pack)
    data = bytearray(path.read_bytes())
    data[random.Random(seed).randrange(96, 128)] ^= 1
    path.write_bytes(data)
    return layout.pack(pack)


def test_a_flipped_bit_in_a_base_hits_what_leans_on_it(bench: Bench, seed: int, tmp_path: Path) -> None:
    opened, plains = bench.open(), versions(seed, 2)
    ids, packs = store_each(opened, chain(plains))
    point(opened, ids[1])
    flip(bench, packs[0], seed)
    (bench.folder / "key").write_text(SECRET.hex())
    arguments = ["check", "--repository", str(bench.place), "--key-file", str(bench.folder / "key")]
    assert rescue.main(arguments) == rescue.DAMAGE

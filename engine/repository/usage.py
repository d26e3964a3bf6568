"""What of a repository its restore points need, and so what could be freed. Only reads.

A number for each blob says who needs it: 4 bytes a blob, so that millions of blobs and thousands of points fit."""

from __future__ import annotations

import struct
from array import array
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice

from engine.errors import Corrupt, Missing, NotFound, RepositoryError
from engine.model.manifest import Manifest
from engine.progress import Progress
from engine.repository import layout, pack
from engine.repository.forget import given_up
from engine.repository.index import Pack
from engine.repository.pack import Entry, PackInfo
from engine.repository.reader import BlobReader
from engine.repository.references import new_blobs_of
from engine.repository.repack import Live, Usage, choose, rewritten_size
from engine.repository.repository import Repository
from engine.repository.sections import load_sections
from engine.repository.table import IndexTable

# Who needs a blob: nobody; a restore point that stays; only points in the trash; only runs that were fenced; the first
# one of those to be removed, the second …; more than one of these. In the same way from LEAVING on: only those that an
# estimate lets go out of the trash, or together with those to be removed.
NOBODY, KEPT, TRASHED, FENCED, FIRST = 0, 1, 2, 3, 4
SEVERAL, LEAVING, SEVERAL_LEAVING = 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF
REWRITE_BYTES = 1 << 30

_LEANS = struct.Struct("<32s32s")

Judge = Callable[[int], bool]


@dataclass(frozen=True)
class Survey:
    """All blobs with who needs them: `needed_by[place]`, of several copies at that of the one that was taken in first,
    which `firsts` names for the others. Packs that could not be read are not in the table."""

    reader: BlobReader
    needed_by: array[int]
    firsts: dict[int, int]

    @property
    def table(self) -> IndexTable:
        """Every blob of every readable pack."""
        return self.reader.table

    def need(self, place: int) -> int:
        """Who needs the blob at a place."""
        return self.needed_by[self.firsts.get(place, place)]

    def settle(self) -> None:
        """Take notice of packs that were added to the table."""
        known = len(self.needed_by)
        self.needed_by.extend(array("I", [NOBODY]) * (len(self.table) - known))
        for place, entry, _ in self.table.records(known):
            first = self.table.first(entry.id)
            if first is not None and first != place:
                self.firsts[place] = first


@dataclass(frozen=True)
class Weights:
    """How much of each pack is needed. `spare` are the places of needed blobs of which another copy is kept; `waning`
    are packs with blobs that only points in the trash need: to write them anew would soon have been in vain."""

    usages: list[Usage]
    spare: frozenset[int]
    waning: frozenset[bytes]

    def worth_rewriting(self, *, but: Collection[bytes] = ()) -> list[Usage]:
        """The packs to choose from, without those named in `but`."""
        return [usage for usage in self.usages if usage.pack.name not in self.waning and usage.pack.name not in but]


@dataclass(frozen=True)
class Estimate:
    """Bytes of packs that are stored, that prune would free once all the points are gone, that it would free if those
    in the trash stayed, and that are garbage already; for each point that goes the sealed bytes that no other needs."""

    stored_bytes: int
    freed_bytes: int
    freed_without_trash: int
    garbage_bytes: int
    by_point: dict[bytes, int]


def survey(
    repository: Repository, *, removed: Sequence[bytes] = (), leaving: Sequence[bytes] = (), progress: Progress
) -> Survey:
    """Find out which restore points need which blobs, as if those in `removed`, and those in `leaving` which lie in the
    trash, were about to go.

    Restore points are listed before packs, so that what they need is there; where another pruner replaced a pack
    meanwhile, everything is listed anew. Raises Corrupt, WrongKey when a restore point that stays, or one of its trees,
    cannot be read: then nothing may be deleted at all."""
    going = dict(enumerate(removed, FIRST)) | dict(enumerate(leaving, LEAVING))
    gone = frozenset(going.values())
    while True:
        staying = [identity for identity in repository.manifest_ids() if identity not in gone]
        table, bases = IndexTable(repository.keyring), bytearray()
        table.load(_noting_bases(load_sections(repository, damage={}, absent=[]), bases))
        found = Survey(BlobReader(repository, table), array("I"), {})
        found.settle()
        try:
            _note_all(found, staying, going, progress)
        except Missing:
            if {pack.name for pack in table.packs()} <= repository.list_packs().keys():
                raise
        else:
            _note_bases(found, bases)
            return found


def _note_all(found: Survey, staying: Sequence[bytes], going: Mapping[int, bytes], progress: Progress) -> None:
    repository = found.reader.repository
    trashed, fenced = repository.removed_ids(), repository.fenced_sessions()
    # Those that were given up hold up nothing. They come last: what is met in one of them only in part would be taken
    # for known when another point needs it.
    lost = given_up(repository, staying)
    for identity, manifest_of in _read_ahead(repository, sorted(staying, key=lost.__contains__)):
        try:
            manifest = manifest_of()
            if manifest is not None:
                number = FENCED if manifest.session in fenced else TRASHED if identity in trashed else KEPT
                _note(found, manifest, number, progress)
        except RepositoryError:
            if identity not in lost:
                raise
    for number, identity in going.items():
        try:
            manifest = _read(repository, identity)
            if manifest is not None:
                _note(found, manifest, number, progress)
        except Corrupt:
            continue  # it goes, whatever it needed


def weigh(
    found: Survey,
    *,
    is_needed: Judge = bool,
    fresh: Collection[bytes] = (),
    shunned: Collection[bytes] = (),
) -> Weights:
    """How much of each pack is needed, each blob counted in one of its packs: where its depth is least, as others may
    lean on that copy; then rather in a `fresh` one, not in a `shunned` one, else in the one that is needed most.
    `is_needed` judges the numbers of the survey."""
    table, packs = found.table, found.table.packs()
    live_bytes, live, total = ([0] * len(packs) for _ in range(3))
    copies, waning = dict[int, list[int]](), set[bytes]()
    for place, entry, number in table.records():
        total[number] += 1
        need = found.need(place)
        if is_needed(need):
            if need == TRASHED or need >= LEAVING:
                waning.add(packs[number].name)
            live_bytes[number] += _length(entry)
            live[number] += 1
            if place in found.firsts:
                first = found.firsts[place]
                copies.setdefault(first, [first]).append(place)

    def merit(place: int) -> tuple[int, bool, bool, int, int, bytes]:
        number, depth = table.pack_of(place), table.location(place).entry.depth
        name, size = packs[number].name, packs[number].size
        return -depth, name not in shunned, name in fresh, before[number], -size, name

    spare, before = set[int](), tuple(live_bytes)
    for places in copies.values():
        places.sort(key=merit)
        for place in places[:-1]:
            spare.add(place)
            number = table.pack_of(place)
            live_bytes[number] -= _length(table.location(place).entry)
            live[number] -= 1
    usages = [Usage(packs[n], live_bytes[n], live[n], total[n]) for n in range(len(packs))]
    return Weights(usages, frozenset(spare), frozenset(waning))


def _length(entry: Entry) -> int:
    """Sealed bytes of a blob, and those that tell its base."""
    return entry.stored + (pack.BASE_BYTES if entry.depth else 0)


def joined(one: int, other: int) -> int:
    """Who needs a blob that both need."""
    if not one or not other:
        return one or other
    lower, upper = min(one, other), max(one, other)
    if lower < FIRST or lower == upper:
        return lower
    return SEVERAL if upper < LEAVING else SEVERAL_LEAVING


def estimate(
    repository: Repository,
    removed: Sequence[bytes],
    *,
    leaving: Sequence[bytes] = (),
    progress: Progress,
    rewrite_bytes: int = REWRITE_BYTES,
) -> Estimate:
    """What removing these restore points, and letting those in `leaving` go out of the trash, would free once prune is
    done with it. Writes nothing.

    Raises Corrupt, WrongKey when anything that stays cannot be read, StorageError."""
    found = survey(repository, removed=removed, leaving=leaving, progress=progress)
    marked = repository.marked_packs()
    by_point = dict.fromkeys([*removed, *leaving], 0)
    for place, entry, _ in found.table.records():
        owner = found.needed_by[place]
        if FIRST <= owner < SEVERAL:
            by_point[removed[owner - FIRST]] += entry.stored
        elif LEAVING <= owner < SEVERAL_LEAVING:
            by_point[leaving[owner - LEAVING]] += entry.stored

    def freed(is_needed: Judge) -> int:
        return _freed(found, weigh(found, is_needed=is_needed, shunned=marked), rewrite_bytes, is_needed)

    later = freed(_stays)
    return Estimate(
        stored_bytes=sum(each.size for each in found.table.packs()),
        freed_bytes=later,
        freed_without_trash=freed(_stays_with_trash) if leaving else later,
        garbage_bytes=freed(bool),
        by_point=by_point,
    )


def live_of(found: Survey, weights: Weights, packs: Iterable[Pack], *, is_needed: Judge = bool) -> Iterator[Live]:
    """The blobs of some packs that must be written anew if these packs are to go."""
    for each in packs:
        yield (
            each,
            [
                found.table.location(place)
                for place in found.table.places_of_pack(each.name)
                if place not in weights.spare and is_needed(found.need(place))
            ],
        )


def _freed(found: Survey, weights: Weights, rewrite_bytes: int, is_needed: Judge) -> int:
    """Bytes of packs that go, less those that are written for what they still hold."""
    rewritten = choose(weights.worth_rewriting(), limit_bytes=rewrite_bytes)
    dead = sum(usage.pack.size for usage in weights.usages if not usage.live_blobs)
    written = rewritten_size(live_of(found, weights, rewritten, is_needed=is_needed))
    return dead + sum(each.size for each in rewritten) - written


def _stays(number: int) -> bool:
    return NOBODY < number < FIRST


def _stays_with_trash(number: int) -> bool:
    return _stays(number) or number >= LEAVING


def _read_ahead(
    repository: Repository, identities: Sequence[bytes]
) -> Iterator[tuple[bytes, Callable[[], Manifest | None]]]:
    """Restore points, in order; of a distant store as many are read at once as it serves."""
    at_once = repository.storage.requests_at_once
    if at_once == 1:
        for identity in identities:
            yield identity, partial(_read, repository, identity)
        return
    coming, ahead = iter(identities), deque[tuple[bytes, Future[Manifest | None]]]()
    with ThreadPoolExecutor(at_once, thread_name_prefix="manifests") as pool:
        try:
            while True:
                for identity in islice(coming, 2 * at_once - len(ahead)):
                    ahead.append((identity, pool.submit(_read, repository, identity)))
                if not ahead:
                    return
                identity, future = ahead.popleft()
                yield identity, future.result
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _read(repository: Repository, identity: bytes) -> Manifest | None:
    try:
        return repository.read_manifest(identity).manifest
    except NotFound:
        return None  # removed since it was listed


def _note(found: Survey, manifest: Manifest, number: int, progress: Progress) -> None:
    first, needed_by = found.table.first, found.needed_by

    def claim(id: bytes) -> bool:
        place = first(id)
        if place is None:
            return True  # of a tree: reading it says what is wrong
        before = needed_by[place]
        if before == number:
            return False
        after = needed_by[place] = joined(before, number)
        return before != after

    def is_new(id: bytes) -> bool:
        is_claimed = claim(id)
        if is_claimed:
            progress.checkpoint()
        return is_claimed

    progress.checkpoint()
    try:
        for id in new_blobs_of(found.reader, manifest, is_new):
            claim(id)
    except ValueError as error:
        raise Corrupt("A restore point's record is not readable.", name=layout.manifest(manifest.id)) from error


def _noting_bases(sections: Iterable[PackInfo], bases: bytearray) -> Iterator[PackInfo]:
    """The sections; the ids of each difference and of its base are added to `bases`: 64 bytes a difference, where
    tuples took 190."""
    for info in sections:
        for id, base in pack.bases_of(info.directory, layout.pack(info.name)):
            bases += _LEANS.pack(id, base)
        yield info


def _note_bases(found: Survey, bases: bytearray) -> None:
    """Who needs a difference needs its base, down to the last one; of every copy that is a difference."""
    first, needed_by = found.table.first, found.needed_by
    pairs = array("I")
    for id, base in _LEANS.iter_unpack(bases):
        leaning, place = first(id), first(base)
        if leaning is not None and place is not None:
            pairs.extend((leaning, place))
    has_changed = True
    while has_changed:
        has_changed = False
        for at in range(0, len(pairs), 2):
            leaning, place = pairs[at], pairs[at + 1]
            after = joined(needed_by[place], needed_by[leaning])
            has_changed |= after != needed_by[place]
            needed_by[place] = after

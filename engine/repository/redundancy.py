"""Which packs may go: every needed blob in them was opened in another pack, which nobody is about to take away."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from engine.errors import Corrupt, ShortRead
from engine.progress import Progress
from engine.repository import layout
from engine.repository.reader import THREADS
from engine.repository.usage import KEPT, NOBODY, TRASHED, Survey, joined


@dataclass(frozen=True)
class Judgement:
    """Of some packs those that may be deleted; those that a restore point needs, so that writers may refer to them
    again; and copies in other packs that were counted on and did not open. The rest is neither."""

    superfluous: frozenset[bytes]
    referable: frozenset[bytes]
    damaged: tuple[Corrupt, ...]


def judge(
    found: Survey, candidates: Collection[bytes], *, uncounted: Collection[bytes], progress: Progress
) -> Judgement:
    """Judge packs that their owner marked. Copies in the candidates and in `uncounted` packs, which others marked, are
    as good as gone. Packs that are not there, or cannot be read, may not be deleted. Raises StorageError."""
    gone, known = {*candidates, *uncounted}, {pack.name for pack in found.table.packs()}
    damaged: list[Corrupt] = []

    def weigh(name: bytes) -> int:
        need = NOBODY
        for place in found.table.places_of_pack(name):
            progress.checkpoint()
            if found.need(place) and not _is_elsewhere(found, place, gone, damaged):
                need = joined(need, found.need(place))
        return need

    names = sorted(known.intersection(candidates))
    with ThreadPoolExecutor(THREADS, thread_name_prefix="judge") as pool:
        needs = dict(zip(names, pool.map(weigh, names), strict=True))
    return Judgement(
        frozenset(name for name, need in needs.items() if need == NOBODY),
        frozenset(name for name, need in needs.items() if need in (KEPT, TRASHED)),
        tuple(damaged),
    )


def _is_elsewhere(found: Survey, place: int, gone: Collection[bytes], damaged: list[Corrupt]) -> bool:
    """Whether another copy stands in for the one at `place`. One of greater depth does not: a difference may lean on
    this one that is too shallow to lean on the other (tests/model)."""
    entry = found.table.location(place).entry
    for location in found.table.find_all(entry.id):
        if location.pack.name in gone or location.entry.depth > entry.depth:
            continue
        try:
            found.reader.fetch(location)
        except Corrupt as error:
            damaged.append(error)
        except ShortRead as error:
            damaged.append(Corrupt(error.message, name=layout.pack(location.pack.name)))
        else:
            return True
    return False

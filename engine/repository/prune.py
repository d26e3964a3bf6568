"""Freeing space in two phases, safe beside writers and other pruners on the same repository (tests/model).

`begin` writes anew what is worth it, marks what can then go, and notes who is at work. `finish`, a day later, deletes
what is still superfluous. Both may be killed anywhere and called again; nothing is deleted while anything that is
needed cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from engine.errors import Busy, Corrupt, NotFound, StorageError
from engine.ids import new_id
from engine.progress import Progress
from engine.repository import layout, mark, reserve, session
from engine.repository.compaction import compact
from engine.repository.mark import Mark
from engine.repository.redundancy import judge
from engine.repository.repack import Live, choose, rewrite
from engine.repository.repository import Repository
from engine.repository.usage import REWRITE_BYTES, Survey, live_of, survey, weigh

Clock = Callable[[], datetime]


@dataclass(frozen=True)
class Rules:
    """`grace`: between mark and deletion, so that readers at work are done. `session_expiry`: a writer that has not
    renewed its session for so long is taken for dead; also how long a look at the repository may be relied upon.
    `batch`: packs deleted between two looks at the own mark. `takeover`: a mark that is older was abandoned, and what
    is needed of its packs is written anew. `mark_expiry`: a mark of packs that are all gone may be removed by others;
    its owner uses it half as long. `rewrite_bytes`: of live blobs written anew in one go."""

    grace: timedelta = timedelta(hours=24)
    session_expiry: timedelta = timedelta(hours=12)
    batch: int = 100
    takeover: timedelta = timedelta(days=7)
    mark_expiry: timedelta = timedelta(days=180)
    rewrite_bytes: int = REWRITE_BYTES


@dataclass(frozen=True)
class Freed:
    """`bytes` of deleted `packs`, less those that were written anew for them; index objects that were replaced; copies
    that were counted on and did not open, for whose sake packs were kept."""

    bytes: int = 0
    packs: int = 0
    index_objects: int = 0
    kept: tuple[Corrupt, ...] = ()


@dataclass(frozen=True)
class Waiting:
    """Nothing can be freed before `until`."""

    until: datetime
    why: str


@dataclass
class Seen:
    """What `finish` saw, for the `begin` right after it: to choose what may go next needs no newer look, since all that
    is chosen is judged by one that is taken after the wait (tests/model lets any time pass between g1 and g2)."""

    survey: Survey | None = None


def begin(
    repository: Repository, *, rules: Rules, clock: Clock, progress: Progress, spool: Path, seen: Seen | None = None
) -> Mark | None:
    """Mark what can go and return at once; None when there is nothing. Keep the mark's id for `finish`.

    Raises Corrupt, WrongKey when anything that is needed cannot be read, StorageError, Cancelled."""
    now = clock()
    _sweep_sessions(repository, rules, now)
    mark.sweep_repairs(repository)
    marks = mark.read_all(repository)
    marked = _packs_in(marks)
    young = _packs_in(each for each in marks if now - each.written_at < rules.takeover)
    found, gone = _look(repository, seen, progress)
    weights = weigh(found, shunned=marked | gone)
    old = marked - young - gone
    abandoned = [usage.pack for usage in weights.usages if usage.live_blobs and usage.pack.name in old]
    chosen = [*choose(weights.worth_rewriting(but=marked | gone), limit_bytes=rules.rewrite_bytes), *abandoned]
    fresh, added = _rewrite(repository, found, live_of(found, weights, chosen), progress, spool)
    usages = weigh(found, fresh=fresh, shunned=marked | gone).usages
    victims = [usage.pack.name for usage in usages if not usage.live_blobs and usage.pack.name not in gone]
    if not victims:
        return None
    own = mark.create(repository, victims, now=clock(), added_bytes=added)
    return _note_sessions(repository, own, clock)


def finish(
    repository: Repository,
    mark_id: bytes,
    *,
    rules: Rules,
    clock: Clock,
    progress: Progress,
    seen: Seen | None = None,
) -> Freed | Waiting:
    """Delete what an own mark names and nothing needs, once the grace time is over and those who were at work when it
    was written have ended; who seems dead is fenced. Frees nothing when the mark is not there any more. What it saw is
    left in `seen`.

    Raises as `begin`."""
    own = _still_ours(repository, mark_id, rules, clock())
    if own is None:
        return Freed()
    late: Waiting | None
    if clock() < own.started_at + rules.grace:
        late = Waiting(own.started_at + rules.grace, "readers that are at work may still need the old packs")
    else:
        own = _note_sessions(repository, own, clock)
        late = _wait_for(repository, own, own.sessions or (), rules, clock())
    if late is None:
        return _free(repository, own, rules, clock, progress, seen or Seen())
    _sweep_sessions(repository, rules, clock())
    return late


def prune_now(
    repository: Repository,
    *,
    rules: Rules,
    clock: Clock,
    progress: Progress,
    spool: Path,
    mark_id: bytes | None = None,
) -> Freed | Waiting:
    """Free what an own earlier mark names, then everything else, without waiting.

    Raises Busy when a writer is at work, also as `begin`."""
    freed, seen = Freed(), Seen()
    for identity in (mark_id, None):
        if identity:
            own = _still_ours(repository, identity, rules, clock())
        else:
            own = begin(repository, rules=rules, clock=clock, progress=progress, spool=spool, seen=seen)
        if own is None:
            continue
        at_work = session.running(repository)
        if _wait_for(repository, own, at_work, rules, clock()):
            raise Busy(
                f"Backups or other writers are at work at {repository.describe()}.",
                hint="Try again when they are done, or clean up without --now.",
                mark=own.id,
            )
        result = _free(repository, own, rules, clock, progress, seen)
        if isinstance(result, Waiting):
            return result
        freed = Freed(
            freed.bytes + result.bytes,
            freed.packs + result.packs,
            freed.index_objects + result.index_objects,
            freed.kept + result.kept,
        )
    return freed


def _still_ours(repository: Repository, mark_id: bytes, rules: Rules, now: datetime) -> Mark | None:
    """An own mark; None when it is gone, or so old that others might take it for abandoned while we work: then it is
    given up."""
    try:
        own = mark.read(repository, mark_id)
    except NotFound:
        return None
    if now - own.started_at > rules.mark_expiry / 2:
        mark.remove(repository, mark_id)
        return None
    return own


def _look(repository: Repository, seen: Seen | None, progress: Progress) -> tuple[Survey, frozenset[bytes]]:
    """Who needs what, and the packs in it that are there no more; each look is used once."""
    if seen is None or seen.survey is None:
        return survey(repository, progress=progress), frozenset()
    found, seen.survey = seen.survey, None
    return found, frozenset(pack.name for pack in found.table.packs()).difference(repository.list_packs())


def _rewrite(
    repository: Repository, found: Survey, live: Iterable[Live], progress: Progress, spool: Path
) -> tuple[list[bytes], int]:
    """Copies of what half-dead and small packs hold, and those in marks that were abandoned; names and bytes of the new
    packs. Copies harm nobody, so this needs no session; without room for them the dead packs can still go."""
    try:
        done = rewrite(repository, live, table=found.table, spool=spool, progress=progress)
    except StorageError as error:
        progress.problem("repack", repository.describe(), error.message)
        return [], 0
    for name, damage in done.damaged.items():
        progress.problem("damaged", damage.name or layout.pack(name), damage.message)
    for info in done.infos:
        found.table.add(info)
    found.settle()
    return [info.name for info in done.infos], done.written_bytes


def _note_sessions(repository: Repository, own: Mark, clock: Clock) -> Mark:
    """Who is at work, listed after the mark was written; kept in the mark, so that nobody waits for later ones."""
    if own.sessions is not None:
        return own
    own = replace(own, sessions=tuple(sorted(session.running(repository))))
    with suppress(StorageError):  # else the next call lists them: later is only slower
        own = mark.write(repository, own, now=clock())
    return own


def _wait_for(
    repository: Repository, own: Mark, sessions: Collection[bytes], rules: Rules, now: datetime
) -> Waiting | None:
    """Fence those of the sessions that seem dead, by the storage's clock, unless another one is still at work."""
    running = session.running(repository)
    late = sorted((running[identity], identity) for identity in sessions if identity in running)
    if late:
        rest = late[-1][0] + rules.session_expiry - own.storage_time(now)
        if rest > timedelta():
            return Waiting(now + rest, "a backup or another writer is still at work")
    for _, identity in late:
        session.fence(repository, identity, by=own.id, now=now)
    return None


def _free(
    repository: Repository, own: Mark, rules: Rules, clock: Clock, progress: Progress, seen: Seen
) -> Freed | Waiting:
    """The second phase, after the wait. Marks are listed first, then restore points, then packs: what was seen before
    the wait, by whomever, judges nothing."""
    others = _packs_in(each for each in mark.read_all(repository) if each.id != own.id)
    looked_at = clock()
    found = seen.survey = survey(repository, progress=progress)
    verdict = judge(found, own.packs, uncounted=others, progress=progress)
    for damage in verdict.damaged:
        progress.problem("damaged", damage.name, damage.message)
    known = {pack.name: pack.size for pack in found.table.packs()}
    sizes = {name: known[name] for name in verdict.superfluous}
    gone = {name: size for name, size in own.going.items() if name not in known}  # by a call that was cut off
    if verdict.referable or gone | sizes != own.going:
        own = mark.write(repository, replace(own, packs=own.packs - verdict.referable, going=gone | sizes), now=clock())
    replaced = _publish_index(repository, sizes)
    victims = sorted(sizes)
    for start in range(0, len(victims), rules.batch):
        progress.checkpoint()
        if clock() - looked_at > rules.session_expiry or not _exists(repository, own):
            return Waiting(clock(), "this look at the repository is too old to rely upon")
        _delete(repository, victims[start : start + rules.batch])
    if replaced is None:
        replaced = compact(repository, without=victims)
    _end(repository, own, rules, clock())
    return Freed(sum(own.going.values()) - own.added_bytes, len(own.going), replaced, verdict.damaged)


def _packs_in(marks: Iterable[Mark]) -> frozenset[bytes]:
    return frozenset(name for each in marks for name in each.packs)


def _publish_index(repository: Repository, victims: Collection[bytes]) -> int | None:
    """An index without the victims; None when there is no room for it before they are gone."""
    try:
        return compact(repository, without=victims)
    except StorageError:
        return None


def _delete(repository: Repository, names: Collection[bytes]) -> None:
    for name in names:
        with suppress(NotFound):  # an earlier call, or another pruner, was there first
            repository.storage.delete(layout.pack(name))


def _exists(repository: Repository, own: Mark) -> bool:
    try:
        repository.storage.stat(layout.mark(own.id))
    except NotFound:
        return False
    return True


def _end(repository: Repository, own: Mark, rules: Rules, now: datetime) -> None:
    """Take the mark back, but for packs that still exist; and what others left that is of no use to anybody."""
    present = repository.list_packs().keys()
    left = own.packs & present
    if left:
        mark.write(repository, replace(own, packs=left, added_bytes=0, going={}), now=now)
    else:
        mark.remove(repository, own.id)
    for other in mark.read_all(repository):
        is_old = own.storage_time(now) - other.modified_at > rules.mark_expiry
        if other.id != own.id and is_old and not other.packs & present:
            mark.remove(repository, other.id)
    mark.sweep_repairs(repository)
    _sweep_sessions(repository, rules, now)
    reserve.keep(repository.storage)


def _sweep_sessions(repository: Repository, rules: Rules, now: datetime) -> None:
    """Remove what fenced writers left. One that nobody waited for is fenced when it is silent for so long that it is
    dead even if our clock and the storage's differ by the grace time."""
    for identity, renewed_at in session.running(repository).items():
        if now - renewed_at > rules.session_expiry + max(rules.grace, Rules.grace):
            session.fence(repository, identity, by=new_id(), now=now)
    fenced = repository.fenced_sessions()
    for item, identity in layout.named(repository.storage.list(layout.SESSIONS), layout.ID_BYTES):
        if identity in fenced:
            with suppress(NotFound):
                repository.storage.delete(item.name)

"""Writers and pruners on one repository as atomic steps: who may do what next, and what each step changes.

Any process may pause for ever before any step. A pack holds one blob that matters, the last letter of its name, so
that `ax` and `bx` are two copies of the blob x; `ay1>x` holds x as a difference of depth 1 to y. `Order` holds the
rules; turning one off gives a rejected order."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

Names = frozenset[str]
NOTHING: Names = frozenset()
# The manifest that exists before anybody starts.
EARLIER = "earlier"
# The numbers of menders as owners of marks and sessions begin here.
MENDER = 100


class Order(NamedTuple):
    """The rules of engine.md, section 6; each is on in the order that is built."""

    session_before_marks: bool = True  # a writer announces itself, then lists marks
    presence_by_listing: bool = True  # an indexed pack may be referred to only if it is listed
    own_marks: bool = True  # each pruner has a mark of its own
    mark_before_sessions: bool = True  # a pruner writes its mark, then lists sessions
    waits_for_sessions: bool = True  # … and waits until they ended or were fenced
    lists_manifests_again: bool = True  # … and only then looks what is referred to
    fenced_fails: bool = True  # a fenced writer reports a failure
    marked_copies_do_not_count: bool = True  # what lies in another pruner's mark is as good as gone
    marks_before_packs: bool = True  # … and marks are listed before packs
    marks_read_after_waiting: bool = True  # … not before the own mark was written
    dead_marks_stay: bool = True  # nobody removes the mark of a pruner that may wake up
    menders_mark: bool = True  # who sets a damaged pack aside marks it first; a session alone can be fenced
    bases_are_needed: bool = True  # who needs a difference needs its base, down to the last one
    bases_are_unmarked: bool = True  # a writer leans new differences only on what it may refer to
    chains_are_looked_at: bool = True  # … and refers to a difference only if it may refer to its base, and so on
    deeper_copies_do_not_count: bool = True  # a copy of greater depth is none: others may lean on the less deep one


class Setup(NamedTuple):
    """Packs at the start, whether each blob is referred to by an earlier manifest, and what processes may do."""

    packs: Names
    referred: Names = NOTHING
    writers: int = 1
    pruners: int = 2
    repack: bool = False
    heal: bool = False
    forget: bool = False
    index: bool = False
    menders: int = 0
    own_copies: bool = True  # a writer may store a blob that is there already
    new: str = ""  # a blob that is nowhere yet: writers store it as a difference


class Writer(NamedTuple):
    at: str = "w1"
    marked: Names = NOTHING
    blob: str = ""


class Pruner(NamedTuple):
    at: str = "g1"
    victims: Names = NOTHING
    sessions: frozenset[int] = frozenset()
    others: Names = NOTHING
    listed: Names = NOTHING
    live: Names = NOTHING
    view: frozenset[tuple[str, Names]] = frozenset()


class Mender(NamedTuple):
    at: str = "m1"
    pack: str = ""


class Store(NamedTuple):
    packs: Names
    index: frozenset[tuple[str, Names]]
    manifests: frozenset[tuple[int | str, str]]  # who committed it, and the blob that it needs
    marks: frozenset[tuple[int, str]] = frozenset()
    sessions: frozenset[int] = frozenset()
    fences: frozenset[int] = frozenset()


class State(NamedTuple):
    writers: tuple[Writer, ...]
    pruners: tuple[Pruner, ...]
    menders: tuple[Mender, ...]
    store: Store


def blob_of(pack: str) -> str:
    """The blob in a pack."""
    return pack[-1]


def depth_of(pack: str) -> int:
    """How many blobs at most must be read before the one in the pack."""
    return int(pack[-3]) if ">" in pack else 0


def base_of(pack: str) -> str:
    """The blob that the one in the pack is a difference to."""
    return pack[-4] if ">" in pack else ""


def usable_depth(blob: str, packs: Names, below: int = 10) -> int | None:
    """The least depth of a copy that can be read from these packs alone; None when there is none less than `below`."""
    found = [
        depth_of(pack)
        for pack in packs
        if blob_of(pack) == blob
        and depth_of(pack) < below
        and (not base_of(pack) or usable_depth(base_of(pack), packs, depth_of(pack)) is not None)
    ]
    return min(found, default=None)


def with_bases(blobs: Names, packs: Names) -> Names:
    """These blobs and all that differences to them, in any of the packs, lean on."""
    bases = frozenset(base_of(pack) for pack in packs if base_of(pack) and blob_of(pack) in blobs)
    return blobs if bases <= blobs else with_bases(blobs | bases, packs)


def first_state(setup: Setup) -> State:
    """Nobody has done anything."""
    manifests = frozenset((EARLIER, blob) for blob in setup.referred)
    store = Store(setup.packs, frozenset([("I", setup.packs)]), manifests)
    return State((Writer(),) * setup.writers, (Pruner(),) * setup.pruners, (Mender(),) * setup.menders, store)


def is_lost(state: State) -> bool:
    """Whether a manifest that counts needs a blob that no pack gives back."""
    packs = state.store.packs
    stored = {blob for blob in map(blob_of, packs) if usable_depth(blob, packs) is not None}
    finished = {i for i, writer in enumerate(state.writers) if writer.at in ("w6", "done")}
    return any(blob not in stored for owner, blob in state.store.manifests if owner in finished or owner == EARLIER)


def successors(state: State, setup: Setup, order: Order) -> Iterator[tuple[str, State]]:
    """Every next step of every process."""
    for i, writer in enumerate(state.writers):
        for label, after, store in _writer_steps(i, writer, state.store, setup, order):
            writers = (*state.writers[:i], after, *state.writers[i + 1 :])
            yield f"W{i} {label}", state._replace(writers=writers, store=store)
    for j, pruner in enumerate(state.pruners):
        for label, changed, store in _pruner_steps(j, pruner, state.store, setup, order):
            pruners = (*state.pruners[:j], changed, *state.pruners[j + 1 :])
            yield f"G{j} {label}", state._replace(pruners=pruners, store=store)
    for k, mender in enumerate(state.menders):
        for label, then, store in _mender_steps(MENDER + k, mender, state.store, setup, order):
            menders = (*state.menders[:k], then, *state.menders[k + 1 :])
            yield f"M{k} {label}", state._replace(menders=menders, store=store)
    earlier = frozenset(entry for entry in state.store.manifests if entry[0] == EARLIER)
    if setup.forget and earlier:
        yield "forget", state._replace(store=state.store._replace(manifests=state.store.manifests - earlier))


def _writer_steps(i: int, w: Writer, s: Store, setup: Setup, order: Order) -> Iterator[tuple[str, Writer, Store]]:
    announce, look = ("w1", "w2") if order.session_before_marks else ("w2", "w1")
    if w.at == announce:
        after = w._replace(at="w2" if announce == "w1" else "w3")
        yield "session", after, s._replace(sessions=s.sessions | {i})
    elif w.at == look:
        after = w._replace(at="w3" if look == "w2" else "w2", marked=_packs_in(s.marks))
        yield f"marks {_shown(after.marked)}", after, s
    elif w.at == "w3":
        yield from _choices(i, w, s, setup, order)
    elif w.at == "w4":
        yield f"commit {w.blob}", w._replace(at="w5", marked=NOTHING), s._replace(manifests=s.manifests | {(i, w.blob)})
    elif w.at == "w5":
        is_fenced = i in s.fences and order.fenced_fails
        yield "failed" if is_fenced else "succeeded", w._replace(at="failed" if is_fenced else "w6"), s
    elif w.at == "w6":
        yield "session ends", w._replace(at="done"), s._replace(sessions=s.sessions - {i})


def _choices(i: int, w: Writer, s: Store, setup: Setup, order: Order) -> Iterator[tuple[str, Writer, Store]]:
    """A writer needs one blob: refers to a pack that it may use, stores its own copy, or heals a pack by its name."""
    present = s.packs
    if setup.index:
        indexed = NOTHING.union(*(packs for _, packs in s.index))
        present = indexed & s.packs if order.presence_by_listing else indexed
    unmarked = present - w.marked
    chained = unmarked if order.chains_are_looked_at else present
    for blob in sorted({blob_of(pack) for pack in unmarked}):
        if usable_depth(blob, chained) is not None:
            yield f"refers to {blob}", w._replace(at="w4", blob=blob), s
    for blob in sorted({blob_of(pack) for pack in setup.packs} if setup.own_copies else NOTHING):
        own = f"w{i}{blob}"
        yield f"puts {own}", w._replace(at="w4", blob=blob), _with_pack(s, own, setup)
    if setup.new and setup.new not in map(blob_of, present):
        leant_on = unmarked if order.bases_are_unmarked else present
        for blob in sorted({blob_of(pack) for pack in leant_on}):
            depth = usable_depth(blob, leant_on)
            if depth is not None:
                own = f"w{i}{blob}{depth + 1}>{setup.new}"
                yield f"leans {own}", w._replace(at="w4", blob=setup.new), _with_pack(s, own, setup)
    for pack in sorted(setup.packs - w.marked if setup.heal else NOTHING):
        yield f"heals {pack}", w._replace(at="w4", blob=blob_of(pack)), _with_pack(s, pack, setup)


def _pruner_steps(j: int, g: Pruner, s: Store, setup: Setup, order: Order) -> Iterator[tuple[str, Pruner, Store]]:
    owner = j if order.own_marks else 0
    first, second = ("g2", "g3") if order.mark_before_sessions else ("g3", "g2")
    if g.at == "g1":
        live = _needed_with(frozenset(blob for _, blob in s.manifests), s.packs, order)
        candidates = sorted(pack for pack in s.packs if setup.repack or blob_of(pack) not in live)
        early = NOTHING if order.marks_read_after_waiting else _packs_in(s.marks)
        for count in range(1, len(candidates) + 1):
            for chosen in combinations(candidates, count):
                yield f"chooses {_shown(chosen)}", Pruner("g1r", frozenset(chosen), others=early), s
    elif g.at == "g1r":
        yield "has written enough", g._replace(at=first), s
        for pack in sorted(g.victims & s.packs if setup.repack else NOTHING):
            copy = f"n{j}{pack[-4:] if '>' in pack else pack[-1]}"
            if copy not in s.packs:
                yield f"writes {copy}", g, _with_pack(s, copy, setup)
    elif g.at == "g2":
        marks = s.marks | {(owner, pack) for pack in g.victims}
        yield "marks", g._replace(at=second if first == "g2" else "g4"), s._replace(marks=marks)
    elif g.at == "g3":
        yield f"sessions {sorted(s.sessions)}", g._replace(at=second if first == "g3" else "g4", sessions=s.sessions), s
    elif g.at == "g4":
        late = g.sessions & s.sessions if order.waits_for_sessions else frozenset[int]()
        yield f"fences {sorted(late)}", g._replace(at="g5", sessions=frozenset()), s._replace(fences=s.fences | late)
    elif g.at.startswith("g5"):
        yield from _weigh(owner, g, s, setup, order)
    elif g.at.startswith("g6"):
        yield from _publish(j, g, s)
    else:
        yield from _delete(owner, g, s, order)


def _weigh(owner: int, g: Pruner, s: Store, setup: Setup, order: Order) -> Iterator[tuple[str, Pruner, Store]]:
    """What may go: marks of others, manifests and packs are listed; then what is needed is dropped."""
    first, second, third = (
        ("marks", "manifests", "packs") if order.marks_before_packs else ("packs", "marks", "manifests")
    )
    what = dict(zip(("g5", "g5b", "g5c"), (first, second, third), strict=True)).get(g.at)
    after = {"g5": "g5b", "g5b": "g5c", "g5c": "g5n"}.get(g.at, "")
    if what == "marks":
        others = frozenset(pack for by, pack in s.marks if by != owner)
        if not order.marked_copies_do_not_count:
            others = NOTHING
        elif not order.marks_read_after_waiting:
            others = g.others
        yield "marks of others", g._replace(at=after, others=others), s
    elif what == "packs":
        yield "packs", g._replace(at=after, listed=s.packs), s
    elif what == "manifests":
        live = frozenset(blob for _, blob in s.manifests) if order.lists_manifests_again else NOTHING
        yield f"needs {_shown(live)}", g._replace(at=after, live=live), s
    else:
        counted = g.listed - g.others - g.victims
        live = _needed_with(g.live, g.listed, order)
        needed = frozenset(
            p for p in g.victims & g.listed if blob_of(p) in live and not any(_is_copy(c, p, order) for c in counted)
        )
        safely = _needed_with(frozenset(blob for by, blob in s.manifests if by not in s.fences), g.listed, order)
        unmarked = {(owner, pack) for pack in needed if blob_of(pack) in safely}
        left = g.victims - needed
        at = ("g6" if setup.index else "g7") if left else "g8"
        yield f"keeps {_shown(needed)}", Pruner(at, left), s._replace(marks=s.marks - unmarked)


def _needed_with(blobs: Names, packs: Names, order: Order) -> Names:
    return with_bases(blobs, packs) if order.bases_are_needed else blobs


def _is_copy(pack: str, of: str, order: Order) -> bool:
    """Whether a pack stands in for another one, whatever leans on what is in that."""
    is_deeper = depth_of(pack) > depth_of(of)
    return blob_of(pack) == blob_of(of) and not (is_deeper and order.deeper_copies_do_not_count)


def _publish(j: int, g: Pruner, s: Store) -> Iterator[tuple[str, Pruner, Store]]:
    if g.at == "g6":
        yield "loads index", g._replace(at="g6p", view=s.index), s
    elif g.at == "g6p":
        merged = NOTHING.union(*(packs for _, packs in g.view)) - g.victims
        yield f"publishes {_shown(merged)}", g._replace(at="g6d"), s._replace(index=s.index | {(f"J{j}", merged)})
    else:
        yield "deletes index", g._replace(at="g7", view=frozenset()), s._replace(index=s.index - g.view)


def _delete(owner: int, g: Pruner, s: Store, order: Order) -> Iterator[tuple[str, Pruner, Store]]:
    if g.at == "g7":
        for pack in sorted(g.victims):
            rest = g.victims - {pack}
            yield (
                f"deletes {pack}",
                g._replace(at="g7" if rest else "g8", victims=rest),
                s._replace(packs=s.packs - {pack}),
            )
    elif g.at == "g8":
        gone = {m for m in s.marks if (m[0] == owner or not order.dead_marks_stay) and m[1] not in s.packs}
        if not order.own_marks:
            gone = {m for m in s.marks if m[0] == owner}
        yield "unmarks what is gone", g._replace(at="done"), s._replace(marks=s.marks - gone)


def _mender_steps(owner: int, m: Mender, s: Store, setup: Setup, order: Order) -> Iterator[tuple[str, Mender, Store]]:
    """Sets a damaged pack aside, of which this blob still opens: stores the blob anew, then moves the pack away."""
    copy = f"r{owner}{blob_of(m.pack)}" if m.pack else ""
    if m.at == "m1" and order.menders_mark:
        for pack in sorted(s.packs & setup.packs):
            yield f"marks {pack}", Mender("m2", pack), s._replace(marks=s.marks | {(owner, pack)})
    elif m.at == "m1":
        for pack in sorted(s.packs & setup.packs):
            yield f"session for {pack}", Mender("m2", pack), s._replace(sessions=s.sessions | {owner})
    elif m.at == "m2":
        gone = m.pack not in s.packs
        yield f"writes {copy}", m._replace(at="m5" if gone else "m3"), s if gone else _with_pack(s, copy, setup)
    elif m.at == "m3":
        is_fenced = owner in s.fences
        yield "is fenced" if is_fenced else "is not fenced", m._replace(at="m5" if is_fenced else "m4"), s
    elif m.at == "m4":
        yield f"moves {m.pack}", m._replace(at="m5"), s._replace(packs=s.packs - {m.pack})
    elif m.at == "m5":
        marks = frozenset(each for each in s.marks if each[0] != owner)
        yield "is done", m._replace(at="done"), s._replace(marks=marks, sessions=s.sessions - {owner})


def _with_pack(s: Store, pack: str, setup: Setup) -> Store:
    index = s.index | {(f"i{pack}", frozenset([pack]))} if setup.index else s.index
    return s._replace(packs=s.packs | {pack}, index=index)


def _packs_in(marks: frozenset[tuple[int, str]]) -> Names:
    return frozenset(pack for _, pack in marks)


def _shown(packs: Names | tuple[str, ...]) -> str:
    return ",".join(sorted(packs)) or "nothing"

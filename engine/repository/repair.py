"""Makes a damaged destination good again. A writer like any other, which deletes nothing: what is damaged is set aside
in quarantine/, but never before all of it that can be had, from here or elsewhere, is stored and indexed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path

from engine import crypto
from engine.errors import (
    AlreadyExists,
    Corrupt,
    EngineError,
    NotARepository,
    NotFound,
    RepositoryError,
    StorageError,
    WrongKey,
)
from engine.keyring import Keyring
from engine.model.manifest import Manifest
from engine.progress import Progress
from engine.repository import box, guide, layout, mark
from engine.repository.check import WRONG_KEY, CheckReport, Damage
from engine.repository.copy import Copy
from engine.repository.failover import FailoverReader, Spare
from engine.repository.filling import Filler
from engine.repository.forget import Tombstone
from engine.repository.heal import CaughtUp, Source, at_work, bring, missed_points, rebuild_heads
from engine.repository.history import DELETED, ROLLED_BACK, UNEXPECTED
from engine.repository.mending import (
    is_sound_pack,
    mend_fences,
    mend_programs,
    mend_tombstones,
    set_all_aside,
    set_aside,
)
from engine.repository.needs import Part, needs
from engine.repository.originals import make_again
from engine.repository.pack import DATA
from engine.repository.reader import BlobReader, open_reader
from engine.repository.repository import Repository, read_identity, write_description
from engine.repository.sections import indexed, load_sections, read_section
from engine.repository.table import IndexTable
from engine.storage.base import Storage

_PROOFS = ((layout.HEADS, box.HEAD), (layout.MANIFESTS, box.MANIFEST), (layout.INDEX, box.INDEX))


@dataclass(frozen=True)
class Order:
    """What a repair may use. `slots` are the key slots that belong there, by name; `missing` are numbers of restore
    points that this destination never got, by configuration; `host` is the host whose files may be read again.
    `buried` and `held` are the restore points that were removed there, and those that were not, as the caller remembers
    it."""

    slots: Mapping[str, bytes]
    host: str
    missing: Mapping[str, Collection[int]] = field(default_factory=dict)
    config_ids: Collection[str] | None = None
    buried: Mapping[bytes, Tombstone] = field(default_factory=dict)
    held: Collection[bytes] = ()


@dataclass
class Repaired:
    """What was done: objects that are there again as they were, objects made anew, objects set aside with their new
    names, files of the source that were read again, what was copied, and damaged packs that are `left` to pruners."""

    put_back: list[str] = field(default_factory=list)
    made_anew: list[str] = field(default_factory=list)
    set_aside: dict[str, str] = field(default_factory=dict)
    read_again: set[bytes] = field(default_factory=set)
    copied: CaughtUp = field(default_factory=CaughtUp)
    left: list[bytes] = field(default_factory=list)


def plan(report: CheckReport, sources: Sequence[Source], order: Order) -> list[tuple[str, str, str]]:
    """(object, kind of its damage, what will be done) for everything that a check found. Nothing is changed."""
    there: dict[str, str] = {}
    for name, source in sources:
        for pack in source.list_packs():
            there.setdefault(layout.pack(pack), name)
        for identity in source.manifest_ids():
            there.setdefault(layout.manifest(identity), name)
    return [(each.object, each.kind, _intention(each, there, order)) for each in report.errors]


def _intention(damage: Damage, there: Mapping[str, str], order: Order) -> str:
    name = damage.object
    if damage.kind == WRONG_KEY and not (name in there and name.startswith(layout.MANIFESTS)):
        return "left as it is, if it is whole: other keys may open it"
    if name in there:
        return f"taken again from {there[name]}, if it is sound there"
    if name.startswith(layout.PACKS):
        return "what can be had of it is stored anew, and the rest looked for at the source"
    if name.startswith("blob "):
        return "looked for elsewhere and at the source"
    if name.startswith(layout.KEYS):
        return "written again" if name in order.slots else "set aside"
    if name.startswith(layout.TOMBSTONES):
        return _intention_of_note(layout.last_part(name), order)
    if name.startswith((layout.INDEX, layout.HEADS, layout.FENCES)):
        return "made anew"
    if damage.kind in (DELETED, ROLLED_BACK):
        return "gone, and nowhere else"
    return "set aside" if name.startswith((layout.MANIFESTS, layout.MARKS, guide.RESCUE)) else "left as it is"


def _intention_of_note(identity: bytes, order: Order) -> str:
    if identity in order.buried:
        return "written again as it is remembered"
    return "set aside: nothing was removed" if identity in order.held else "taken from elsewhere, if it is there"


def repair(
    name: str,
    target: Repository,
    sources: Sequence[Source],
    report: CheckReport,
    order: Order,
    *,
    clock: Callable[[], datetime],
    progress: Progress,
    spool: Path,
) -> Repaired:
    """Make good at the destination `name` what `report`, a check of it, found, and copy what it missed.

    Raises Fenced, StorageError; what was done until then stays, and a second call goes on from there."""
    damaged = {each.object: each.kind for each in report.errors if not _is_of_other_keys(each, target, sources)}
    bad = _still_bad(target, {layout.last_part(each) for each in damaged if each.startswith(layout.PACKS)})
    # A damaged mark keeps everybody from working. Its pruner looks for it before each batch that it deletes, and stops.
    marks = set_all_aside(target, [each for each in damaged if each.startswith(layout.MARKS)])
    with at_work(name, target, clock=clock, distrusted=bad) as copy:
        places = [Spare(each, partial(open_reader, source)) for each, source in sources]
        reader = FailoverReader(Spare(name, lambda: _salvaging_reader(target, bad)), places, lambda text: None)
        filler = Filler(copy, reader, spool=spool, progress=progress)
        try:
            done = _Repair(copy, sources, reader, filler, order, clock, progress).run(damaged, bad)
            done.set_aside |= marks
            return done
        finally:
            filler.abandon()


class _Repair:
    """The state of one repair."""

    def __init__(
        self,
        copy: Copy,
        sources: Sequence[Source],
        reader: FailoverReader,
        filler: Filler,
        order: Order,
        clock: Callable[[], datetime],
        progress: Progress,
    ) -> None:
        self._copy = copy
        self._clock = clock
        self._target = copy.repository
        self._storage = copy.repository.storage
        self._sources = sources
        self._reader = reader
        self._filler = filler
        self._order = order
        self._progress = progress
        self._done = Repaired()

    def run(self, damaged: Mapping[str, str], bad: Collection[bytes]) -> Repaired:
        self._progress.phase(f"repair {self._copy.name}")
        self._mend_keys(damaged)
        self._mend_small(damaged)
        self._mend_index(damaged, bad)
        self._mend_packs(bad)
        self._mend_blobs()
        points = [name for name in damaged if name.startswith(layout.MANIFESTS)]
        self._done.set_aside |= set_all_aside(
            self._target, points, anyway=[name for name in points if damaged[name] == UNEXPECTED]
        )
        lacking = [name for name in points if not _exists(self._storage, name)]
        self._done.made_anew += [f"head of {each}" for each in rebuild_heads(self._target, self._order.missing)]
        missed = list(missed_points(self._sources, self._target, self._order.config_ids))
        self._done.copied = bring(missed, self._copy, self._reader, self._filler)
        self._done.put_back += [name for name in lacking if _exists(self._storage, name)]
        mark.sweep_repairs(self._target)
        return self._done

    def _mend_small(self, damaged: Collection[str]) -> None:
        others = [source for _, source in self._sources]
        notes = mend_tombstones(self._target, others, damaged, buried=self._order.buried, held=self._order.held)
        for put_back, moved in (notes, mend_programs(self._target, others, damaged)):
            self._done.put_back += put_back
            self._done.set_aside |= moved
        self._done.made_anew += mend_fences(self._target, damaged, now=self._clock())

    def _mend_keys(self, damaged: Collection[str]) -> None:
        """The slots that belong here are; a damaged one that nobody knows is set aside."""
        present = {item.name for item in self._storage.list(layout.KEYS)}
        moved = set_all_aside(self._target, [name for name in damaged if name in present])
        self._done.set_aside |= moved
        for name, data in self._order.slots.items():
            if name not in present or name in moved:
                with suppress(AlreadyExists):
                    self._storage.put(name, data)
                    self._done.put_back.append(name)

    def _mend_index(self, damaged: Collection[str], bad: Collection[bytes]) -> None:
        """What a lost or damaged index said is said again, by the packs' own directories."""
        known = {info.name for info in indexed(self._target, damage={})}
        sections = []
        for pack, size in self._target.list_packs().items():
            if pack not in known and pack not in bad:
                with suppress(Corrupt, WrongKey, NotFound):
                    sections.append(read_section(self._target, pack, size))
        if sections:
            self._target.write_index(sections)
        moved = set_all_aside(self._target, [name for name in damaged if name.startswith(layout.INDEX)])
        self._done.set_aside |= moved
        self._done.made_anew += moved

    def _mend_packs(self, bad: Collection[bytes]) -> None:
        """Whole packs from elsewhere; where there is none, what opens of them is stored anew before they are moved."""
        present = self._target.list_packs()
        hopeless = []
        repairs = mark.of_repairs(self._target)
        of_pruners = {pack for each in mark.read_all(self._target) if each.id not in repairs for pack in each.packs}
        for pack in sorted(bad):
            if pack in of_pruners:
                self._done.left.append(pack)
                continue  # its pruner's; what is needed of it gets a new place like anything that is missing
            # What a repair that was killed had marked, it had to empty: this one goes on with it, under its own mark.
            # A pack that fits its name was sealed with its damage: it is the same everywhere.
            is_whole = pack in present and self._filler.is_whole(pack)
            data = None if is_whole or self._copy.is_marked(pack) else self._filler.find_pack(pack)
            if data is None:
                hopeless.append(pack)
            else:
                self._exchange(pack, data, is_present=pack in present)
            self._progress.checkpoint()
        self._filler.flush()
        if hopeless:
            self._empty_and_set_aside(hopeless, present)

    def _empty_and_set_aside(self, packs: Collection[bytes], present: Collection[bytes]) -> None:
        """What opens of these packs is stored anew, then they are moved. Under a mark: no pruner takes the new copy of
        a blob for superfluous because the old pack has it too (tests/model)."""
        session, table = self._copy.session, self._reader.table
        try:
            mark.create(self._target, packs, now=self._clock(), identity=session.identity)
            for pack in packs:
                for place in table.places_of_pack(pack):
                    with suppress(Corrupt):  # it stays lost, unless its source has it
                        self._filler.fill([table.location(place).entry.id])
            self._filler.flush()
            for pack in packs:
                if pack in present and not self._is_sound_by_now(pack):
                    # Before each: once a session is fenced others may remove its mark and put a sound pack there.
                    session.check_fence()
                    with suppress(NotFound):  # somebody else was faster
                        self._set_aside(layout.pack(pack))
        finally:
            try:
                mark.remove(self._target, session.identity)
            except StorageError:
                session.abandon()
                raise

    def _exchange(self, pack: bytes, data: bytes, *, is_present: bool) -> None:
        """The sound pack in the place of the damaged one; that one stays where it is if the other finds no room."""
        name = layout.pack(pack)
        if is_present and self._is_sound_by_now(pack):
            return
        if is_present:
            self._set_aside(name)
        try:
            self._filler.put_pack(pack, data)
        except EngineError:
            if is_present:
                with suppress(EngineError):
                    self._storage.move(self._done.set_aside.pop(name), name)
            raise
        self._done.put_back.append(name)

    def _mend_blobs(self) -> None:
        """Whatever the restore points here need and lack: from elsewhere, else made again from unchanged files."""
        lost: dict[bytes, list[Part]] = {}
        seen: set[bytes] = set()
        for manifest in self._manifests():
            for need in needs(self._reader, manifest, seen):
                if self._filler.has(need.id):
                    continue
                if need.id not in lost:
                    try:
                        self._filler.fill([need.id])
                        continue
                    except Corrupt:
                        lost[need.id] = []
                if need.part is not None and manifest.host == self._order.host:
                    lost[need.id].append(need.part)
        for id, parts in lost.items():
            self._progress.checkpoint()
            made = make_again(self._target.keyring, id, parts)
            if made is not None:
                self._filler.add(id, made[0], type=DATA, suite=made[1])
                self._done.read_again.update(part.path for part in parts)
        self._filler.flush()

    def _manifests(self) -> Iterable[Manifest]:
        for identity in self._target.manifest_ids():
            with suppress(RepositoryError, NotFound):
                yield self._target.read_manifest(identity).manifest

    def _set_aside(self, name: str) -> None:
        self._done.set_aside[name] = set_aside(self._storage, name)

    def _is_sound_by_now(self, pack: bytes) -> bool:
        return is_sound_pack(BlobReader(self._target, self._reader.table), pack)


def mend_description(storage: Storage, keyring: Keyring, identity: bytes, *, program: str) -> bool:
    """Write a lost or damaged holdfast.json anew, where something that only this keyring seals lies beside it: a place
    that is empty, or somebody else's, stays what it is. Whether it was written. Raises StorageError."""
    try:
        read_identity(storage)
        return False
    except (NotARepository, Corrupt) as error:
        if not any(_is_ours(storage, keyring, folder, kind) for folder, kind in _PROOFS):
            return False
        if isinstance(error, Corrupt):
            set_aside(storage, layout.DESCRIPTION)
    write_description(storage, keyring, identity, program=program)
    return True


def _is_ours(storage: Storage, keyring: Keyring, folder: str, kind: int) -> bool:
    for item in storage.list(folder):
        try:
            box.open_box(keyring, kind, storage.get(item.name), item.name)
            return True
        except (RepositoryError, NotFound):
            continue
    return False


def _is_of_other_keys(damage: Damage, target: Repository, sources: Sequence[Source]) -> bool:
    """Whether an object is whole but none of our keys opens it: it may be the good work of an installation whose keys
    are newer than ours, unless it stands in the place of one that another destination has."""
    if damage.kind != WRONG_KEY:
        return False
    name = damage.object
    if name.startswith((layout.PACKS, layout.INDEX)):
        return crypto.sha256(target.storage.get(name)) == layout.last_part(name)
    if name.startswith(layout.MANIFESTS):
        return not any(_opens(source, layout.last_part(name)) for _, source in sources)
    return True


def _opens(repository: Repository, identity: bytes) -> bool:
    try:
        repository.read_manifest(identity)
    except (RepositoryError, NotFound):
        return False
    return True


def _salvaging_reader(target: Repository, bad: Collection[bytes]) -> BlobReader:
    """A reader of everything at the destination, and of what is left of packs that are cut off."""
    table = IndexTable(target.keyring)
    table.load(load_sections(target, damage={}, absent=[]))
    table.load(info for info in indexed(target, damage={}) if info.name in bad)
    return BlobReader(target, table)


def _still_bad(target: Repository, packs: Collection[bytes]) -> set[bytes]:
    """Those of the packs that were found damaged which are so now: good ones may have been put there since."""
    if not packs:
        return set()
    reader = _salvaging_reader(target, packs)
    return {pack for pack in packs if not is_sound_pack(reader, pack)}


def _exists(storage: Storage, name: str) -> bool:
    try:
        storage.stat(name)
    except NotFound:
        return False
    return True

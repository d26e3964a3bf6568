"""Proves that everything at a destination can be read, and says what is hit when it cannot."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from engine import keyring
from engine.errors import (
    Corrupt,
    EngineError,
    Missing,
    NotFound,
    RepositoryError,
    ShortRead,
    StorageError,
    Truncated,
    WrongKey,
)
from engine.ids import random_bytes, spell
from engine.model import content as contents
from engine.model import tree
from engine.model.content import Content
from engine.model.manifest import FilesRoot, Manifest
from engine.progress import Progress
from engine.repository import layout
from engine.repository.chains import Chains, missing_base
from engine.repository.evidence import Damaged, check_markers, check_programs, gather, read_heads
from engine.repository.forget import given_up
from engine.repository.history import MISSING, Point, Witness, examine
from engine.repository.index import Location, Pack
from engine.repository.pack import PackInfo
from engine.repository.reader import BlobReader
from engine.repository.repository import Head, Repository, Stored
from engine.repository.sections import Damages, load_sections
from engine.repository.spans import spans
from engine.repository.table import IndexTable

TRUNCATED, CORRUPT, WRONG_KEY = "truncated", "corrupt", "wrong-key"
# Names of files listed with one damaged object; more help nobody, and the restore points are named in any case.
_MAX_FILES = 1000
T = TypeVar("T")


@dataclass
class Damage:
    """One damaged object: which restore points (as `bk_…`) and which of their files it hits."""

    object: str
    kind: str
    reason: str
    backups: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)


@dataclass
class CheckReport:
    """What was checked at one destination and what was found wrong. `sound` are the restore points without damage;
    `given_up` those whose loss somebody accepted, which are not looked at."""

    backups_checked: int = 0
    objects_checked: int = 0
    bytes_read: int = 0
    errors: list[Damage] = field(default_factory=list)
    sound: list[bytes] = field(default_factory=list)
    given_up: list[bytes] = field(default_factory=list)


def check(
    repository: Repository,
    *,
    only: Collection[bytes] | None = None,
    read_percent: float = 100,
    progress: Progress,
    witness: Witness | None = None,
) -> CheckReport:
    """Check the restore points in `only`, or all, and read back `read_percent` of the packs that they need. `witness`
    is what the caller remembers of this destination: what it remembers and what is gone is damage as well.

    Damage is reported, not raised. Raises StorageError when the destination cannot be used, Cancelled."""
    return _Check(repository, progress, witness or Witness()).run(only, read_percent)


class _Check:
    """The state of one check: blobs known to be bad, and subtrees known to be good."""

    def __init__(self, repository: Repository, progress: Progress, witness: Witness) -> None:
        self._repository = repository
        self._witness = witness
        self._progress = progress
        self._report = CheckReport()
        self._damage: dict[str, Damage] = {}
        self._bad_blobs: dict[bytes, Damage] = {}
        self._lock = threading.Lock()
        self._bad_copies: set[tuple[bytes, bytes]] = set()
        self._table = IndexTable(repository.keyring)
        self._absent = IndexTable(repository.keyring)
        self._reader = BlobReader(repository, self._table)
        self._reader.read_ahead()
        self._sound: set[bytes] = set()
        self._needed: set[bytes] | None = None

    def run(self, only: Collection[bytes] | None, read_percent: float) -> CheckReport:
        self._progress.phase("index")
        self._check_keys()
        heads = self._read_heads()
        self._load_index()
        listed = set(self._repository.manifest_ids())
        gone = self._witness.held.keys() - listed
        wanted = listed if only is None else set(only) - gone
        self._report.given_up = sorted(given_up(self._repository, wanted))
        stored = self._load_manifests(wanted - set(self._report.given_up))
        self._check_history(heads, listed, stored, only)
        manifests = [each.manifest for each in stored]
        chosen = self._choose(manifests, only, read_percent)
        self._progress.phase("read", expected=sum(known.size for known in chosen))
        self._read_packs(chosen)
        self._progress.phase("restore points")
        for manifest in manifests:
            self._check_manifest(manifest)
        self._report.errors = list(self._damage.values())
        return self._report

    def _check_keys(self) -> None:
        storage, slots = self._repository.storage, 0
        for item in storage.list(layout.KEYS):
            self._object()
            slots += 1
            self._try(item.name, lambda name=item.name: keyring.read_slot(name, storage.get(name)))  # type: ignore[misc]

        if not slots:
            self._note(layout.KEYS, MISSING, "No key slot is there: without this installation nothing here opens.")

    def _read_heads(self) -> dict[str, Head]:
        damage: Damaged = {}
        heads = read_heads(self._repository, damage=damage)
        self._object(len(heads) + len(damage))
        self._note_all(damage)
        return heads

    def _load_index(self) -> None:
        damage: Damages = {}
        absent: list[PackInfo] = []
        self._table.load(load_sections(self._repository, damage=damage, absent=absent))
        self._absent.load(absent)
        self._object(len(self._repository.index_names()) + len(self._table.packs()))
        self._note_all(damage)

    def _load_manifests(self, identities: Iterable[bytes]) -> list[Stored]:
        found = []
        for identity in identities:
            self._object()
            name = layout.manifest(identity)
            stored = self._try(name, lambda i=identity: self._repository.read_manifest(i))  # type: ignore[misc]
            if stored is not None:
                found.append(stored)
            elif self._damage[name].kind == MISSING and identity in self._repository.removed_ids():
                del self._damage[name]  # removed lawfully since it was listed
            else:
                self._damage[name].backups.add(spell("bk", identity))
        return found

    def _check_history(
        self, heads: dict[str, Head], listed: set[bytes], stored: list[Stored], only: Collection[bytes] | None
    ) -> None:
        """Restore points that are missing from their series or do not belong there, and the notes about them."""
        read = {each.manifest.id: Point.of(each) for each in stored}
        points = read if only is None else {**self._witness.held, **read}
        damage: Damaged = {}
        evidence = gather(self._repository, heads, listed, points, with_tombstones=True, damage=damage)
        self._object(len(evidence.buried) + check_markers(self._repository, damage=damage))
        self._object(check_programs(self._repository, damage=damage))
        self._note_all(damage)
        for finding in examine(evidence, self._witness):
            if only is None or finding.point in only:
                noted = self._note(finding.object, finding.kind, finding.reason)
                noted.backups.update([spell("bk", finding.point)] if finding.point else [])

    def _choose(self, manifests: Sequence[Manifest], only: Collection[bytes] | None, percent: float) -> list[Pack]:
        """The packs to read: all, or those that the selected restore points need; of these a random share."""
        if only is not None:
            self._needed = set()
            for manifest in manifests:
                self._check_manifest(manifest)
            self._report.sound.clear()
            self._report.backups_checked = 0
            self._sound.clear()
        packs = [known for known in self._table.packs() if self._needed is None or known.name in self._needed]
        self._needed = None
        share = round(len(packs) * percent / 100 + 0.499)
        return sorted(packs, key=lambda known: random_bytes(8))[:share] if share < len(packs) else packs

    def _read_packs(self, packs: Sequence[Pack]) -> None:
        """All bytes of these packs, with their differences after what they lean on."""
        chains = Chains(self._reader, packs)
        self._spread(partial(self._read_pack, chains), packs)
        self._spread(self._open_difference, chains.left())

    def _spread(self, work: Callable[[T], None], items: Iterable[T]) -> None:
        with ThreadPoolExecutor(self._reader.threads, thread_name_prefix="check") as pool:
            futures = [pool.submit(work, item) for item in items]
            try:
                for future in futures:
                    future.result()
                    self._progress.checkpoint()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _read_pack(self, chains: Chains, known: Pack) -> None:
        """All bytes of one pack: its hash, then every blob in it, and every difference that leans on one of them."""
        name = layout.pack(known.name)
        whole, bad = hashlib.sha256(), list[tuple[Location, EngineError]]()
        try:
            for start, end, locations in spans(self._table.of_pack(known), known.size):
                data = memoryview(self._repository.storage.get(name, start, end - start))
                whole.update(data)
                bad += self._open_all(chains, locations, data, start)
                with self._lock:
                    self._report.bytes_read += len(data)
                self._progress.advance(read=len(data))
        except (NotFound, ShortRead) as error:
            self._condemn(known, self._note(name, _kind(error), error.message))
            return
        except StorageError as error:
            self._repository.storage.stat(layout.DESCRIPTION)  # raises when the whole place is out of reach
            self._condemn(known, self._note(name, CORRUPT, error.message))
            return
        self._progress.advance(items=1)
        intact = whole.digest() == known.name
        damage = None if intact else self._note(name, CORRUPT, "The pack's bytes do not fit its name.")
        for location, fault in bad:
            damage = damage or self._note(name, _kind(fault), fault.message)
            self._condemn_blob(location, damage)

    def _open_all(
        self, chains: Chains, locations: Iterable[Location], data: memoryview, start: int
    ) -> Iterator[tuple[Location, EngineError]]:
        """The blobs that cannot be opened, of those that lie in `data`, which begins at `start` of their pack.
        Differences are opened when what they lean on is at hand."""
        for location in locations:
            if location.base is not None:
                continue
            position = location.entry.position - start
            try:
                plain = self._reader.open(location, data[position : position + location.entry.stored])
            except EngineError as error:
                yield location, error
            else:
                chains.follow(location, plain)

    def _open_difference(self, location: Location) -> None:
        """One that did not open with what it leans on, or leans on what lies in a pack that is not read: from any copy
        of that. The damage is that of the object that is to blame."""
        name = layout.pack(location.pack.name)
        try:
            self._reader.fetch(location)
        except EngineError as error:
            if isinstance(error, StorageError) and not isinstance(error, (NotFound, ShortRead)):
                self._repository.storage.stat(layout.DESCRIPTION)  # raises when the whole place is out of reach
            self._condemn_blob(location, self._note(getattr(error, "name", name), _kind(error), error.message))

    def _check_manifest(self, manifest: Manifest) -> None:
        """Every blob that a restore point needs exists and is not known to be bad."""
        self._report.backups_checked += 1
        backup = spell("bk", manifest.id)
        good = True
        for root in manifest.roots:
            self._progress.checkpoint()
            if isinstance(root, FilesRoot):
                good &= self._check_tree(root.node.content or b"", root.path, backup)
            else:
                good &= self._check_content(root.content, root.name, backup)
        if good:
            self._report.sound.append(manifest.id)

    def _check_tree(self, ids: bytes, path: bytes, backup: str) -> bool:
        """One directory and all below it, from the innermost out; subtrees found good once are not visited again."""
        stack: list[tuple[bytes, bytes, bool]] = [(ids, path, False)]
        sound: dict[bytes, bool] = {}
        while stack:
            ids, path, is_return = stack.pop()
            if ids in self._sound:
                continue
            nodes = self._read_nodes(ids, path, backup)
            below = [n for n in nodes or () if n.kind == tree.DIRECTORY and n.content]
            if below and not is_return:
                stack.append((ids, path, True))
                stack.extend((n.content, path + b"/" + n.name, False) for n in below)
                continue
            good = nodes is not None
            for node in nodes or ():
                if node.kind == tree.DIRECTORY and node.content:
                    good &= node.content in self._sound or sound.get(node.content, False)
                elif node.kind == tree.FILE:
                    good &= self._check_content(node.content, os.fsdecode(path + b"/" + node.name), backup)
            sound[ids] = good
            if good and self._needed is None:
                self._sound.add(ids)
        return ids in self._sound or sound.get(ids, False)

    def _read_nodes(self, ids: bytes, path: bytes, backup: str) -> list[tree.Node] | None:
        wanted = contents.split_ids(ids)
        if not self._check_blobs(wanted, os.fsdecode(path) + "/", backup):
            return None
        try:
            return list(self._reader.nodes(ids))
        except Corrupt as error:
            self._hit(self._note(error.name, CORRUPT, error.message), backup, os.fsdecode(path) + "/")
            return None

    def _check_content(self, content: Content, path: str, backup: str) -> bool:
        if content is None:
            return True
        if content[0] == contents.BUNDLE:  # which many files share
            if content[1] not in self._sound and self._check_blob(content[1], path, backup):
                self._sound.add(content[1])
            return content[1] in self._sound
        if content[0] == contents.LISTS and not self._check_blobs(contents.split_ids(content[1]), path, backup):
            return False
        try:
            return self._check_blobs((chunk.id for chunk in self._reader.chunks(content)), path, backup)
        except (Corrupt, ValueError) as error:
            self._hit(self._note(getattr(error, "name", path), CORRUPT, str(error)), backup, path)
            return False

    def _check_blobs(self, ids: Iterable[bytes], path: str, backup: str) -> bool:
        """Checks all of them, so that every damage is found, not only the first."""
        found = [self._check_blob(id, path, backup) for id in ids]
        return all(found)

    def _check_blob(self, id: bytes, path: str, backup: str) -> bool:
        lost = missing_base(self._table, id)
        if lost is not None:
            self._hit(self._note_lost(lost), backup, path)
            return False
        if self._needed is not None:
            self._needed.update(location.pack.name for location in self._table.chain(id))
        needed = (location.entry.id for location in self._table.chain(id)) if self._bad_blobs else ()
        damage = next((self._bad_blobs[each] for each in needed if each in self._bad_blobs), None)
        if damage is not None:
            self._hit(damage, backup, path)
        return damage is None

    def _condemn(self, known: Pack, damage: Damage) -> None:
        for location in self._table.of_pack(known):
            self._condemn_blob(location, damage)

    def _condemn_blob(self, location: Location, damage: Damage) -> None:
        """A bad copy hits nobody while another pack has a good one."""
        id = location.entry.id
        with self._lock:
            self._bad_copies.add((id, location.pack.name))
            if all((id, other.pack.name) in self._bad_copies for other in self._table.find_all(id)):
                self._bad_blobs[id] = damage

    def _hit(self, damage: Damage, backup: str, path: str) -> None:
        damage.backups.add(backup)
        if len(damage.files) < _MAX_FILES:
            damage.files.add(path)

    def _note(self, name: str, kind: str, reason: str) -> Damage:
        return self._damage.setdefault(name, Damage(name, kind, reason))

    def _note_all(self, damage: Mapping[str, RepositoryError]) -> None:
        for name, error in damage.items():
            self._note(name, _kind(error), error.message)

    def _note_lost(self, id: bytes) -> Damage:
        """Of a blob that is nowhere: an index may still tell which pack it went with."""
        location = self._absent.find(id)
        if location is None:
            return self._note(f"blob {id.hex()}", MISSING, "No pack holds this blob.")
        name = layout.pack(location.pack.name)
        return self._note(name, MISSING, f"{name} is not there.")

    def _object(self, count: int = 1) -> None:
        self._report.objects_checked += count

    def _try(self, name: str, action: Callable[[], T]) -> T | None:
        """The action's result, or a note of the damage that it met."""
        try:
            return action()
        except (WrongKey, NotFound, Corrupt) as error:
            self._note(name, _kind(error), error.message)
        return None


def _kind(error: EngineError) -> str:
    if isinstance(error, (NotFound, Missing)):
        return MISSING
    if isinstance(error, (Truncated, ShortRead)):
        return TRUNCATED
    return WRONG_KEY if isinstance(error, WrongKey) else CORRUPT

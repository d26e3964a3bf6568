"""Any damage to any kind of object is found and located, and what it does not hit restores: bits, cuts, additions,
swaps, replays, deletions, objects of another repository."""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgpack
import pytest

from engine.errors import Corrupt, EngineError, NotARepository, WrongKey
from engine.ids import spell
from engine.model.manifest import Manifest
from engine.progress import Silent
from engine.repository import box, guide, layout
from engine.repository.check import Damage
from engine.repository.forget import empty_trash, forget
from engine.repository.history import Point, Witness
from engine.repository.reader import open_reader
from engine.repository.references import blobs_of
from engine.repository.session import Session
from tests.support.repositories import Bench
from tests.support.trees import snapshot, write_file

NOW = datetime(2027, 1, 1, tzinfo=UTC)
KINDS = (
    "holdfast.json",
    "keys",
    "packs",
    "index",
    "manifests",
    "heads",
    "tombstones",
    "sessions",
    "marks",
    "fences",
    "rescue",
)
SAMPLE, WHOLE = 400, 10_000
State = dict[bytes, tuple[object, ...]]


@dataclass
class Years:
    """A repository with every kind of object, what was backed up at each restore point, and what a witness remembers.
    `older` are bytes that objects had once, `foreign` is the repository of another installation. `unneeded` are the
    names of objects that may go without harm: packs that no restore point needs any more, and what is in the trash
    (whoever empties it early does what was decided) with its tombstone (whoever takes that away brings it back)."""

    bench: Bench
    source: Path
    foreign: Bench
    states: dict[bytes, State] = field(default_factory=dict)
    older: dict[str, bytes] = field(default_factory=dict)
    witness: Witness = field(default_factory=Witness)
    unneeded: set[str] = field(default_factory=set)

    def objects(self, kind: str) -> list[Path]:
        place = self.bench.place / kind
        return [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())

    def name(self, path: Path) -> str:
        return str(path.relative_to(self.bench.place))


@pytest.fixture
def years(tmp_path: Path, seed: int) -> Years:
    """Four restore points, of which one was removed and one lies in the trash."""
    rng, source = random.Random(seed), tmp_path / "source"
    source.mkdir()
    years = Years(Bench(tmp_path / "bench"), source, Bench(tmp_path / "foreign"))
    years.bench.create()
    removed: dict[bytes, Point] = {}
    for number in range(4):
        write_file(source / f"file {number}", rng, 3_000)
        write_file(source / f"large {number}", rng, 270_000)
        (source / f"folder {number}").mkdir()
        (head,) = years.objects("heads") or [None]
        if head is not None:
            years.older[years.name(head)] = head.read_bytes()
        result = years.bench.backup(source)
        years.states[result.manifest.id] = snapshot(source)
    first, second, *_ = years.states
    opened = years.bench.open()
    for identity in (first, second):
        forget(opened, identity, reason="daily 7", now=NOW)
    removed[first] = Point.of(opened.read_manifest(first))
    years.older[layout.manifest(first)] = (years.bench.place / layout.manifest(first)).read_bytes()
    empty_trash(opened, [first], delay=timedelta(0), now=NOW)
    del years.states[first]
    years.unneeded = {layout.manifest(second), layout.tombstone(second)} | unneeded_packs(years)
    held = {each: Point.of(opened.read_manifest(each)) for each in years.states}
    years.witness = Witness(held, removed)
    add_markers(years)
    guide.publish(opened.storage)
    years.foreign.create()
    years.foreign.backup(source)
    return years


def unneeded_packs(years: Years) -> set[str]:
    reader = open_reader(years.bench.open())
    manifests = [reader.repository.read_manifest(identity).manifest for identity in years.states]
    blobs = {blob for manifest in manifests for blob in blobs_of(reader, manifest, set())}
    needed = {location.pack.name for location in map(reader.table.find, blobs) if location}
    return {layout.pack(name) for name in reader.repository.list_packs() if name not in needed}


def add_markers(years: Years) -> None:
    """A writer at work, a pruner at work, and a session that lost its rights."""
    opened, session = years.bench.open(), Session(years.bench.open(), b"s" * 16, "test", years.bench.clock)
    session.start()
    session._ended.set()
    mark = {"pruner": b"p" * 16, "packs": [b"x" * 32], "sessions": [], "startedAt": 0}
    fence = {"session": b"f" * 16, "by": b"p" * 16, "at": 0}
    for name, kind, plain in (
        (f"{layout.MARKS}{'70' * 16}", box.MARK, mark),
        (layout.fence(b"f" * 16), box.FENCE, fence),
    ):
        opened.storage.put(name, box.seal_box(years.bench.keyring, kind, msgpack.packb(plain), 1))


def examine(years: Years) -> list[Damage]:
    """What a check finds; a description that is damaged or gone stops everything, and says so."""
    try:
        return years.bench.check(witness=years.witness).errors
    except NotARepository:
        return [Damage(layout.DESCRIPTION, "missing", "", set(map(shown, years.states)))]
    except (Corrupt, WrongKey):
        return [Damage(layout.DESCRIPTION, "corrupt", "", set(map(shown, years.states)))]


def shown(identity: bytes) -> str:
    return spell("bk", identity)


def assert_located(years: Years, found: list[Damage], out: Path) -> None:
    """A restore point that no damage names restores wholly; of the others, whatever no damage names does."""
    hit = {backup for damage in found for backup in damage.backups}
    files = {path.rstrip("/") for damage in found for path in damage.files}
    for identity, state in years.states.items():
        shutil.rmtree(out, ignore_errors=True)
        try:
            manifest: Manifest = years.bench.open().read_manifest(identity).manifest
            years.bench.restore(manifest, out.name, progress=Silent())
        except EngineError:
            assert shown(identity) in hit
            continue
        restored = snapshot(out / str(years.source).lstrip("/")) if out.exists() else {}
        if shown(identity) not in hit:
            assert restored == state
            continue
        for path, facts in state.items():
            whole = os.path.join(str(years.source), os.fsdecode(path)).removesuffix("/.")
            if not any(whole == each or whole.startswith(each + "/") for each in files):
                assert restored.get(path, (None,) * 7)[6] == facts[6] or (shown(identity) in hit and not files)


def flip(years: Years, path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def cut(years: Years, path: Path, rng: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])


def extend(years: Years, path: Path, rng: random.Random) -> None:
    path.write_bytes(path.read_bytes() + rng.randbytes(rng.randrange(1, 100)))


def blank(years: Years, path: Path, rng: random.Random) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def take_foreign(years: Years, path: Path, rng: random.Random) -> None:
    """The bytes of another installation's object of that kind, or of any."""
    kind = years.name(path).split("/")[0]
    place = years.foreign.place
    found = [place / kind] if (place / kind).is_file() else sorted(p for p in (place / kind).rglob("*") if p.is_file())
    path.write_bytes(rng.choice(found or sorted((place / "manifests").iterdir())).read_bytes())


def take_other(years: Years, path: Path, rng: random.Random) -> None:
    """The bytes of any other object of ours."""
    others = [p for kind in KINDS for p in years.objects(kind) if p.read_bytes() != path.read_bytes()]
    path.write_bytes(rng.choice(others).read_bytes())


DAMAGES: tuple[Callable[[Years, Path, random.Random], None], ...] = (
    flip,
    flip,
    flip,
    cut,
    extend,
    blank,
    take_foreign,
    take_other,
)


@pytest.mark.parametrize("count", [SAMPLE, pytest.param(WHOLE, marks=pytest.mark.full)], ids=["sample", "10,000"])
def test_every_damage_to_an_object_is_found_and_located(years: Years, seed: int, count: int, record_property) -> None:  # type: ignore[no-untyped-def]
    assert examine(years) == []
    rng, tried = random.Random(seed), Counter[tuple[str, str]]()
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        path, damage = rng.choice(years.objects(kind)), rng.choice(DAMAGES)
        before = path.read_bytes()
        damage(years, path, rng)
        found = examine(years)
        label = f"{damage.__name__} of {years.name(path)}"
        assert years.name(path) in {each.object for each in found}, label
        assert len(found) == 1, (label, found)
        if number % 5 == 0 or kind in ("packs", "manifests"):
            assert_located(years, found, years.bench.folder / "out")
        path.write_bytes(before)
        tried[kind, damage.__name__] += 1
    assert examine(years) == []
    assert {kind for kind, _ in tried} == set(KINDS)
    record_property("trials", count)


# Without an index object packs tell themselves what they hold; markers concern those who are at work alone, and expire;
# each backup puts the rescue program back.
HARMLESS = ("index", "sessions", "marks", "fences", "rescue")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in HARMLESS])
def test_every_deletion_is_found_and_located(years: Years, kind: str) -> None:
    lawful = [years.bench.place / name for name in years.unneeded]
    for path in years.objects(kind):
        data = path.read_bytes()
        path.unlink()
        found = examine(years)
        # The last key slot is named by its folder.
        assert [each.object for each in found] == (
            [] if path in lawful else ["keys/" if kind == "keys" else years.name(path)]
        )
        if path not in lawful or kind != "manifests":
            assert_located(years, found, years.bench.folder / "out")
        path.write_bytes(data)
    assert examine(years) == []


@pytest.mark.parametrize("kind", HARMLESS)
def test_deletions_that_hit_nothing(years: Years, kind: str) -> None:
    for path in years.objects(kind):
        data = path.read_bytes()
        path.unlink()
        assert examine(years) == []
        assert_located(years, [], years.bench.folder / "out")
        path.write_bytes(data)


@pytest.mark.parametrize("kind", ["packs", "index", "manifests", "keys", "heads", "tombstones"])
def test_swapped_objects_are_found_and_located(years: Years, kind: str) -> None:
    """Two objects of one kind under each other's names; of heads there is one a configuration, so another is made."""
    if len(years.objects(kind)) < 2:
        years.bench.backup(years.source, config_id="other", parent=None)
        if kind == "keys":
            from engine import keyring

            years.bench.open().storage.put(*keyring.wrap(years.bench.keyring, keyring.SERVICE, b"2" * 32))
    one, two = years.objects(kind)[:2]
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    found = examine(years)
    assert {years.name(one), years.name(two)} <= {each.object for each in found}
    assert_located(years, found, years.bench.folder / "out")


def test_objects_that_were_there_once_are_found_when_they_are_put_back(years: Years) -> None:
    """A removed restore point is; an older head is what a killed run leaves, and hides nothing."""
    for name, data in years.older.items():
        path = years.bench.place / name
        now = path.read_bytes() if path.exists() else None
        path.write_bytes(data)
        found = examine(years)
        if name.startswith(layout.MANIFESTS):
            assert [(each.object, each.kind) for each in found] == [(name, "unexpected")]
        else:
            assert found == []
        assert_located(years, found, years.bench.folder / "out")
        path.unlink() if now is None else path.write_bytes(now)


@pytest.mark.parametrize("kind", ["packs", "index", "manifests", "heads", "keys"])
def test_further_objects_of_another_repository_are_named_and_stop_nothing(years: Years, kind: str) -> None:
    place = years.foreign.place
    added = []
    for path in sorted(p for p in (place / kind).rglob("*") if p.is_file()):
        copy = years.bench.place / path.relative_to(place)
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(path, copy)
        added.append(years.name(copy))
    found = {each.object: each.kind for each in examine(years)}
    assert set(found) <= set(added)
    # A key slot of another installation is whole, and opens nothing here.
    assert set(found.values()) == ({"wrong-key"} if kind != "keys" else set())
    assert_located(years, [], years.bench.folder / "out")
    assert years.bench.backup(years.source).is_complete

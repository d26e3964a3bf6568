"""A report may be hours old when a repair acts on it: what became good since then is left where it is."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from engine.progress import Silent
from engine.repository import guide, layout
from engine.repository.check import check
from engine.repository.forget import forget
from engine.repository.repair import Order, Repaired, repair
from engine.storage.base import Buffer
from engine.storage.local import LocalStorage
from tests.engine.test_destinations import Fleet, files_below
from tests.engine.test_heal import flip, packs
from tests.faults.test_bases import BYTES, chain, point, store_each, versions
from tests.support.packs import DATA, Blob, store
from tests.support.trees import write_file

KINDS = ("manifests", "index", "packs", "keys", "tombstones", "rescue")


@pytest.fixture
def fleet(tmp_path: Path, seed: int) -> Fleet:
    """Two destinations with two restore points each, the older of which lies in the trash."""
    made = Fleet(tmp_path)
    for name in made.names:
        made.create(name)
        guide.publish(made.open(name).storage)
    source = tmp_path / "source"
    source.mkdir()
    for number in range(2):
        write_file(source / f"file{number}", random.Random(seed + number), 300_000)
        made.backup(source)
    for name in made.names:
        opened = made.open(name)
        first = next(i for i in opened.manifest_ids() if opened.read_manifest(i).manifest.sequence == 1)
        forget(opened, first, reason="daily 7", now=made.clock())
    return made


def mend(fleet: Fleet, report: Any, *others: str, storage: LocalStorage | None = None) -> Repaired:
    (fleet.folder / "spool").mkdir(exist_ok=True)
    sources = [(other, fleet.open(other)) for other in others]
    tools: dict[str, Any] = {"clock": fleet.clock, "progress": Silent(), "spool": fleet.folder / "spool"}
    return repair("two", fleet.open("two", storage), sources, report, Order(slots={}, host="another"), **tools)


@pytest.mark.parametrize("others", [(), ("one",)], ids=["alone", "with another"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_became_good_since_the_report_stays(fleet: Fleet, kind: str, others: tuple[str, ...]) -> None:
    """Somebody put the damaged objects back, byte for byte, after they had been looked at."""
    place = fleet.bench("two").place
    packs_before = files_below(place, "packs")
    before = {path: path.read_bytes() for path in (place / kind).rglob("*") if path.is_file()}
    for path in before:
        flip(path)
    report = check(fleet.open("two"), progress=Silent())
    assert kind in {each.object.partition("/")[0] for each in report.errors}
    for path, sound in before.items():
        path.write_bytes(sound)
    done = mend(fleet, report, *others)
    assert done.set_aside == {}
    assert {path: path.read_bytes() for path in before} == before
    assert files_below(place, "packs") == packs_before
    assert fleet.bench("two").check().errors == []


class MendsItself(LocalStorage):
    """Somebody puts a sound pack in the place of the damaged one while a repair is at work with it."""

    name = ""
    data: Buffer = b""

    def put(self, name: str, data: Buffer | Path, *, create: bool = True) -> None:
        super().put(name, data, create=create)
        if name.startswith(layout.MARKS):
            super().put(self.name, self.data, create=False)


def test_a_pack_that_became_good_during_the_repair_stays(fleet: Fleet) -> None:
    path = packs(fleet, "two")[0]
    storage = MendsItself(fleet.bench("two").place)
    storage.data, storage.name = path.read_bytes(), layout.pack(bytes.fromhex(path.name))
    flip(path)
    report = check(fleet.open("two"), progress=Silent())
    done = mend(fleet, report, storage=storage)
    assert done.set_aside == {}
    assert path.read_bytes() == storage.data
    assert fleet.bench("two").check().errors == []


class KeepsRequests(LocalStorage):
    """Keeps the requests for packs."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.asked: list[str] = []

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        self.asked += [name] if name.startswith(layout.PACKS) else []
        return super().get(name, offset, length)


@pytest.fixture
def alone(tmp_path: Path) -> Fleet:
    """One empty destination."""
    made = Fleet(tmp_path)
    made.create("two")
    return made


def test_to_see_that_a_pack_is_sound_takes_one_request(alone: Fleet, seed: int) -> None:
    rng, opened = random.Random(seed), alone.open("two")
    point(opened, *store(opened, *(Blob(DATA, rng.randbytes(BYTES)) for _ in range(20))))
    (path,) = packs(alone, "two")
    sound = path.read_bytes()
    flip(path)
    report = check(opened, progress=Silent())
    path.write_bytes(sound)
    storage = KeepsRequests(alone.bench("two").place)
    assert mend(alone, report, storage=storage).set_aside == {}
    assert storage.asked == [layout.pack(bytes.fromhex(path.name))]


def test_a_base_that_is_damaged_speaks_against_its_own_pack_only(alone: Fleet, seed: int) -> None:
    opened = alone.open("two")
    ids, (base, difference) = store_each(opened, chain(versions(seed, 2)))
    point(opened, ids[1])
    paths = [alone.bench("two").place / layout.pack(each) for each in (base, difference)]
    sound = paths[1].read_bytes()
    for path in paths:
        flip(path)
    report = check(opened, progress=Silent())
    assert {each.object for each in report.errors} >= {layout.pack(base), layout.pack(difference)}
    paths[1].write_bytes(sound)
    assert list(mend(alone, report).set_aside) == [layout.pack(base)]

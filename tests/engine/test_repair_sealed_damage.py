"""Damage that was sealed into a pack: its bytes fit its name, at every destination alike, and a blob in it is wrong."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from engine.model.manifest import StreamRoot
from engine.progress import Silent
from engine.repository import mark
from engine.repository.heal import sync
from tests.engine.test_destinations import Fleet
from tests.engine.test_heal import mend
from tests.support.packs import DATA, Blob, blob_id, commit, store

NOW = datetime(2026, 11, 23, tzinfo=UTC)
GOOD, RIGHT, WRONG = b"good" * 20_000, b"right" * 20_000, b"wrong" * 20_000


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    """Two destinations with one restore point of two chunks, the second of which is not what its id says."""
    fleet = Fleet(tmp_path)
    for name in fleet.names:
        fleet.create(name)
    one = fleet.open("one")
    claimed = blob_id(one, Blob(DATA, RIGHT))
    ids = store(one, Blob(DATA, GOOD), Blob(DATA, WRONG), claims={WRONG: claimed})
    lengths = (len(GOOD), len(WRONG))
    chunks = b"".join(id + length.to_bytes(4, "little") + bytes(8) for id, length in zip(ids, lengths, strict=True))
    commit(one, StreamRoot("postgres", "shop", sum(lengths), (2, chunks), {}))
    tools = {"clock": fleet.clock, "progress": Silent(), "spool": fleet.folder}
    sync([("one", fleet.open("one"))], "two", fleet.open("two"), **tools)
    assert len(fleet.bench("two").manifests()) == 1
    return fleet


def test_the_same_pack_from_elsewhere_heals_nothing(fleet: Fleet) -> None:
    done = mend(fleet, "two", "one")
    assert not [name for name in done.put_back if name.startswith("packs/")]
    report = fleet.bench("two").check()
    assert report.sound == []
    assert any(damage.backups for damage in report.errors)


def test_what_opens_of_it_is_stored_anew(fleet: Fleet) -> None:
    mend(fleet, "two", "one")
    two = fleet.open("two")
    found = fleet.bench("two").check().errors
    assert [damage.kind for damage in found if damage.backups] == ["missing"]
    assert blob_id(two, Blob(DATA, GOOD)) in {
        entry for name in two.index_names() for info in two.read_index(name) for entry in _ids(info.directory)
    }


def test_a_bad_pack_that_is_its_pruner_s_is_told(fleet: Fleet) -> None:
    two = fleet.open("two")
    (pack,) = two.list_packs()
    mark.create(two, [pack], now=NOW)
    assert mend(fleet, "two", "one").left == [pack]


def _ids(directory: bytes) -> list[bytes]:
    return [directory[at : at + 32] for at in range(4, len(directory), 48)]

"""What every storage promises (engine/storage/base.py). A new kind joins by a line in `STORAGES`.

`s3` runs over two stores: moto, and SeaweedFS, which checks what it is sent."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from engine.errors import AlreadyExists, NotFound, ShortRead
from engine.storage import KINDS
from engine.storage.base import Storage
from engine.storage.local import LocalStorage

STORAGES: dict[str, Callable[[pytest.FixtureRequest, Path], Storage]] = {
    "local": lambda request, folder: LocalStorage(folder / "repository"),
    "s3-moto": lambda request, folder: request.getfixturevalue("moto").storage(),
    "s3-seaweed": lambda request, folder: request.getfixturevalue("seaweed").storage(),
}
NAME = "packs/ab/" + "ab" * 32


@pytest.fixture(params=STORAGES)
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    made = STORAGES[request.param](request, tmp_path)
    made.initialise()
    yield made
    made.close()


def test_every_kind_is_under_contract() -> None:
    assert {name.partition("-")[0] for name in STORAGES} == set(KINDS)


def test_what_is_put_comes_back(storage: Storage) -> None:
    storage.put(NAME, b"some bytes")
    assert storage.get(NAME) == b"some bytes"
    assert storage.stat(NAME).size == 10


def test_an_empty_object_is_an_object(storage: Storage) -> None:
    storage.put(NAME, b"")
    assert storage.get(NAME) == b""
    assert storage.stat(NAME).size == 0


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_can_be_put(storage: Storage, kind: Callable[[bytes], bytes]) -> None:
    storage.put(NAME, kind(b"buffer"))
    assert storage.get(NAME) == b"buffer"


def test_a_file_can_be_put_and_stays_the_callers(storage: Storage, tmp_path: Path) -> None:
    source = tmp_path / "spooled"
    source.write_bytes(b"x" * 5_000_000)
    storage.put(NAME, source)
    source.unlink()
    assert storage.get(NAME) == b"x" * 5_000_000


def test_an_empty_file_can_be_put(storage: Storage, tmp_path: Path) -> None:
    source = tmp_path / "spooled"
    source.touch()
    storage.put(NAME, source)
    assert storage.get(NAME) == b""


def test_a_name_is_never_rewritten(storage: Storage) -> None:
    storage.put(NAME, b"first")
    with pytest.raises(AlreadyExists):
        storage.put(NAME, b"second")
    assert storage.get(NAME) == b"first"


def test_of_many_writers_of_one_name_exactly_one_wins(storage: Storage) -> None:
    start, won, refused = threading.Barrier(8), [], []

    def write(number: int) -> None:
        start.wait()
        try:
            storage.put(NAME, b"%d" % number * 1000)
            won.append(number)
        except AlreadyExists:
            refused.append(number)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert len(refused) == 7
    assert storage.get(NAME) == b"%d" % won[0] * 1000


def test_heads_can_be_replaced(storage: Storage) -> None:
    storage.put("heads/aa", b"old", create=False)
    storage.put("heads/aa", b"new, and longer", create=False)
    assert storage.get("heads/aa") == b"new, and longer"


def test_ranges(storage: Storage) -> None:
    storage.put(NAME, bytes(range(100)))
    assert storage.get(NAME, 10, 5) == bytes(range(10, 15))
    assert storage.get(NAME, 95) == bytes(range(95, 100))
    assert storage.get(NAME, 0, 0) == b""


def test_a_range_beyond_the_end_is_a_short_read(storage: Storage) -> None:
    storage.put(NAME, b"0123456789")
    with pytest.raises(ShortRead):
        storage.get(NAME, 8, 5)


def test_absence_has_one_name(storage: Storage) -> None:
    for action in (storage.get, storage.stat, storage.delete):
        with pytest.raises(NotFound):
            action(NAME)


def test_delete(storage: Storage) -> None:
    storage.put(NAME, b"x")
    storage.delete(NAME)
    with pytest.raises(NotFound):
        storage.stat(NAME)
    storage.put(NAME, b"again")
    assert storage.get(NAME) == b"again"


def test_an_object_moves_and_overwrites_nothing(storage: Storage) -> None:
    storage.put(NAME, b"moved")
    storage.put("quarantine/taken", b"older")
    storage.move(NAME, "quarantine/new")
    assert storage.get("quarantine/new") == b"moved"
    with pytest.raises(NotFound):
        storage.stat(NAME)
    with pytest.raises(NotFound):
        storage.move(NAME, "quarantine/other")
    with pytest.raises(AlreadyExists):
        storage.move("quarantine/new", "quarantine/taken")
    assert storage.get("quarantine/new") == b"moved"
    assert storage.get("quarantine/taken") == b"older"


def test_list_shows_what_is_below_a_folder_and_nothing_else(storage: Storage) -> None:
    names = {f"packs/{n:02x}/{n:064x}" for n in range(1005)}  # S3 lists a thousand at a time
    with ThreadPoolExecutor(4) as writers:
        list(writers.map(lambda name: storage.put(name, b"12345"), names))
    storage.put("index/" + "cd" * 32, b"other")
    found = {item.name: item.size for item in storage.list("packs/")}
    assert set(found) == names
    assert set(found.values()) == {5}
    assert [item.name for item in storage.list("index/")] == ["index/" + "cd" * 32]
    assert list(storage.list("marks/")) == []


def test_the_whole_place_can_be_listed(storage: Storage) -> None:
    storage.put("holdfast.json", b"{}")
    storage.put(NAME, b"x")
    assert {item.name for item in storage.list("")} == {"holdfast.json", NAME}


def test_ages_are_the_storages_own(storage: Storage) -> None:
    storage.put(NAME, b"x")
    modified_at = storage.stat(NAME).modified_at
    assert modified_at.tzinfo is UTC
    assert abs(datetime.now(UTC) - modified_at) < timedelta(minutes=5)
    assert next(iter(storage.list("packs/"))).modified_at == modified_at


def test_description_names_the_place(storage: Storage) -> None:
    assert storage.describe()

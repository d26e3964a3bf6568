"""A backup that is killed or whose storage fails at any call: earlier points restore, nothing false succeeds."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.backup import Result
from engine.errors import EngineError, Fenced, Unavailable
from engine.repository import layout, mark
from engine.storage.local import LocalStorage
from tests.support.faults import FaultyStorage, kill_this_process, run_and_wait
from tests.support.repositories import Bench
from tests.support.trees import make_tree, snapshot, write_file

State = dict[bytes, tuple[object, ...]]


@pytest.fixture
def prepared(tmp_path: Path, seed: int) -> tuple[Bench, Path, State]:
    """One acknowledged restore point, then a change that the next backup shall store."""
    bench, source, rng = Bench(tmp_path), tmp_path / "source", random.Random(seed)
    bench.create()
    make_tree(source, rng, files=15)
    bench.backup(source)
    before = snapshot(source)
    write_file(source / "new", rng, 400_000)
    write_file(source / "small", rng, 4_000)
    return bench, source, before


def assert_sound(
    bench: Bench, source: Path, before: State, label: str, *, may_have: int, may_rot: bool = False
) -> None:
    """Every point restores: the first as it was, a further one as the source is now; the next run just works. With
    `may_rot` objects may be damaged that no restore point needs."""
    manifests = sorted(bench.manifests(), key=lambda manifest: manifest.sequence)
    assert 1 <= len(manifests) <= 1 + may_have
    for number, manifest in enumerate(manifests):
        bench.restore(manifest, f"{label}-{number}")
        found = snapshot(bench.folder / f"{label}-{number}" / str(source).lstrip("/"))
        assert found == (before if number == 0 else snapshot(source))
    errors = bench.check().errors
    assert [damage for damage in errors if damage.backups or not may_rot] == []
    assert bench.backup(source, **({"parent": None} if may_rot else {})).is_complete
    sequences = sorted(manifest.sequence for manifest in bench.manifests())
    assert sequences == list(range(1, len(sequences) + 1))


def count_calls(bench: Bench, source: Path) -> int:
    """How many storage calls the backup makes, in a child whose result is thrown away with a copy."""
    storage = FaultyStorage(LocalStorage(bench.place), lambda: None, at=1)
    bench.backup(source, storage=storage)
    return storage.calls


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_kill_9_at_every_storage_call(prepared: tuple[Bench, Path, State], after: bool, tmp_path: Path) -> None:
    bench, source, before = prepared
    number = 0
    while True:
        number += 1
        copy = Bench(tmp_path / f"copy{number}", keyring=bench.keyring)
        copy_tree(bench.place, copy.place)
        storage = FaultyStorage(LocalStorage(copy.place), kill_this_process, at=number, after=after)
        status = run_and_wait(lambda c=copy, s=storage: c.backup(source, storage=s))
        if status == 0:
            break  # the backup makes fewer calls than that: all were tried
        assert status == -9
        assert_sound(copy, source, before, f"out{number}", may_have=1)
    assert number > 15


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_storage_that_fails_at_any_call(prepared: tuple[Bench, Path, State], after: bool, tmp_path: Path) -> None:
    bench, source, before = prepared

    def refuse() -> None:
        raise Unavailable("The disk is gone.")

    number, failures = 0, 0
    while True:
        number += 1
        copy = Bench(tmp_path / f"copy{number}", keyring=bench.keyring)
        copy_tree(bench.place, copy.place)
        storage = FaultyStorage(LocalStorage(copy.place), refuse, at=number, after=after)
        succeeded = attempt(lambda c=copy, s=storage: c.backup(source, storage=s, parent=None))
        if not storage.was_hit:
            break
        failures += not succeeded
        assert_sound(copy, source, before, f"out{number}", may_have=1)
    assert failures > 8


def attempt(action: Callable[[], object]) -> bool:
    try:
        action()
    except EngineError:
        return False
    return True


def copy_tree(source: Path, target: Path) -> None:
    import shutil

    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, target)


def test_a_fenced_run_fails_whatever_exists(prepared: tuple[Bench, Path, State]) -> None:
    bench, source, _ = prepared

    class Fencing(FaultyStorage):
        """Fences the session as soon as its manifest is there."""

        def put(self, name, data, *, create=True):  # type: ignore[no-untyped-def]
            super().put(name, data, create=create)
            if name.startswith(layout.MANIFESTS):
                session = bench.open().read_manifest(layout.last_part(name)).manifest.session
                super().put(layout.fence(session), b"fenced")

    with pytest.raises(Fenced, match="taken for dead"):
        bench.backup(source, storage=Fencing(bench.storage(), lambda: None, at=1))


def test_a_pack_in_a_mark_is_not_referred_to(prepared: tuple[Bench, Path, State]) -> None:
    """What a pruner is about to delete is stored again, in a new pack."""
    bench, source, _ = prepared
    opened = bench.open()
    marked = list(opened.list_packs())
    mark.create(opened, marked, now=bench.clock())
    result = bench.backup(source)
    assert result.manifest.totals["filesUnchanged"] == 0
    for name in marked:
        opened.storage.delete(layout.pack(name))
    for item in list(opened.storage.list(layout.INDEX)):
        kept = [info for info in opened.read_index(item.name) if info.name not in marked]
        opened.storage.delete(item.name)
        if kept:
            opened.write_index(kept)
    bench.restore(result.manifest, "out")
    assert snapshot(bench.folder / "out" / str(source).lstrip("/")) == snapshot(source)


def test_a_pack_that_only_the_index_knows_is_stored_again(prepared: tuple[Bench, Path, State]) -> None:
    bench, source, _ = prepared
    opened = bench.open()
    for name in opened.list_packs():
        opened.storage.delete(layout.pack(name))
    results: list[Result] = []
    assert attempt(lambda: results.append(bench.backup(source)))
    assert results[0].manifest.totals["filesUnchanged"] == 0
    assert attempt(lambda: bench.restore(results[0].manifest, "out"))
    assert snapshot(bench.folder / "out" / str(source).lstrip("/")) == snapshot(source)


def test_what_a_killed_run_leaves_in_the_spool_is_removed(prepared: tuple[Bench, Path, State]) -> None:
    bench, source, _ = prepared
    storage = FaultyStorage(bench.storage(), kill_this_process, at=12)
    assert run_and_wait(lambda: bench.backup(source, storage=storage)) == -9
    assert any((bench.folder / "spool").iterdir())
    bench.backup(source)
    assert not any((bench.folder / "spool").iterdir())


def test_a_spool_that_cannot_be_emptied_hides_no_missing_pack(
    prepared: tuple[Bench, Path, State], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ended the thread that uploads, and the run committed without the packs that still waited."""
    bench, source, before = prepared
    unlink, refused = os.unlink, []

    def failing(path: str | Path, **options: int) -> None:
        if Path(path).parent.parent == bench.folder / "spool":
            refused.append(path)
            raise OSError(errno.EIO, "planned")
        unlink(path, **options)

    monkeypatch.setattr(os, "unlink", failing)
    attempt(lambda: bench.backup(source))
    monkeypatch.undo()
    assert refused
    assert bench.check().errors == []
    assert_sound(bench, source, before, "out", may_have=1)

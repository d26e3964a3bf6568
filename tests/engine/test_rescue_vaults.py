"""The rescue program where the objects of two installations lie in one place: what belongs together comes back."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from engine.repository import layout
from tests.engine.test_rescue import Rescue, below
from tests.support.repositories import Bench


def a_repository(folder: Path, text: str) -> Bench:
    """With one restore point of one file that holds the text."""
    bench = Bench(folder)
    bench.create()
    source = folder / "source"
    source.mkdir()
    (source / "file").write_text(text)
    bench.backup(source, config_id=text)
    return bench


@pytest.mark.parametrize("description", ["damaged", "gone"])
def test_two_installations_in_one_place_are_told_apart(tmp_path: Path, description: str) -> None:
    """Somebody poured one repository into another, and both have the same key. As long as holdfast.json says whose
    place it is there is no question; without it none is guessed."""
    ours, theirs = a_repository(tmp_path / "a", "ours"), a_repository(tmp_path / "b", "theirs")
    shutil.copytree(theirs.place, ours.place, dirs_exist_ok=True, ignore=shutil.ignore_patterns(layout.DESCRIPTION))
    run = Rescue(tmp_path, ours.place)
    assert [path.name for path in run.restore().iterdir()] == ["ours"]
    path = ours.place / layout.DESCRIPTION
    path.write_bytes(path.read_bytes()[:-9]) if description == "damaged" else path.unlink()
    refused = run("list", code=1).stderr
    assert "--vault" in refused
    for bench, text in ((ours, "ours"), (theirs, "theirs")):
        vault = bench.keyring.vault.hex()
        assert vault in refused
        out = run.restore("--vault", vault[:6].upper())
        assert (below(out, bench.folder / "source", text) / "file").read_text() == text
        assert [folder.name for folder in out.iterdir()] == [text]
    assert "--vault" in run("list", "--vault", "nothing", code=1).stderr

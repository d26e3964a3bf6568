"""Restores from the pages when something is in the way: a second window, a comparison that failed, a folder that may
not be written to, names that are no text, a server that died."""

from __future__ import annotations

import html
import os
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from engine.errors import TargetError
from engine.progress import Silent
from engine.targets.directory import DirectoryTarget
from tests.webapp.reading import words
from tests.webapp.restoring import draft, restored, shown, start, started
from tests.webapp.shelf import Shelf
from tests.webapp.site import Browser
from webapp.models import Run
from webapp.services import restore_drafts, submit

_MARK = 'class="ok"'


@pytest.fixture
def unwritable(monkeypatch: pytest.MonkeyPatch) -> set[Path]:
    """Folders of which the system says that nothing may be written there: to root it never says so of a mode."""
    folders: set[Path] = set()
    answer = os.access

    def access(path: Path, mode: int) -> bool:
        return not (mode & os.W_OK and Path(path) in folders) and answer(path, mode)

    monkeypatch.setattr(os, "access", access)
    return folders


class _WritesMeanwhile(Silent):
    """Somebody who writes to every restored file just before it is compared."""

    def __init__(self, above: Path) -> None:
        super().__init__()
        self._above = above

    def phase(self, name: str, *, expected: int = 0) -> None:
        for staged in self._above.glob(".holdfast-restore-*") if name == "compare" else ():
            for file in staged.rglob("counter"):
                file.write_bytes(b"something else")


def test_a_comparison_that_failed_is_not_shown_as_passed(shelf: Shelf, admin: Browser, tmp_path: Path) -> None:
    shelf.configure()
    point = shelf.backup()
    run = restored(shelf, point, tmp_path / "out", verify=True, progress=_WritesMeanwhile(tmp_path))
    assert run.state == "failed"
    said = words(admin, f"/restores/{run.public_id}")
    assert "3 differences from the restore point" in said  # size, time and content of one file
    assert "as recorded" not in said
    result = admin.get(f"/restores/{run.public_id}/evidence.json").json["result"]
    assert result["targets"][0]["compared"] == {"differences": 3}


def test_a_restore_with_a_problem_has_no_mark_of_success(shelf: Shelf, admin: Browser, tmp_path: Path) -> None:
    shelf.configure()
    run = restored(shelf, shelf.backup(), tmp_path / "out", verify=True)
    address = f"/restores/{run.public_id}"
    before = _result(admin, address)
    assert _MARK in before
    with shelf.installation.database.transaction() as session:
        session.execute(update(Run).where(Run.id == run.id).values(state="warning"))
    after = _result(admin, address)
    assert ("as recorded" in after, _MARK in after) == (True, False)
    assert "Never tested" in words(admin, "/verification")


def _result(browser: Browser, address: str) -> str:
    page = browser.get(address).text
    return page[page.index('id="result"') : page.index('id="log"')]


def test_start_does_what_its_own_window_shows(shelf: Shelf, admin: Browser, tmp_path: Path) -> None:
    shelf.configure()
    address = draft(admin, shelf.backup())
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    admin.submit(f"{address}/target", where="named", folder=one)
    first = shown(admin, address)
    admin.submit(f"{address}/target", where="named", folder=two)
    second = shown(admin, address)
    refused = start(admin, address, first)
    assert refused.status_code == 409
    assert "It was changed in another window" in refused.text
    assert two in refused.text
    assert started(shelf) == []
    assert admin.submit(f"{address}/start", form=f"{address}/target").status_code == 409
    assert start(admin, address, second).status_code == 303
    assert [submit.unsealed(shelf.installation, run)["targets"] for run in started(shelf)] == [[two]]


@pytest.mark.parametrize("change", ["what", "verify"])
def test_start_does_not_take_what_was_chosen_in_another_window(shelf: Shelf, admin: Browser, change: str) -> None:
    shelf.configure()
    address = draft(admin, shelf.backup())
    admin.submit(f"{address}/target", where="new")
    first = shown(admin, address)
    if change == "what":
        admin.submit(f"{address}/what", only=str(shelf.source / "counter"))
    else:
        admin.submit(f"{address}/target", where="new", verify="y")
    shown(admin, address)
    assert start(admin, address, first).status_code == 409
    assert started(shelf) == []


def test_a_start_that_was_cut_short_can_be_started_again(shelf: Shelf, admin: Browser) -> None:
    shelf.configure()
    address = draft(admin, shelf.backup())
    admin.submit(f"{address}/target", where="new")
    seen = shown(admin, address)
    mine = restore_drafts.find(shelf.installation, "user:maria", address.rsplit("/", 1)[1])
    restore_drafts._claim(shelf.installation, mine)
    assert "is being started" in words(admin, f"{address}/review", 409)
    shelf.hands.now += timedelta(seconds=61)
    assert start(admin, address, seen).status_code == 303
    assert len(started(shelf)) == 1


def test_a_folder_where_nothing_may_be_written_is_refused_at_once(tmp_path: Path, unwritable: set[Path]) -> None:
    target = DirectoryTarget(tmp_path / "new", Silent())
    target.probe(1)
    unwritable.add(tmp_path)
    with pytest.raises(TargetError, match="cannot be made in"):
        target.probe(1)


def test_no_generated_folder_is_offered_where_none_can_be_made(
    shelf: Shelf, admin: Browser, unwritable: set[Path]
) -> None:
    shelf.configure()
    address = draft(admin, shelf.backup())
    assert 'value="new"' in admin.get(f"{address}/target").text
    unwritable.add(shelf.installation.settings.home.parent)
    page = admin.get(f"{address}/target").text
    assert 'value="new"' not in page
    assert "it may not be written to" in page
    refused = admin.submit(f"{address}/target", where="new")
    assert refused.status_code == 422
    assert "cannot be made in" in refused.text


@pytest.mark.parametrize("address", ["files?path=/%ff", "database?name=%ff", "schema?name=%ff"])
def test_names_that_are_no_text_are_not_found(shelf: Shelf, admin: Browser, address: str) -> None:
    shelf.configure()
    answer = admin.get(f"/restore-points/{shelf.backup()}/{address}")
    assert answer.status_code in (404, 422)
    assert "\\udcff" in answer.text


def test_a_part_that_is_no_text_and_is_not_there_is_refused(shelf: Shelf, admin: Browser) -> None:
    shelf.configure()
    address = draft(admin, shelf.backup(), parts="/%ff")
    refused = admin.submit(f"{address}/target", where="new")
    assert refused.status_code == 422
    assert "xff" in refused.text


def test_a_nul_character_in_a_folder_is_refused(shelf: Shelf, admin: Browser) -> None:
    shelf.configure()
    address = draft(admin, shelf.backup())
    refused = admin.submit(f"{address}/target", where="named", folder="/tmp/a\0b")
    assert refused.status_code == 422
    assert "holds a NUL character" in html.unescape(refused.text)

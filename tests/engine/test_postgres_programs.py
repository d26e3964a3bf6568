"""Which client programs are chosen: the server's own version, else the lowest newer one, never an older one."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import SourceError, TargetError
from engine.postgres import programs
from engine.postgres.programs import find_dumper, find_restorer, version_of
from tests.engine.pgfakes.fakes import of_version

V16, V17, V18 = 160004, 170002, 180001


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of which only this folder is looked at: `lib/*/bin` for versioned folders, the rest by PATH."""
    monkeypatch.setattr(programs, "VERSIONED_FOLDERS", (str(tmp_path / "lib/*/bin"),))
    monkeypatch.setattr(programs, "PACKAGES", ())
    return tmp_path


def test_the_same_major_version_wins_wherever_it_lies(installed: Path) -> None:
    for version in ("15.3", "16.9", "18.2"):
        of_version(installed / "lib" / version[:2] / "bin", version)
    in_path = of_version(installed / "path", "17.5")
    found = find_dumper(V16, pg_bin=None, path=str(in_path))
    assert (found.version, found.major, found.warning) == ("16.9", 16, "")
    assert found.path("pg_dump") == str(installed / "lib/16/bin/pg_dump")
    assert find_dumper(V17, pg_bin=None, path=f"/nowhere:{in_path}").folder == in_path


def test_the_lowest_newer_version_comes_with_a_warning(installed: Path) -> None:
    for version in ("15.3", "18.2", "17.4"):
        of_version(installed / "lib" / version[:2] / "bin", version)
    found = find_dumper(V16, pg_bin=None, path="")
    assert found.version == "17.4"
    assert "PostgreSQL 16" in found.warning
    assert "does not restore into PostgreSQL 16" in found.warning


def test_an_older_one_is_refused_with_both_versions(installed: Path) -> None:
    of_version(installed / "lib/15/bin", "15.3")
    of_version(installed / "lib/16/bin", "16.9")
    with pytest.raises(SourceError, match=r"PostgreSQL 18.*16\.9") as caught:
        find_dumper(V18, pg_bin=None, path="")
    assert "PostgreSQL 18" in caught.value.hint


def test_no_program_at_all_says_what_to_install(installed: Path) -> None:
    broken = of_version(installed / "lib/18/bin", "18.1", "pg_dump", "pg_restore")
    (broken / "pg_dump").write_text("#!/bin/sh\nexit 127\n")
    of_version(installed / "only-dump", "18.1", "pg_dump")
    with pytest.raises(SourceError, match="no pg_dump") as caught:
        find_dumper(V18, pg_bin=None, path=str(installed / "only-dump"))
    assert "Install the client programs of PostgreSQL 18" in caught.value.hint


def test_folders_that_cannot_be_looked_into_are_passed_over(installed: Path) -> None:
    in_path = of_version(installed / "path", "18.2")
    assert find_dumper(V18, pg_bin=None, path=f"/{'x' * 5000}:{in_path}").folder == in_path


def test_a_chosen_folder_is_the_only_one(installed: Path) -> None:
    of_version(installed / "lib/18/bin", "18.2")
    chosen = of_version(installed / "mine", "16.1")
    assert find_dumper(V16, pg_bin=chosen, path="").folder == chosen
    with pytest.raises(SourceError, match=str(chosen)):
        find_dumper(V18, pg_bin=chosen, path="")
    with pytest.raises(SourceError, match="no working pg_dump"):
        find_dumper(V18, pg_bin=installed / "empty", path="")


def test_the_wrapper_that_chooses_by_itself_is_passed_over(installed: Path) -> None:
    folder = of_version(installed / "usr", "18.2")
    (folder / "pg_dump").rename(folder / "pg_wrapper")
    (folder / "pg_dump").symlink_to("pg_wrapper")
    with pytest.raises(SourceError, match="no pg_dump"):
        find_dumper(V18, pg_bin=None, path=str(folder))


def test_versions_are_asked_once_as_long_as_the_file_stays(tmp_path: Path) -> None:
    folder = of_version(tmp_path / "bin", "18.2")
    program = folder / "pg_dump"
    program.write_text(f'#!/bin/sh\necho x >> {tmp_path}/asked\necho "pg_dump (PostgreSQL) 18.2 (Debian 18.2-1)"\n')
    assert [version_of(program) for _ in range(3)] == ["18.2"] * 3
    assert (tmp_path / "asked").read_text() == "x\n"
    program.write_text('#!/bin/sh\necho "pg_dump (PostgreSQL) 18.10"\n')
    assert version_of(program) == "18.10"
    assert version_of(tmp_path / "nothing") == ""


def test_programs_of_installed_packages_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "VERSIONED_FOLDERS", ())
    assert find_dumper(V16, pg_bin=None, path="").major == 16
    assert find_dumper(V18, pg_bin=None, path="").major == 18


@pytest.mark.parametrize(
    ("client", "target", "have", "chosen"),
    [
        (16, V16, ("16.9", "18.2"), "16.9"),
        (16, V18, ("16.9", "18.2"), "18.2"),
        (16, V18, ("16.9", "17.2"), "17.2"),
        (18, V17, ("17.2", "18.2"), "18.2"),
        (15, V16, ("15.1", "18.2"), "15.1"),
        (16, 150003, ("15.1", "16.9"), "16.9"),
    ],
)
def test_the_restorer_reads_the_dump_and_suits_the_target(
    installed: Path, client: int, target: int, have: tuple[str, ...], chosen: str
) -> None:
    for version in have:
        of_version(installed / "lib" / version[:2] / "bin", version)
    assert find_restorer(client, target, pg_bin=None, path="").version == chosen


def test_a_new_dump_does_not_go_into_an_old_server(installed: Path) -> None:
    of_version(installed / "lib/18/bin", "18.2")
    with pytest.raises(TargetError, match="pg_dump 18 and does not restore into PostgreSQL 16"):
        find_restorer(18, V16, pg_bin=None, path="")
    with pytest.raises(TargetError, match="needs pg_restore 16"):
        find_restorer(16, V16, pg_bin=None, path="")

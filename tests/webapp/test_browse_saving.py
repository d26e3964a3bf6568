"""What `get` writes appears whole or not at all and overwrites nothing; odd names are spelled as a shell reads them."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from cli import saving
from cli.commands.points import pasteable
from engine.errors import Cancelled
from engine.progress import Silent
from tests.support.command import CommandLine
from tests.webapp.points import Shop
from webapp.errors import ConfirmationNeeded, Invalid, Unavailable
from webapp.services.browsing import Content


def test_what_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    class Stopped(Silent):
        def checkpoint(self) -> None:
            raise Cancelled

    with pytest.raises(Cancelled):
        saving.to_file(content([b"x" * 10]), tmp_path / "new", Stopped(), force=False)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "new"

    def pieces() -> Generator[bytes, None, None]:
        target.write_text("somebody else's")
        yield b"ours"

    with pytest.raises(ConfirmationNeeded):
        saving.to_file(Content("new", 4, pieces()), target, Silent(), force=False)
    assert target.read_text() == "somebody else's"
    assert list(tmp_path.iterdir()) == [target]


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("file")
    for target, error in (
        (tmp_path / "none" / "new", Unavailable),
        (tmp_path / "file" / "new", Unavailable),
        (tmp_path / ("x" * 300), Unavailable),
        (tmp_path / "link", Invalid),
    ):
        with pytest.raises(error, match=r"new|xxx|link"):
            saving.to_file(content([b"y"]), target, Silent(), force=True)
    assert (tmp_path / "file").read_text() == "x"


def test_who_gets_what_is_in_the_audit_log(cli: CommandLine) -> None:
    shop = Shop.at(cli)
    (shop.source / "sub").mkdir()
    (shop.source / "sub" / "letters").write_text("hello")
    shop.configure()
    made = shop.create()
    path = f"{shop.source}/sub"
    cli("get", "shop@latest", f"{path}/letters", "-o", "letters", code=0)
    cli("get", "shop@latest", path, "--as", "tar", "-o", "sub.tar", code=0)
    found = [
        each
        for each in cli("audit", "list", "--json", code=0).json["entries"]
        if each["action"].startswith("download.")
    ]
    found.reverse()
    assert [(each["action"], each["outcome"], each["object"]) for each in found] == [
        ("download.begun", "done", made),
        ("download.ended", "done", made),
    ] * 2
    assert [each["after"]["form"] for each in found] == ["file", "file", "tar", "tar"]
    assert {each["identity"].partition(":")[0] for each in found} == {"local"}


def content(pieces: list[bytes]) -> Content:
    return Content("name", sum(map(len, pieces)), (piece for piece in pieces))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain name", "plain name"),
        ("it's", "it's"),
        ("\x1b[31m", r"$'\x1b[31m'"),
        ("a'\n\\", r"$'a\'\x0a\\'"),
        ("\udcff\u202e", r"$'\xff\xe2\x80\xae'"),
        ("$'a'", r"$'$\'a\''"),
    ],
)
def test_names_as_a_shell_reads_them(name: str, shown: str) -> None:
    assert pasteable(name) == shown

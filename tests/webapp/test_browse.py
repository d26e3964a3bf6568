"""`show`, `ls`, `get` and `diff` on real restore points of folders: exact, safe for a terminal, nothing half."""

from __future__ import annotations

import json
import os
import random
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli.commands.points import pasteable
from cli.exits import exit_code
from engine.repository.reader import open_reader
from tests.support.command import CommandLine
from tests.support.forked import ForkedCommandLine
from tests.support.repositories import Bench
from tests.support.trees import ODD_NAMES
from tests.webapp.points import Shop, harm
from webapp.errors import ServiceError
from webapp.installation import Installation, open_installation
from webapp.models import Backup
from webapp.services import browsing
from webapp.services.differences import differences
from webapp.settings import read_settings

BIG = 3_000_000
SPARSE = 20 << 20
DEEP = 1050


@dataclass(frozen=True)
class Made:
    """Two restore points of one folder, what changed between them, and one of another configuration."""

    shop: Shop
    installation: Installation
    first: str
    second: str
    other: str

    def point(self, name: str = "") -> browsing.Point:
        return browsing.open_point(self.installation, name or self.second, tell=lambda text: None)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    cli = ForkedCommandLine(tmp_path_factory.mktemp("browse"))
    shop = Shop.at(cli)
    shop.configure()
    shop.configure("other")
    fill(shop.source)
    first = shop.create()
    (shop.source / "changed").write_text("longer than before")
    (shop.source / "mode").chmod(0o640)
    os.utime(shop.source / "touched", ns=(1, 1))
    (shop.source / "removed").unlink()
    (shop.source / "below" / "added").write_text("new")
    second, other = shop.create(), shop.create("other")
    installation = open_installation(read_settings({"HOLDFAST_HOME": str(cli.home)}))
    yield Made(shop, installation, first, second, other)
    installation.close()
    cli.close()


def fill(folder: Path) -> None:
    rng = random.Random(7)
    (folder / "below" / "deeper").mkdir(parents=True)
    (folder / "empty").mkdir()
    for name in ODD_NAMES:
        with open(os.path.join(os.fsencode(folder), b"below", name), "wb") as file:
            file.write(name)
    (folder / "below" / "deeper" / "big").write_bytes(rng.randbytes(BIG))
    for name in ("changed", "mode", "removed", "touched"):
        (folder / name).write_text(name)
    with (folder / "sparse").open("wb") as file:
        file.write(b"begin")
        file.seek(SPARSE - 3)
        file.write(b"end")
    (folder / "link").symlink_to("changed")
    os.mkfifo(folder / "fifo")


def test_the_roots_are_listed(made: Made) -> None:
    cli, root = made.shop.cli, str(made.shop.source)
    answer = cli("ls", made.second, "--json", code=0).json
    assert (answer["backupId"], answer["path"]) == (made.second, None)
    (entry,) = answer["entries"]
    files = sum(path.is_file() and not path.is_symlink() for path in made.shop.source.rglob("*"))
    assert (entry["path"], entry["kind"], entry["files"]) == (root, "folder", files)
    assert root in cli("ls", "shop@latest", code=0).stdout


def test_a_folder_is_listed_exactly(made: Made) -> None:
    path = made.shop.path("below")
    answer = made.shop.cli("ls", made.second, path, "--json", code=0).json
    listed = {os.fsencode(entry["name"]): entry for entry in answer["entries"]}
    assert listed.keys() == set(os.listdir(os.fsencode(path)))
    for child, entry in listed.items():
        status = os.lstat(os.path.join(os.fsencode(path), child))
        assert entry["mode"] == f"{stat.S_IMODE(status.st_mode):04o}"
        assert (entry["uid"], entry["gid"], entry["modifiedNs"]) == (status.st_uid, status.st_gid, status.st_mtime_ns)
        assert entry["size"] == (status.st_size if stat.S_ISREG(status.st_mode) else None)


def test_every_kind_of_entry_is_named(made: Made) -> None:
    found = {entry.name: entry for entry in browsing.entries(made.point(), str(made.shop.source))}
    assert found[b"link"].target == b"changed"
    kinds = {name: found[name].kind for name in (b"below", b"changed", b"fifo", b"link")}
    assert kinds == {b"below": "folder", b"changed": "file", b"fifo": "fifo", b"link": "link"}
    assert {entry.name for entry in browsing.entries(made.point(), made.shop.path("changed") + "/")} == {b"changed"}
    assert list(browsing.entries(made.point(), made.shop.path("empty"))) == []
    assert browsing.file_mode(found[b"below"]).startswith("drwx")


def test_folders_above_lead_to_what_was_backed_up(made: Made) -> None:
    above = made.shop.source.parent
    for path in (str(above), f"{above}//", "/"):
        (entry,) = browsing.entries(made.point(), path)
        assert os.fsdecode(entry.name) in made.shop.source.parts
        assert (entry.kind, entry.mode) == ("folder", None)
    assert made.shop.cli("ls", made.second, str(above), code=0).stdout.startswith("d?????????  ")


def test_names_do_no_harm_to_a_terminal_and_can_be_pasted(made: Made) -> None:
    text = made.shop.cli("ls", made.second, made.shop.path("below"), code=0).stdout
    assert all(sign.isprintable() or sign == "\n" for sign in text)
    lines = text.splitlines()
    names = {os.fsdecode(name) for name in os.listdir(os.fsencode(made.shop.path("below")))}
    assert len(lines) == len(names)
    for name in names:
        assert any(line.endswith(f"  {pasteable(name)}") for line in lines)
    spelled = [name for name in map(pasteable, names) if name.startswith("$'")]
    assert len(spelled) >= 4
    back = subprocess.run(
        ["bash", "-c", "printf '%s\\0' " + " ".join(spelled)], capture_output=True, check=True
    ).stdout.split(b"\0")[:-1]
    assert [os.fsencode(name) for name in names if pasteable(name).startswith("$'")] == back


def test_a_file_comes_back_byte_for_byte(made: Made) -> None:
    shop = made.shop
    target = shop.cli.folder / "odd"
    target.mkdir()
    for name in (b"\x80\xff\xfe", b"x" * 255):
        shop.cli("get", made.second, shop.path(b"below/" + name), "-o", target, code=0)
        with open(os.path.join(os.fsencode(target), name), "rb") as file:
            assert file.read() == name
    assert len(os.listdir(target)) == 2
    point = made.point()
    for name in ODD_NAMES:
        found = browsing.content(point, shop.path(b"below/" + name))
        assert (b"".join(found.pieces), found.size, os.fsencode(found.name)) == (name, len(name), name)


def test_a_large_file_goes_to_a_new_file_or_to_stdout(made: Made) -> None:
    shop, path = made.shop, made.shop.path("below/deeper/big")
    content = Path(path).read_bytes()
    assert shop.cli("get", made.first, path, "-o", "-", code=0).output == content
    answer = shop.cli("get", made.first, path, "--json", code=0).json
    written = shop.cli.folder / "big"
    assert answer == {"backupId": made.first, "path": path, "output": str(written), "bytes": BIG}
    assert written.read_bytes() == content
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    written.unlink()


def test_holes_come_back_as_zeros_and_take_no_space(made: Made) -> None:
    shop = made.shop
    shop.cli("get", made.second, shop.path("sparse"), code=0)
    written = shop.cli.folder / "sparse"
    assert written.read_bytes() == Path(shop.path("sparse")).read_bytes()
    assert written.stat().st_blocks * 512 < SPARSE // 4
    written.unlink()


def test_a_file_that_is_there_is_not_overwritten(made: Made) -> None:
    shop = made.shop
    target = shop.cli.folder / "mine"
    target.write_text("precious")
    outcome = shop.cli("get", made.second, shop.path("changed"), "-o", "mine", code=5)
    assert "exists; it is not overwritten" in outcome.stderr
    assert target.read_text() == "precious"
    shop.cli("get", made.second, shop.path("changed"), "-o", "mine", "--force", code=0)
    assert target.read_text() == "longer than before"
    os.mkfifo(shop.cli.folder / "pipe")
    shop.cli("get", made.second, shop.path("changed"), "-o", "pipe", "--force", code=2)
    assert stat.S_ISFIFO((shop.cli.folder / "pipe").stat().st_mode)
    assert {path.name for path in shop.cli.folder.iterdir() if path.name.startswith(".")} == set()


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("below", 2, "is a folder; `get` writes one file or one dump."),
        ("", 2, "is a folder"),
        ("..", 2, "is a folder"),
        ("link", 2, "is a link to changed"),
        ("fifo", 2, "has no content"),
        ("nothing", 10, "is not in the restore point"),
        (b"below/\xfe\xff", 10, "is not in the restore point"),
        ("changed/below", 10, "is not in the restore point"),
    ],
)
def test_what_has_no_bytes_is_told_in_a_sentence(made: Made, name: str | bytes, code: int, words: str) -> None:
    with pytest.raises(ServiceError, match=words) as raised:
        browsing.content(made.point(), made.shop.path(name))
    assert exit_code(raised.value) == code


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["show", "bk_zzzz"], 10, "There is no restore point bk_zzzz."),
        (["ls", "bk_"], 2, "More than one restore point begins with bk_"),
        (["get", "shop@latest", "relative"], 10, "Paths begin with /"),
        (["get", "shop@latest", "/x", "-o", "-", "--json"], 2, "leave --json out"),
        (["get", "shop@latest", "/x", "-o", "-", "--force"], 2, "--force is about a file"),
        (["diff", "shop@latest", "nobody@latest"], 10, "nobody"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_is_told_in_a_sentence(made: Made, arguments: list[str], code: int, words: str) -> None:
    outcome = made.shop.cli(*arguments, code=code)
    assert words in outcome.stderr
    if "--json" in arguments:
        assert words in json.loads(outcome.output)["error"], "with --json stdout is one document, also of an error"
    else:
        assert outcome.output == b""
    assert "Traceback" not in outcome.stderr


def test_an_id_may_be_cut_short(made: Made) -> None:
    assert made.point(made.second[:12]).backup.public_id == made.second
    assert made.point(made.second.removeprefix("bk_")[:12]).backup.public_id == made.second
    assert made.point("shop@latest").backup.public_id == made.second


def test_show_tells_all_of_it(made: Made) -> None:
    shop = made.shop
    answer = shop.cli("show", made.second, "--json", code=0).json
    assert (answer["configId"], answer["sequence"], answer["parentId"]) == ("shop", 2, made.first)
    assert (answer["type"], answer["status"]) == ("files", "succeeded")
    assert (answer["problemCount"], answer["problems"]) == (0, [])
    assert answer["configuration"]["id"] == "shop"
    assert answer["folders"][0]["path"] == str(shop.source)
    assert answer["files"]["new"] == 1
    assert [copy["status"] for copy in answer["destinations"]] == ["present"]
    text = shop.cli("show", made.second, code=0).stdout
    for expected in (made.second, made.first, "number 2", str(shop.source), "present", "1 new"):
        assert expected in text


def test_what_changed(made: Made) -> None:
    shop = made.shop
    expected = [
        f"added     {shop.path('below/added')}",
        f"changed   {shop.path('changed')}",
        f"metadata  {shop.path('mode')}",
        f"metadata  {shop.path('touched')}",
        f"removed   {shop.path('removed')}",
    ]
    outcome = shop.cli("diff", made.first, made.second, code=0)
    assert sorted(outcome.stdout.splitlines()) == expected
    assert outcome.stderr == "1 added, 1 removed, 1 changed, 2 metadata.\n"
    back = shop.cli("diff", made.second, made.first, "--json", code=0).json
    assert back["summary"] == {"added": 1, "removed": 1, "changed": 1, "metadata": 2}
    assert {(each["change"], each["path"]) for each in back["changes"]} == {
        ("removed", shop.path("below/added")),
        ("changed", shop.path("changed")),
        ("metadata", shop.path("mode")),
        ("metadata", shop.path("touched")),
        ("added", shop.path("removed")),
    }


def test_what_did_not_change_also_between_configurations(made: Made) -> None:
    assert list(differences(made.point(), made.point())) == []
    other = made.shop.cli("diff", made.second, made.other, code=0)
    assert other.output == b""
    assert other.stderr == "Note: these are of different configurations, shop and other.\nNo differences.\n"


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """A folder and its innermost folder. Removed level by level: what removes tests' folders calls itself for each."""
    top = bottom = tmp_path / "deep"
    top.mkdir()
    for _ in range(DEEP):
        bottom = bottom / "d"
        bottom.mkdir()
    yield top, bottom
    (bottom / "file").unlink(missing_ok=True)
    while bottom != tmp_path:
        bottom.rmdir()
        bottom = bottom.parent


def test_a_deep_tree_is_listed_and_compared(tmp_path: Path, deep: tuple[Path, Path]) -> None:
    top, bottom = deep
    bench = Bench(tmp_path / "bench")
    bench.create()
    (bottom / "file").write_text("one")
    before = bench.backup(top).manifest
    (bottom / "file").write_text("two")
    after = bench.backup(top).manifest
    reader = open_reader(bench.open())
    points = [browsing.Point(Backup(public_id="bk_x"), manifest, reader) for manifest in (before, after)]
    assert [(each.what, each.path) for each in differences(*points)] == [("changed", str(bottom / "file"))]
    assert [entry.name for entry in browsing.entries(points[0], str(bottom))] == [b"file"]


@pytest.mark.parametrize("arguments", [("get", "below/deeper/big", "-o", "-"), ("ls", "below"), ("show",)])
def test_a_reader_that_goes_away_is_no_crash(made: Made, arguments: tuple[str, ...]) -> None:
    command, *rest = arguments
    words = [made.shop.path(word) if word.startswith("below") else word for word in rest]
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end) as closed:
        outcome = subprocess.run(
            [sys.executable, "-P", "-m", "cli", command, made.second, *words],
            env={**made.shop.cli.base_environment(), **made.shop.cli.environment},
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (outcome.returncode, outcome.stderr) == (1, "")


def test_the_wrong_key_shows_nothing(made: Made) -> None:
    outcome = made.shop.cli("show", made.second, env={"BACKUP_ENCRYPTION_KEY": "ab" * 32}, code=12)
    assert outcome.output == b""


def test_damage_ends_with_6_and_leaves_nothing(cli: CommandLine) -> None:
    shop = Shop.at(cli)
    shop.configure()
    (shop.source / "file").write_bytes(random.Random(1).randbytes(BIG))
    (shop.source / "taken").write_text("old")
    point = shop.create()
    harm(cli.home / "backups")
    (cli.folder / "taken").write_text("precious")
    outcome = cli("get", point, shop.path("file"), code=6)
    assert outcome.stderr.startswith("Error: ")
    cli("get", point, shop.path("file"), "-o", "taken", "--force", code=6)
    assert [path.name for path in cli.folder.iterdir()] == ["taken"]
    assert (cli.folder / "taken").read_text() == "precious"


def test_a_folder_is_got_as_tar_or_zip(made: Made) -> None:
    cli, folder = made.shop.cli, made.shop.path("below")
    answer = cli("get", made.second, folder, "--as", "tar", "--json", code=0).json
    assert Path(answer["output"]).name == "below.tar"
    with tarfile.open(answer["output"]) as archive:
        assert archive.extractfile("below/deeper/big").read() == (made.shop.source / "below/deeper/big").read_bytes()
    assert cli("get", made.second, folder, "--as", "zip", "-o", "-", code=0).output.startswith(b"PK")
    assert "is not a folder" in cli("get", made.second, made.shop.path("changed"), "--as", "zip", code=2).stderr

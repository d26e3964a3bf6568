"""Everything is destroyed but one destination and the code on paper: the commands of docs/operating.md bring it back,
and so does the rescue program alone."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.keyring import new_recovery_code
from engine.repository import guide
from tests.e2e_cli.shop import Shop, told
from tests.support import pages
from tests.support.bare import BareMachine
from tests.support.command import CHECKOUT
from tests.support.postgres import PostgresServer, fresh_database
from tests.support.trees import snapshot

PAGE = (CHECKOUT / "docs" / "operating.md").read_text(encoding="utf-8")
CODE = re.compile(r"(?:[A-Z2-7]{4}-\s*){13}[A-Z2-7]{4}")
ROWS = "SELECT n AS id, 'order ' || n AS text FROM generate_series(1, 500) n"
COUNT = "SELECT count(*), md5(string_agg(o::text, ',' ORDER BY o.id)) FROM orders o"


@dataclass
class Lost:
    """What is left of an installation: a disk, a page of paper, and what everything looked like."""

    shop: Shop
    server: PostgresServer
    nas: Path
    code: str
    kit: str
    uploads: dict[bytes, tuple[object, ...]]
    rows: list[tuple[object, ...]]


@pytest.fixture
def lost(shop: Shop, postgres: PostgresServer, tmp_path: Path) -> Iterator[Lost]:
    nas = tmp_path / "mnt" / "nas"
    nas.parent.mkdir()
    with sqlite3.connect(shop.uploads.parent / "notes.db") as notes:
        notes.execute("CREATE TABLE notes AS SELECT 'remember' AS text")
    with fresh_database(postgres) as name:
        postgres.query(name, f"CREATE TABLE orders AS {ROWS}")
        shop.cli.environment |= {"DATABASE_URL": postgres.url(name)}
        databases = [{"url": "${DATABASE_URL}"}, {"url": f"sqlite:///{shop.uploads.parent}/notes.db"}]
        sources = {"databases": databases, "paths": [{"path": str(shop.uploads)}]}
        shop.cli("destination", "add", "nas", "--path", nas, code=0)
        shop.cli("create", "--file", shop.write(type="full", sources=sources, destinations=[{"ref": "nas"}]), code=0)
        kit = shop.cli("key", "kit", code=0).stdout
        (code,) = CODE.findall(kit)
        left = Lost(
            shop, postgres, nas, "".join(code.split()), kit, snapshot(shop.uploads), postgres.query(name, COUNT)
        )
        shutil.rmtree(shop.cli.home)
        shutil.rmtree(shop.uploads.parent)
        postgres.drop_database(name)
        yield left


def test_the_page_brings_a_destroyed_installation_back_in_at_most_ten_commands(lost: Lost, tmp_path: Path) -> None:
    section = PAGE.partition("## A destroyed installation")[2].partition("\n## ")[0]
    steps = pages.steps(section)
    assert 0 < len(steps) <= 10
    programs, new, folder = tmp_path / "bin", tmp_path / "new", tmp_path / "typed"
    programs.mkdir()
    folder.mkdir()
    (folder / "code.txt").write_text(lost.code)
    (programs / "backup-cli").write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m cli "$@"\n')
    (programs / "backup-cli").chmod(0o755)
    server = lost.server.url("shop")
    environment = {
        "PATH": f"{programs}:{lost.server.bin}:{os.environ.get('PATH', os.defpath)}",
        "PYTHONPATH": str(CHECKOUT),
        "LANG": "C.UTF-8",
        "HOLDFAST_HOME": str(tmp_path / "new-home"),
        "NAS": str(lost.nas),
        "NEW": str(new),
        "SERVER": server.rpartition("/")[0],
        "DATABASE_URL": server,
    }
    before = lost.shop.uploads
    try:
        printed = pages.run(steps[:-2], folder=folder, environment=environment)
        assert snapshot(new / "files" / str(before).lstrip("/")) == lost.uploads
        assert "shop" in lost.server.databases(), printed[-1]
        assert lost.server.query("shop", COUNT) == lost.rows
        shutil.move(new / "files" / str(before.parent).lstrip("/"), before.parent)
        printed += pages.run(steps[-2:], folder=folder, environment=environment)
        different = [said for step, output in zip(steps, printed, strict=True) if (said := step.differs(output))]
        assert not different, "\n\n".join(different)
        assert len(printed) == len(steps)
    finally:
        if "shop" in lost.server.databases():
            lost.server.drop_database("shop")
    lost.shop.cli.environment |= {"HOLDFAST_HOME": environment["HOLDFAST_HOME"], "DATABASE_URL": server}
    listed = lost.shop.points()
    assert len(listed) == 2
    assert lost.shop.cli("verify", "--json", code=0).json["errors"] == []
    assert (
        "does not open"
        in lost.shop.cli("rescue", "list", "--repository", lost.nas, "--recovery-code", lost.code, code=12).stderr
    )  # the new kit has a new code


def test_the_program_at_the_destination_needs_nothing_of_ours(lost: Lost, tmp_path: Path) -> None:
    (program,) = (lost.nas / "rescue").iterdir()
    assert guide.program_hash() in lost.kit
    assert program.name == f"{guide.program_hash()}.py"
    done = BareMachine(tmp_path)(program, "check", "--repository", lost.nas, "--recovery-code", "-", input=lost.code)
    assert done.code == 0, done


def typed(page: str, **places: object) -> list[list[str]]:
    """The commands of a RECOVER.md, with what its reader writes for the words in capitals."""
    lines = [line.strip() for line in page.splitlines() if line.startswith("    ")]
    return [[str(places.get(word.replace("-", "_"), word)) for word in line.split()] for line in lines]


def test_the_page_at_the_destination_is_true_without_holdfast(lost: Lost, tmp_path: Path) -> None:
    """Its commands in their order, where nothing of ours is installed."""
    bare, out = BareMachine(tmp_path), tmp_path / "out"
    page = (lost.nas / "RECOVER.md").read_text().partition("## Without Holdfast")[2]
    (program,), sha256sum, (digest,), install, *steps = typed(page, THIS_FOLDER=lost.nas, NEW_FOLDER=out)
    copy = bare.folder / "rescue.py"
    copy.write_bytes((lost.nas / program).read_bytes())
    printed = subprocess.run(sha256sum, cwd=bare.folder, capture_output=True, text=True, check=True).stdout
    assert printed.split()[0] == digest == guide.program_hash()
    assert install[-2:] == ["cryptography", "zstandard"]
    rescues = [words for words in steps if words[:2] == ["python3", "rescue.py"]]
    assert [words[2] for words in rescues] == ["list", "restore"]
    for words in rescues:
        done = bare(copy, *words[2:], input=lost.code)
        assert done.code == 0, done
        assert "shop" in done.stdout + done.stderr
    found = out / "shop"
    assert snapshot(found / str(lost.shop.uploads).lstrip("/")) == lost.uploads
    with sqlite3.connect(found / "notes.db") as notes:
        assert notes.execute("SELECT text FROM notes").fetchall() == [("remember",)]
    (dump,) = found.glob("*.dump")
    loads = typed(page, **{"NAME": dump.stem, "NAME.dump": dump})[-2:]
    server = lost.server
    environment = {
        "PGHOST": server.host,
        "PGPORT": str(server.port),
        "PGUSER": server.user,
        "PGPASSWORD": server.password,
    }
    try:
        for words in loads:
            subprocess.run([server.bin / words[0], *words[1:]], env=environment, check=True)
        assert server.query(dump.stem, COUNT) == lost.rows
    finally:
        server.drop_database(dump.stem)


def test_the_page_at_the_destination_is_true_with_holdfast(lost: Lost, tmp_path: Path) -> None:
    run, out = lost.shop.cli, tmp_path / "out"
    page = (lost.nas / "RECOVER.md").read_text().partition("## Without Holdfast")[0]
    attach, listed, restore = typed(page, NAME="nas", THIS_FOLDER=lost.nas, NEW_FOLDER=out)
    run(*attach[1:], input=lost.code, code=0)
    backups = re.findall(r"bk_\w+", run(*listed[1:], code=0).stdout)
    run(*[backups[0] if word == "ID" else word for word in restore[1:]], code=0)
    assert snapshot(out / str(lost.shop.uploads).lstrip("/")) == lost.uploads


def test_the_command_is_the_same_program(lost: Lost, tmp_path: Path) -> None:
    run = lost.shop.cli
    place = ("--repository", lost.nas, "--recovery-code", "-")
    assert "shop" in run("rescue", "list", *place, input=lost.code, code=0).stdout
    groups = "".join(lost.code.split()).split("-")
    two_lines = "-".join(groups[:7]) + "-\n" + "-".join(groups[7:]) + "\n"  # as on the page
    assert "shop" in run("rescue", "list", *place, input=two_lines, code=0).stdout
    run("rescue", "restore", *place, "--to", tmp_path / "out", input=lost.code, code=0)
    assert snapshot(tmp_path / "out" / "shop" / str(lost.shop.uploads).lstrip("/")) == lost.uploads
    assert not run.home.exists()
    run("rescue", "list", *place, input="nonsense", code=12)
    run("rescue", "list", code=2)
    assert "--recovery-code" in run("rescue", "--help", code=0).stdout


def test_attaching_with_nothing_or_the_wrong_thing(lost: Lost, tmp_path: Path) -> None:
    run = lost.shop.cli
    (tmp_path / "empty").mkdir()
    assert "holds no repository" in told(run("destination", "attach", "nas", "--path", tmp_path / "empty", code=1))
    assert "is not there" in told(run("destination", "attach", "nas", "--path", tmp_path / "none", code=1))
    assert "There is no encryption key" in told(run("destination", "attach", "nas", "--path", lost.nas, code=12))
    wrong = ("destination", "attach", "nas", "--path", lost.nas, "--recovery-code", "-")
    assert "56 letters" in told(run(*wrong, input="short", code=12))
    assert "does not open" in told(run(*wrong, input=new_recovery_code(), code=12))
    assert not (run.home / "keys").exists()
    assert not list(run.home.glob("backup.key"))

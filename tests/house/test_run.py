"""The script `run` itself: set-up once, from any folder, two at a time, and one sentence when something is missing.

A stand-in for uv takes the place of the download; the real thing is what brought the environment of these tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.tree import CHECKOUT

MODULE = """
import json, os, sys

print(json.dumps({"cwd": os.getcwd(), "arguments": sys.argv[1:], "bytecode": sys.dont_write_bytecode}))
"""
UV = """#!/bin/sh
set -eu
echo "$*" >>"{log}"
sleep 0.05
case $1 in
venv)
    for folder; do :; done
    mkdir -p "$folder/bin"
    ln -s "{python}" "$folder/bin/python"
    ;;
pip)
    if [ -e "{broken}" ]; then
        echo "no route to the index" >&2
        exit 1
    fi
    ;;
esac
"""


class Checkout:
    """A small checkout in a path with spaces, with the real `run` and a stand-in for uv first on PATH."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "a check out"
        self.log = folder / "uv.log"
        self.broken = folder / "broken"
        self.cwd = folder / "else where"
        self.script = self.root / "run"
        for part in ("cli", "engine", "webapp"):
            (self.root / part).mkdir(parents=True)
        self.cwd.mkdir()
        shutil.copy(CHECKOUT / "run", self.root / "run")
        (self.root / "cli/__init__.py").touch()
        (self.root / "cli/__main__.py").write_text(MODULE, encoding="utf-8")
        (self.root / "requirements.lock").write_text("one==1\n", encoding="utf-8")
        (folder / "bin").mkdir()
        uv = folder / "bin/uv"
        uv.write_text(UV.format(log=self.log, python=sys.executable, broken=self.broken), encoding="utf-8")
        uv.chmod(0o755)
        (folder / "bin/python3.13").symlink_to(sys.executable)
        self.environment = {"PATH": f"{folder / 'bin'}:{os.defpath}"}

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["/bin/sh", self.script, *arguments],
            cwd=self.cwd,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        process = self.start(*arguments, **environment)
        output, errors = process.communicate(timeout=60)
        return process.returncode, output, errors

    def installs(self) -> int:
        return sum(line.startswith("pip install") for line in self.log.read_text(encoding="utf-8").splitlines())


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_it_sets_up_once_and_again_when_the_lock_changed(checkout: Checkout) -> None:
    first = checkout.run("backup-cli")
    assert first[0] == 0, first
    assert "Setting up" in first[2]
    assert checkout.run("backup-cli")[2] == ""
    assert checkout.installs() == 1
    (checkout.root / "requirements.lock").write_text("one==2\n", encoding="utf-8")
    assert "Setting up" in checkout.run("backup-cli")[2]
    assert checkout.installs() == 2
    assert "--require-hashes" in checkout.log.read_text(encoding="utf-8")


def test_the_user_stays_where_they_are(checkout: Checkout) -> None:
    (checkout.cwd / "cli.py").write_text("raise SystemExit('the wrong module')", encoding="utf-8")
    code, output, _ = checkout.run("backup-cli", "get", "a b", "--to=./c", PYTHONDONTWRITEBYTECODE="1")
    assert code == 0
    assert f'"cwd": "{checkout.cwd}"' in output
    assert '"arguments": ["get", "a b", "--to=./c"]' in output
    assert '"bytecode": false' in output
    assert (checkout.root / "cli/__pycache__").is_dir()


def test_a_link_to_it_stands_for_it(checkout: Checkout) -> None:
    """A relative link to an absolute one, as a folder of PATH may hold it."""
    (checkout.cwd / "bin").mkdir()
    (checkout.cwd / "absolute").symlink_to(checkout.root / "run")
    checkout.script = checkout.cwd / "bin/holdfast"
    checkout.script.symlink_to("../absolute")
    code, output, errors = checkout.run("backup-cli", "list")
    assert code == 0, errors
    assert '"arguments": ["list"]' in output
    assert (checkout.root / ".venv").is_dir()
    checkout.script = Path("bin/holdfast")
    assert checkout.run("backup-cli", "list")[0] == 0
    assert checkout.installs() == 1


def test_two_at_once_set_up_once(checkout: Checkout) -> None:
    both = [checkout.start("backup-cli"), checkout.start("backup-cli")]
    errors = [process.communicate(timeout=60)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    assert checkout.installs() == 1


def test_a_failed_set_up_says_why_and_the_next_run_works(checkout: Checkout) -> None:
    checkout.broken.touch()
    code, output, errors = checkout.run("backup-cli")
    assert (code, output) == (1, "")
    assert "no route to the index" in errors
    assert "Setting up failed while installing requirements.lock" in errors
    checkout.broken.unlink()
    assert checkout.run("backup-cli")[0] == 0


def test_a_killed_set_up_is_begun_again(checkout: Checkout) -> None:
    process = checkout.start("backup-cli")
    while not checkout.log.exists():
        assert process.poll() is None
    process.kill()
    process.communicate()
    code, _, errors = checkout.run("backup-cli")
    assert code == 0, errors


def test_somebody_elses_environment_is_left_alone(checkout: Checkout) -> None:
    (checkout.root / ".venv/bin").mkdir(parents=True)
    code, _, errors = checkout.run("backup-cli")
    assert code == 1
    assert "was not made by this script" in errors
    assert not checkout.log.exists()
    assert checkout.run("backup-cli", HOLDFAST_VENV="mine")[0] == 0
    assert (checkout.cwd / "mine/installed/requirements.lock").is_file()


def test_an_old_python_gets_one_sentence(checkout: Checkout, tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    for program in ("sh", "cmp", "ls", "mkdir"):
        found = shutil.which(program, path=os.defpath)
        assert found is not None
        (old / program).symlink_to(found)
    (old / "python3").write_text('#!/bin/sh\n[ "$1" = --version ] || exit 1\necho Python 3.9.2\n', encoding="utf-8")
    (old / "python3").chmod(0o755)
    code, _, errors = checkout.run("backup-cli", PATH=str(old))
    assert code == 1
    assert errors.count("\n") == 1
    assert "needs Python 3.11, 3.12 or 3.13, and on PATH is Python 3.9.2" in errors


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [(["bench"], "benchmarks/bench.py is not built yet."), (["nonsense"], "There is no ./run nonsense.")],
)
def test_what_is_not_there_ends_with_two(checkout: Checkout, arguments: list[str], sentence: str) -> None:
    code, output, errors = checkout.run(*arguments)
    assert (code, output) == (2, "")
    assert sentence in errors

"""The locks: versions and hashes of every package, no addresses, and the tests' lock holds the users' lock."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.support.tree import CHECKOUT

LOCKS = ("requirements.lock", "requirements-dev.lock")


def packages(lock: str) -> dict[str, str]:
    """Each package of a lock: its name and everything that is said of it."""
    text = (CHECKOUT / lock).read_text(encoding="utf-8")
    blocks = re.split(r"\n(?=[a-z0-9])", text.rstrip("\n"))
    return {re.split(r"[=\[ ]", block)[0]: block for block in blocks}


def named(requirements: list[str]) -> set[str]:
    return {re.split(r"[^A-Za-z0-9_.-]", requirement)[0].replace(".", "-") for requirement in requirements}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_is_versions_and_hashes(lock: str) -> None:
    entry = re.compile(r"[a-z0-9-]+==\S+( ; [^\\\n]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+")
    assert {name: block for name, block in packages(lock).items() if not entry.fullmatch(block)} == {}


def test_the_lock_of_the_tests_holds_the_lock_of_the_users() -> None:
    """The same versions and hashes; for which machines may differ, as the tests need some packages everywhere."""
    everything, users = (
        {name: re.sub(r" ;[^\\\n]+(?= )", "", block) for name, block in packages(lock).items()}
        for lock in ("requirements-dev.lock", "requirements.lock")
    )
    assert {name: block for name, block in users.items() if everything.get(name) != block} == {}


def test_the_locks_hold_what_the_project_asks_for() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    assert named(project["project"]["dependencies"]) - packages("requirements.lock").keys() == set()
    assert named(project["dependency-groups"]["dev"]) - packages("requirements-dev.lock").keys() == set()

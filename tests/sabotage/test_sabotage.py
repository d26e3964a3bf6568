"""Each patch of this folder is noticed by the test that it names; by default one patch, with --full all of them."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from tests.sabotage.run import Sabotage, patches, read, table, try_all
from tests.support import tree


def patch_of_this_tree() -> Path:
    """Another patch whenever a file changes, the same one for the same tree: every patch has its turn."""
    digest = hashlib.sha256()
    for path in tree.files():
        digest.update((tree.CHECKOUT / path).read_bytes())
    return patches()[int.from_bytes(digest.digest()[:8]) % len(patches())]


def assert_caught(sabotages: list[Sabotage]) -> None:
    verdicts = try_all(sabotages)
    assert all(verdict.caught for verdict in verdicts), "\n" + table(verdicts)


def test_one_broken_protection_is_noticed() -> None:
    assert_caught([read(patch_of_this_tree())])


@pytest.mark.full
def test_every_broken_protection_is_noticed() -> None:
    assert_caught([read(path) for path in patches()])


def test_every_patch_says_what_it_breaks_and_names_a_test() -> None:
    for path in patches():
        file = read(path).test.partition("::")[0]
        assert (tree.CHECKOUT / file).is_file(), f"{path.name} names {file}, which is not there"


def test_every_patch_still_applies() -> None:
    commands = {path.name: ["git", "apply", "--check", str(path)] for path in patches()}
    done = {name: subprocess.run(command, cwd=tree.CHECKOUT, check=False) for name, command in commands.items()}
    assert [name for name, each in done.items() if each.returncode] == []


def test_a_harmless_patch_is_told_from_a_broken_protection(tmp_path: Path) -> None:
    def patch(name: str, old: str, new: str) -> Sabotage:
        text = f"--- a/tests/house/__init__.py\n+++ b/tests/house/__init__.py\n@@ -1 +1 @@\n-{old}\n+{new}\n"
        (tmp_path / name).write_text(
            f"breaks: nothing\ntest: tests/house/test_sizes.py::test_the_tree_is_seen\n\n{text}", encoding="utf-8"
        )
        return read(tmp_path / name)

    line = (tree.CHECKOUT / "tests/house/__init__.py").read_text(encoding="utf-8").rstrip("\n")
    verdicts = try_all(
        [
            patch("harmless.patch", line, f"{line}  # harmless"),
            patch("stale.patch", "a line that is not there", line),
            patch("crash.patch", line, "import no_such_module"),
        ]
    )
    results = [verdict.result for verdict in verdicts]
    assert results[0] == "NOT NOTICED"
    assert results[1].startswith("does not apply")
    assert not any(verdict.caught for verdict in verdicts), table(verdicts)

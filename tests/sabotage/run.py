"""Breaks one protection after another in a copy of the tree and demands that the named test then fails.

usage: python -m tests.sabotage.run [PATCH…]   (all patches of this folder without arguments)
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support import tree

FOLDER = Path(__file__).resolve().parent
# How pytest reports a check that did not hold; anything else (an import that fails, a KeyError) proves nothing.
ASSERTIONS = ("assert", "AssertionError", "Failed:", "DID NOT RAISE")
CAUGHT = "caught"


@dataclass(frozen=True)
class Sabotage:
    """One patch: what it breaks, in words, and the pytest id of the test that must notice."""

    path: Path
    breaks: str
    test: str


@dataclass(frozen=True)
class Verdict:
    """`result` is `caught`, or says why the proof failed."""

    sabotage: Sabotage
    result: str

    @property
    def caught(self) -> bool:
        return self.result == CAUGHT


def patches(folder: Path = FOLDER) -> list[Path]:
    """Every patch, by name."""
    return sorted(folder.glob("*.patch"))


def read(path: Path) -> Sabotage:
    """The header of a patch. Raises ValueError when a line of it is missing."""
    header = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith(("diff --git ", "--- ")):
            break
        key, _, value = line.partition(":")
        header[key.strip().lower()] = value.strip()
    missing = [key for key in ("breaks", "test") if not header.get(key)]
    if missing:
        raise ValueError(f"{path.name} does not say `{missing[0]}: …` before the diff")
    return Sabotage(path, header["breaks"], header["test"])


def try_all(sabotages: Sequence[Sabotage]) -> list[Verdict]:
    """One verdict for each, in order. A test must pass on the untouched copy, or its failing says nothing."""
    with copy_of_the_tree() as folder:
        healthy = outcomes(folder, {sabotage.test for sabotage in sabotages})
    verdicts = []
    for sabotage in sabotages:
        before = healthy.get(sabotage.test, "not found")
        verdicts.append(Verdict(sabotage, attempt(sabotage) if before == "passed" else f"unbroken tree: {before}"))
    return verdicts


def attempt(sabotage: Sabotage) -> str:
    """Applies the patch to a fresh copy and runs its test there: `caught`, or why not."""
    with copy_of_the_tree() as folder:
        environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(folder.parent)}
        applied = subprocess.run(
            ["git", "apply", "--whitespace=nowarn", str(sabotage.path)],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if applied.returncode:
            return f"does not apply: {applied.stderr.strip().splitlines()[0]}"
        outcome = outcomes(folder, [sabotage.test]).get(sabotage.test, "not found")
    if outcome == "passed":
        return "NOT NOTICED"
    return CAUGHT if outcome.startswith(ASSERTIONS) else f"no assertion failed: {outcome}"


@contextmanager
def copy_of_the_tree() -> Iterator[Path]:
    """The project's files in a folder of their own, without git and without the environment."""
    with tempfile.TemporaryDirectory(prefix="holdfast-sabotage-") as name:
        folder = Path(name).resolve() / "tree"
        for path in tree.files():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(tree.CHECKOUT / path, folder / path)
        yield folder


def outcomes(folder: Path, tests: Iterable[str]) -> dict[str, str]:
    """Runs the tests in `folder`: `passed`, or the beginning of what went wrong, for each that was found.

    A test with parameters may be named without them: then it has passed only if every variant did.
    """
    report = folder.parent / "report.xml"
    report.unlink(missing_ok=True)
    wanted = sorted(set(tests))
    command = [sys.executable, "-P", "-m", "pytest", "-p", "no:cacheprovider", "-o", "junit_family=xunit1", "--full"]
    done = subprocess.run(
        [*command, "--seed=1", f"--junitxml={report}", f"--rootdir={folder}", f"-c{folder}/pyproject.toml", *wanted],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if not report.exists():
        return dict.fromkeys(wanted, f"pytest did not run: {(done.stdout + done.stderr).strip()[-200:]}")
    found: dict[str, str] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        outcome = _outcome(case)
        for test in wanted:
            if _is_case_of(case, test) and found.get(test, "passed") == "passed":
                found[test] = outcome
    return found


def _is_case_of(case: ElementTree.Element, test: str) -> bool:
    file, *inner = test.split("::")
    name = case.get("name", "")
    same_name = name == inner[-1] or ("[" not in inner[-1] and name.partition("[")[0] == inner[-1])
    same_class = case.get("classname", "").endswith(".".join([Path(file).stem, *inner[:-1]]))
    return case.get("file") == file and same_name and same_class


def _outcome(case: ElementTree.Element) -> str:
    for kind in ("error", "failure", "skipped"):
        part = case.find(kind)
        if part is not None:
            message = " ".join((part.get("message") or "").split())[:150]
            return message if kind == "failure" else f"{kind}: {message}"
    return "passed"


def table(verdicts: Sequence[Verdict]) -> str:
    """For people: patch, verdict, what it breaks and the test that noticed."""
    rows = [
        (verdict.sabotage.path.stem, verdict.result, verdict.sabotage.breaks, verdict.sabotage.test)
        for verdict in verdicts
    ]
    rows.insert(0, ("patch", "verdict", "breaks", "test"))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]) for row in rows
    )


def main(arguments: Sequence[str]) -> int:
    chosen = [Path(argument).resolve() for argument in arguments] or patches()
    verdicts = try_all([read(path) for path in chosen])
    print(table(verdicts))
    print(f"{sum(verdict.caught for verdict in verdicts)} of {len(verdicts)} caught")
    return 0 if all(verdict.caught for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Nothing in the tree names somebody's machine or a package registry's address, or puts work off without a number."""

from __future__ import annotations

import re

import pytest

from tests.support import tree

# Put together from parts, so that this file does not hold what it looks for.
UNFINISHED = re.compile(
    r"\b(?:" + "|".join(["TO" + "DO", "FIX" + "ME", "X" * 3 + r"(?=[:( ])", "HA" + "CK"]) + r")\b(?!.{0,3}#\d)"
)
PRIVATE_FOLDERS = "|".join(["work", "farm", "root", r"Users/\w+", r"opt/(?:wheels|pypi)"])
MACHINE_PATH = re.compile(r"(?<![\w.@}*:/-])/(?:" + PRIVATE_FOLDERS + r")/")
REGISTRIES = [("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("npmjs", "com")]
REGISTRY = re.compile(
    "|".join([r"\.".join(host) for host in REGISTRIES] + [r"https?://\S+/simp" + r"le\b", r"https?://regis" + r"try\."])
)
CODE = {".py", ".sh", ".js", ".css", ".html", ".toml", ".yaml", ".yml", ""}


def matches(pattern: re.Pattern[str], *, suffixes: set[str] | None = None) -> list[str]:
    """`file:line: text` of every line of the tree that matches."""
    return [
        f"{path}:{number}: {line.strip()[:120]}"
        for path in tree.files()
        if suffixes is None or path.suffix in suffixes
        for number, line in enumerate(tree.text(path).splitlines(), 1)
        if pattern.search(line)
    ]


def test_work_that_is_put_off_has_an_issue() -> None:
    assert matches(UNFINISHED, suffixes=CODE) == []


def test_no_machine_is_named() -> None:
    assert matches(MACHINE_PATH) == []


def test_no_registry_is_named() -> None:
    assert matches(REGISTRY) == []


@pytest.mark.parametrize(
    ("pattern", "line", "found"),
    [
        (UNFINISHED, "# TO" + "DO: later", True),
        (UNFINISHED, "# TO" + "DO(#12): later", False),
        (MACHINE_PATH, "path = '/ro" + "ot/x'", True),
        (MACHINE_PATH, "path = '/Us" + "ers/me/x'", True),
        (MACHINE_PATH, "path = '/srv/wo" + "rk/x'", False),
        (MACHINE_PATH, "url = 'http://host/ro" + "ot/x'", False),
        (REGISTRY, "https://py" + "pi.org/project/x", True),
        (REGISTRY, "a simple sentence", False),
    ],
)
def test_the_patterns_find_what_they_look_for(pattern: re.Pattern[str], line: str, found: bool) -> None:
    assert bool(pattern.search(line)) == found

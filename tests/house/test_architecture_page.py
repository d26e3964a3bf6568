"""docs/architecture.md has a place for every module of the services: nobody finds the right one of so many without."""

from __future__ import annotations

import re

from tests.support.tree import CHECKOUT

_ROW = re.compile(r"^\|(?! Subject )(?!-).*\|(.+)\|$", re.MULTILINE)


def test_every_module_of_the_services_has_its_place_once() -> None:
    page = (CHECKOUT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = page.split("## The services by subject")[1].split("\n## ")[0]
    named = [name for row in _ROW.findall(section) for name in re.findall(r"`(\w+)`", row)]
    there = {path.stem for path in (CHECKOUT / "webapp" / "services").glob("*.py")} - {"__init__"}
    assert sorted(named) == sorted(there)

"""docs/testing.md names tests that exist: a row that points nowhere would be a promise that nothing keeps."""

from __future__ import annotations

import re

from tests.support.tree import CHECKOUT

PAGE = (CHECKOUT / "docs" / "testing.md").read_text(encoding="utf-8")


def test_every_test_that_the_page_names_exists() -> None:
    named = re.findall(r"`(tests/[\w/.]+)(?:::(\w+))?`", PAGE)
    assert len(named) > 40
    missing = [
        f"{path}::{test}"
        for path, test in named
        if not (CHECKOUT / path).exists()
        or (test and f"def {test}(" not in (CHECKOUT / path).read_text(encoding="utf-8"))
    ]
    assert missing == []

"""Links inside the project lead somewhere: files exist, and so do the headings behind a `#`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support import tree

LINK = re.compile(r"!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
OUTSIDE = re.compile(r"^[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def without_code(markdown: str) -> str:
    """The text without fenced blocks and code spans: what looks like a link there is none."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^(```|~~~).*?^\1", "", markdown, flags=re.DOTALL | re.MULTILINE))


def anchors(markdown: str) -> set[str]:
    """The anchors that a reader's program makes of the headings."""
    found: set[str] = set()
    text = re.sub(r"^(```|~~~).*?^\1", "", markdown, flags=re.DOTALL | re.MULTILINE)
    for heading in re.findall(r"^#{1,6}\s+(.*?)\s*#*$", text, flags=re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).strip().replace(" ", "-")
        count = 0
        while slug + (f"-{count}" if count else "") in found:
            count += 1
        found.add(slug + (f"-{count}" if count else ""))
    return found


def broken_links(path: Path, markdown: str, root: Path = tree.CHECKOUT) -> list[str]:
    """The targets in `markdown`, a document at `path` below `root`, that lead nowhere."""
    broken = []
    for target in LINK.findall(without_code(markdown)):
        if OUTSIDE.match(target):
            continue
        name, _, anchor = target.partition("#")
        file = root / path.parent / name
        content = markdown if not name else file.read_text("utf-8") if file.suffix == ".md" and file.is_file() else None
        if not file.exists() or (anchor and content is not None and anchor not in anchors(content)):
            broken.append(target)
    return broken


def test_links_inside_the_project_lead_somewhere() -> None:
    documents = [path for path in tree.files() if path.suffix == ".md"]
    found = {str(path): broken_links(path, tree.text(path)) for path in documents}
    assert {path: links for path, links in found.items() if links} == {}


@pytest.mark.parametrize(
    ("link", "broken"),
    [
        ("[a](other.md)", []),
        ("[a](other.md#a-heading)", []),
        ("[a](#own-one)", []),
        ("![a](missing.png)", ["missing.png"]),
        ("[a](other.md#no-heading)", ["other.md#no-heading"]),
        ("[a](#nowhere)", ["#nowhere"]),
        ("[a](https://example.com/x) `[b](code.md)`", []),
    ],
)
def test_the_check_follows_links(tmp_path: Path, link: str, broken: list[str]) -> None:
    (tmp_path / "other.md").write_text("# A `heading`\n", encoding="utf-8")
    assert broken_links(Path("page.md"), f"# Own one\n{link}\n", tmp_path) == broken

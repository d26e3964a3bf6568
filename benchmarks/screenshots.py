"""Pictures of every page in both themes and three widths, from the real service on a filled home: `./run screenshots`
puts them into `screenshots/`, and three of them, smaller, into docs/images/ for the README."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page

from benchmarks import showroom as rooms
from benchmarks.showroom import CHECKOUT, Showroom
from tests.browser.addresses import addresses

DAYS = 30
WIDTHS, THEMES = (375, 1024, 1440), ("light", "dark")
HEIGHTS = {375: 812, 1024: 768, 1440: 900}
# name → (path, theme): what the README shows.
CHOSEN = {
    "overview": ("/", "light"),
    "restore-point": ("/restore-points/{point}/files?path={uploads}/2026/invoices", "light"),
    "overview-dark": ("/", "dark"),
}
CHOSEN_SIZE = {"width": 1200, "height": 880}


def main() -> int:
    """Starts the service, takes the pictures, ends it."""
    parser = argparse.ArgumentParser(prog="./run screenshots", description=__doc__)
    parser.add_argument("--to", type=Path, default=CHECKOUT / "screenshots", help="where the pictures go")
    parser.add_argument("--days", type=int, default=DAYS, help="how many days of backups the pages show")
    parser.add_argument("--only", default="", help="only addresses that begin so")
    parser.add_argument("--readme", action="store_true", help="only the pictures of the README, into docs/images")
    options = parser.parse_args()
    if rooms.program() is None:
        print(f"Pictures need Chromium; looked for {', '.join(rooms.PROGRAMS)} on PATH.", file=sys.stderr)
        return 1
    with (
        tempfile.TemporaryDirectory(prefix="holdfast-showroom-") as folder,
        rooms.opened(Path(folder), days=options.days) as showroom,
        rooms.chromium() as browser,
    ):
        if not options.readme:
            _all(browser, showroom, options.to, options.only)
        if not options.only:
            _for_the_readme(browser, showroom)
    return 0


def _all(browser: Browser, showroom: Showroom, to: Path, only: str) -> None:
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir(parents=True)
    pages = [each.path for each in addresses(showroom) if each.path.startswith(only)]
    for theme in THEMES:
        page = _window(browser, showroom, theme, "sue")
        for path in pages:
            fetched = page.request.get(path)
            if not fetched.text().startswith("<!doctype html>"):
                continue
            page.goto(path)
            for width in WIDTHS:
                page.set_viewport_size({"width": width, "height": HEIGHTS[width]})
                page.screenshot(path=to / f"{_named(path, showroom)}-{theme}-{width}.png", full_page=True)
        page.context.close()
    print(f"{len(list(to.iterdir()))} pictures in {to}")


def _for_the_readme(browser: Browser, showroom: Showroom) -> None:
    images = CHECKOUT / "docs" / "images"
    for name, (path, theme) in CHOSEN.items():
        page = _window(browser, showroom, theme, "adam")
        page.set_viewport_size(CHOSEN_SIZE)  # type: ignore[arg-type]
        page.goto(path.format(point=showroom.filled.point, uploads=showroom.filled.uploads))
        page.screenshot(path=images / f"{name}.png")
        page.context.close()
        print(images / f"{name}.png", (images / f"{name}.png").stat().st_size)


def _window(browser: Browser, showroom: Showroom, theme: str, name: str) -> Page:
    state = rooms.state_of(browser, showroom, name)
    scheme = "dark" if theme == "dark" else "light"
    return browser.new_context(base_url=showroom.address, storage_state=state, color_scheme=scheme).new_page()  # type: ignore[arg-type]


def _named(path: str, showroom: Showroom) -> str:
    return rooms.named(path.replace(showroom.filled.point, "point"))


if __name__ == "__main__":
    sys.exit(main())

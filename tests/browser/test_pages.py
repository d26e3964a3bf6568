"""Every page, as Chromium shows it: nothing for axe to find, a quiet console, no sideways scroll, light, no strangers.

The list of pages is the application's own. By default each page is looked at in one theme and width; in all with
`--full`."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import BrowserContext

from benchmarks.showroom import Showroom
from tests.browser import looking
from tests.browser.addresses import SIGHTED, Address, addresses

LOOKS = [("light", 1440), ("dark", 375), ("dark", 1440), ("light", 375)]
Open = Callable[..., BrowserContext]


@pytest.fixture(scope="package")
def every(showroom: Showroom) -> list[Address]:
    found = addresses(showroom)
    assert len(found) > 15
    return found


def look_at(context: BrowserContext, showroom: Showroom, chosen: list[Address], width: int) -> dict[str, list[str]]:
    """What is wrong, by page. What answers with something else than a page (a table for a spreadsheet, a part of a
    page) is not looked at."""
    ears, found = looking.Ears(), {}
    ears.listen(context, urlsplit(showroom.address).netloc)
    page = context.new_page()
    for address in chosen:
        fetched = context.request.get(address.path)
        if not fetched.text().startswith("<!doctype html>"):
            assert fetched.ok, f"{address}: {fetched.status}"
            continue
        page.set_viewport_size({"width": width, "height": looking.HEIGHT})
        answer = page.goto(address.path)
        assert answer is not None
        faults = [] if answer.ok else [f"status {answer.status}"]
        faults += looking.faults(page, answer) + looking.too_wide(page) + ears.taken()
        if faults:
            found[f"{address} at {width}"] = faults
    return found


@pytest.mark.parametrize(("theme", "width"), LOOKS)
def test_pages(
    open_as: Open, showroom: Showroom, every: list[Address], theme: str, width: int, request: pytest.FixtureRequest
) -> None:
    number = LOOKS.index((theme, width))
    chosen = every if request.config.getoption("--full") else every[number :: len(LOOKS)]
    found = look_at(open_as(SIGHTED, color_scheme=theme), showroom, chosen, width)
    assert found == {}, "\n".join(f"{where}: {'; '.join(what)}" for where, what in found.items())


@pytest.mark.parametrize("path", ["/sign-in", "/nothing-here", "/api/docs"])
def test_pages_of_nobody(open_as: Open, showroom: Showroom, path: str) -> None:
    page = open_as("").new_page()
    answer = page.goto(path)
    assert answer is not None
    assert answer.status == (404 if path == "/nothing-here" else 200)
    assert looking.faults(page, answer) + looking.too_wide(page) == []


def test_the_eyes_see(open_as: Open) -> None:
    """A look that finds nothing in a bad page would find nothing anywhere."""
    page = open_as("").new_page()
    page.set_content("<img src=x><button>x</button>")
    assert any("image-alt" in each for each in looking.axe(page))
    page.set_content(
        "<main id=a><p id=a><a href=/1>more</a> <a href=/2>more</a><button form=b>of a long name</button>"
        "<svg class=chart aria-labelledby=c><text x=-9 y=9>9</text></svg></main>"
    )
    assert looking.marks(page) == [
        *("a stands 2 times", "form=b leads nowhere", "aria-labelledby=c leads nowhere"),
        *("cut: c", "reads like another link: more", 'small: <button form="b">of a long name</button>'),
    ]
    page.set_content("<div class=tw aria-label=list><table class=rsp><td>x</table></div>")
    page.evaluate("document.querySelector('.tw').style.overflow = 'auto'")
    page.evaluate("document.querySelector('table').style.width = '2000px'")
    assert looking.too_wide(page) == [f"the table list scrolls sideways at {width}" for width in looking.WIDTHS]
    page.set_content("<div id=wide>x</div>")
    page.evaluate("document.getElementById('wide').style.width = '2000px'")
    assert looking.too_wide(page) == [f"scrolls sideways at {width}" for width in looking.WIDTHS]

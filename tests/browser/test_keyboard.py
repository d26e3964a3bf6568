"""Without a mouse: from signing in to the plan of a restore by keys alone, and through whole pages by Tab. Where the
focus is can be seen at every step, nothing holds it, and nothing is passed over."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Route, expect

from benchmarks import showroom as rooms
from benchmarks.showroom import PASSWORD, Showroom
from tests.browser import looking
from tests.browser.addresses import SIGHTED, addresses

Open = Callable[..., BrowserContext]
MOST_TABS = 150
PARTS = 8

# The ring is drawn round what has the focus; round a choice of which only the words are shown, round these.
_HAS_RING = """() => [document.activeElement, document.activeElement.nextElementSibling].some(each => {
    const style = each && getComputedStyle(each);
    return style && style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
})"""
_IS_IT = "each => each === document.activeElement"
# What Tab must reach, in this order, and with how many steps in it: a date has day, month, year and calendar. Of
# choices that exclude each other one is reached, as browsers do it.
_BEGIN = """() => {
    const all = [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex='0']")]
        .filter(each => each.tabIndex >= 0 && !each.disabled && each.type !== "hidden" && each.checkVisibility())
        .filter(each => each.type !== "radio" || each.checked);
    const ring = %s;
    window.met = [];
    document.addEventListener("focusin", event => window.met.push(
        [all.indexOf(event.target), ring(), event.target.outerHTML.slice(0, 120)]));
    return all.map(each => [each.type === "date" ? 4 : 1, each.outerHTML.slice(0, 120)]);
}"""


def tab_to(page: Page, wanted: Locator) -> None:
    """Presses Tab until it has the focus, which must be seen wherever it is."""
    expect(wanted).to_be_visible()
    for _ in range(MOST_TABS):
        page.keyboard.press("Tab")
        assert page.evaluate(_HAS_RING), page.evaluate("document.activeElement.outerHTML")
        if wanted.evaluate(_IS_IT):
            return
    raise AssertionError(f"{MOST_TABS} times Tab did not lead to {wanted}")


def follow(page: Page, role: str, name: str) -> None:
    """Goes by Tab to what has this name, and presses Enter on it."""
    tab_to(page, page.get_by_role(role, name=name).first)  # type: ignore[arg-type]
    page.keyboard.press("Enter")


def fill(page: Page, label: str, text: str) -> None:
    tab_to(page, page.get_by_label(label, exact=True))
    page.keyboard.type(text)


def skip_to_the_content(page: Page) -> None:
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()


def sign_in(page: Page, name: str) -> None:
    page.goto("/sign-in")
    fill(page, "Name", name)
    fill(page, "Password", PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1, name="Overview")).to_be_visible()


def test_from_signing_in_to_the_plan_of_a_restore(
    open_as: Open, chromium: Browser, showroom: Showroom, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "letter.txt").write_text("worth keeping")
    rooms.state_of(chromium, showroom, "adam")  # who has changed the one-time password
    page = open_as("").new_page()
    sign_in(page, "adam")

    follow(page, "link", "Backups")
    page.wait_for_url("**/backups")
    skip_to_the_content(page)
    follow(page, "link", "New backup")
    page.wait_for_url("**/backups/new")
    skip_to_the_content(page)
    fill(page, "Name", "By keys alone")
    fill(page, "Id", "keys")
    tab_to(page, page.get_by_label("Type", exact=True))
    page.keyboard.press("End")
    fill(page, "Folders", str(source))
    tab_to(page, page.get_by_role("checkbox").first)
    before = page.get_by_role("checkbox").first.is_checked()
    page.keyboard.press("Space")
    assert page.get_by_role("checkbox").first.is_checked() is not before
    page.keyboard.press("Space")
    follow(page, "button", "Store this backup")
    page.wait_for_url("**/backups/keys#main")  # the browser keeps the place in the page where the form began

    follow(page, "button", "Run now")
    page.wait_for_url("**/runs/run_*")
    expect(page.get_by_role("main").get_by_text("Succeeded", exact=True).first).to_be_visible()
    follow(page, "link", "bk_")
    page.wait_for_url("**/restore-points/bk_*")
    skip_to_the_content(page)
    follow(page, "link", "Look inside")
    page.wait_for_url("**/files")
    skip_to_the_content(page)
    follow(page, "link", str(source))
    page.wait_for_url(re.compile(r"/files\?path="))
    skip_to_the_content(page)
    tab_to(page, page.get_by_role("checkbox", name="Choose letter.txt"))
    page.keyboard.press("Space")
    follow(page, "button", "Restore these…")

    page.wait_for_url("**/target")
    skip_to_the_content(page)
    follow(page, "link", "What to restore")
    page.wait_for_url("**/what")
    skip_to_the_content(page)
    follow(page, "button", "Next: where to")
    page.wait_for_url("**/target#main")
    tab_to(page, page.get_by_label("New places with generated names"))
    page.keyboard.press("ArrowDown")
    expect(page.get_by_label("New places that I name")).to_be_checked()
    fill(page, "New folder", str(tmp_path / "restored"))
    follow(page, "button", "Show what will be done")
    expect(page.get_by_role("main")).to_contain_text("Nothing has been done yet.")


@pytest.mark.parametrize("width", [1440, 375])
def test_tab_reaches_everything_once_and_leaves(
    open_as: Open, showroom: Showroom, width: int, request: pytest.FixtureRequest
) -> None:
    every = [each for each in addresses(showroom) if each.endpoint != "styleguide.index"]
    chosen = every if request.config.getoption("--full") else every[width % PARTS :: PARTS]
    page = open_as(SIGHTED, viewport={"width": width, "height": looking.HEIGHT}).new_page()
    page.route("**/*", still)
    found = {}
    for address in chosen:
        fetched = page.request.get(address.path)
        if fetched.text().startswith("<!doctype html>"):
            page.goto(address.path)
            faults = walked(page)
            if faults:
                found[f"{address} at {width}"] = faults
    assert found == {}


def still(route: Route) -> None:
    """Parts of a page that fetch themselves anew stay as they are: what is replaced in mid-walk cannot be met."""
    if route.request.resource_type == "fetch":
        route.abort()
    else:
        route.continue_()


def walked(page: Page) -> list[str]:
    """What is wrong with the way by Tab through the page that is open."""
    targets = page.evaluate(_BEGIN % _HAS_RING)
    for _ in range(sum(stops for stops, _ in targets)):
        page.keyboard.press("Tab")
    met = page.evaluate("window.met")
    order = [number for number, _, _ in met]
    found = [f"no ring: {what}" for _, has_ring, what in met if not has_ring]
    found += [f"reached without being one: {what}" for number, _, what in met if number < 0]
    found += [f"never reached: {targets[number][1]}" for number in range(len(targets)) if number not in order]
    if not found and order != list(range(len(targets))):
        found.append(f"order: {order}")
    if 'class="skip"' not in targets[0][1]:
        found.append(f"first: {targets[0][1]}")
    page.keyboard.press("Tab")
    if not page.evaluate("document.activeElement.matches('body, .skip')"):
        found.append("Tab does not leave the page after its last target")
    return found

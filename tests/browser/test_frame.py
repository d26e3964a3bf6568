"""What the script does for every page, in a real browser: the theme, keys, copying, fragments that fall silent."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import BrowserContext, Page, Route, expect

from benchmarks.showroom import Showroom

Open = Callable[..., BrowserContext]


def background(page: Page) -> str:
    return str(page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))


def test_the_theme_is_chosen_and_stays(open_as: Open) -> None:
    page = open_as("adam", color_scheme="light").new_page()
    page.goto("/")
    light = background(page)
    page.get_by_role("group", name="Theme").get_by_text("Dark").click()
    dark = background(page)
    assert dark != light
    page.goto("/runs")
    assert background(page) == dark
    page.get_by_role("group", name="Theme").get_by_text("Auto").click()
    assert background(page) == light


def test_keys_go_and_can_be_switched_off(open_as: Open) -> None:
    page = open_as("adam").new_page()
    page.goto("/")
    for key, path in (("r", "/runs"), ("b", "/backups"), ("o", "/")):
        page.keyboard.press("g")
        page.keyboard.press(key)
        page.wait_for_url(f"**{path}")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    page.evaluate("localStorage.keys = 'off'")
    page.reload()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_hidden()


def test_the_first_tab_skips_to_the_content(open_as: Open) -> None:
    page = open_as("adam").new_page()
    page.goto("/backups")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()


def test_what_is_copied_is_what_stands_there(open_as: Open, showroom: Showroom) -> None:
    context = open_as("adam")
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=showroom.address)
    page = context.new_page()
    page.goto("/styleguide")
    page.get_by_role("button", name="Copy").first.click()
    expect(page.locator("#told")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == "backup-cli list"


LIVE = '<div id="part" data-live="/live-part" data-every="50"><p data-phase>Reading</p></div>'


def with_a_part(page: Page, answer: Callable[[Route], None]) -> None:
    """The page of the runs with a part of its own that is answered so."""

    def with_part(route: Route) -> None:
        got = route.fetch()
        route.fulfill(response=got, body=got.text().replace("</main>", f"{LIVE}</main>"))

    page.route("**/runs", with_part)
    page.route("**/live-part", answer)
    page.goto("/runs")


def test_a_part_that_falls_silent_says_so_and_recovers(open_as: Open) -> None:
    is_away = [True]
    page = open_as("adam").new_page()

    def answer(route: Route) -> None:
        if is_away[0]:
            route.abort()
        else:
            route.fulfill(status=200, content_type="text/html", body="<p data-phase>Uploading</p>")

    with_a_part(page, answer)
    notice = page.get_by_text("Not updated since")
    expect(notice).to_be_visible()
    expect(page.locator("#part")).to_have_attribute("data-stale", "")
    is_away[0] = False
    expect(notice).to_be_hidden()
    expect(page.locator("#part")).to_have_text("Uploading")
    expect(page.locator("#told")).to_have_text("Uploading")


def test_a_part_that_ends_loads_the_page_again(open_as: Open) -> None:
    page = open_as("adam").new_page()
    is_over: list[bool] = []
    with_a_part(page, lambda route: route.fulfill(status=286 if is_over else 304, body=""))
    page.locator("body").evaluate("body => body.dataset.loaded = 'first'")
    is_over.append(True)
    expect(page.locator("body:not([data-loaded])")).to_be_visible()

"""The whole way in a browser, on real data, by clicks alone: sign in, configure, test, back up, watch, look inside,
download a file, restore beside, check. With the script and without it, slowly, and in two windows at once."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from benchmarks.showroom import Showroom

Open = Callable[..., BrowserContext]
RELOADS = 60
LATENCY_MS, BYTES_A_SECOND = 400, 50_000


def main(page: Page) -> str:
    return page.get_by_role("main").inner_text()


def succeeded(page: Page, *, script: bool) -> None:
    """Waits for the end of the run that is shown. Without the script the reader loads the page again."""
    shown = page.get_by_role("main").get_by_text("Succeeded", exact=True).first
    if script:
        expect(shown).to_be_visible()
        return
    for _ in range(RELOADS):
        if shown.is_visible():
            return
        assert "Failed" not in main(page), main(page)
        page.reload()
    raise AssertionError(f"it did not end:\n{main(page)}")


def configure(page: Page, name: str, source: Path) -> None:
    """A new configuration of one folder, by the form."""
    page.goto("/backups")
    page.get_by_role("link", name="New backup").click()
    page.get_by_label("Name", exact=True).fill(f"Files of {name}")
    page.get_by_label(re.compile("^ID$", re.IGNORECASE)).fill(name)
    page.get_by_label("Folders").fill(str(source))
    page.get_by_role("button", name="Store this backup").click()
    page.wait_for_url(f"**/backups/{name}")


@pytest.mark.parametrize("script", [True, False], ids=["with-script", "without-script"])
def test_from_a_form_to_a_restore(open_as: Open, showroom: Showroom, tmp_path: Path, script: bool) -> None:
    name = "scripted" if script else "plain"
    source, target = tmp_path / "source", tmp_path / "restored"
    source.mkdir()
    content = f"worth keeping {name}".encode()
    (source / "letter.txt").write_bytes(content)
    page = open_as("adam", java_script_enabled=script, accept_downloads=True).new_page()
    configure(page, name, source)

    page.goto(f"/backups/{name}/test")
    page.get_by_role("button", name="Test now").click()
    expect(page.get_by_role("main")).to_contain_text("A run would work")

    page.goto(f"/backups/{name}")
    page.get_by_role("button", name=re.compile("^Run")).first.click()
    page.wait_for_url("**/runs/run_*")
    succeeded(page, script=script)

    page.get_by_role("link", name=re.compile("^bk_")).first.click()
    point = page.url.rpartition("/")[2]
    page.goto(f"/restore-points/{point}/files?path={source}")
    with page.expect_download() as download:
        page.get_by_role("button", name=re.compile("^Download.*letter.txt$")).click()
    assert Path(download.value.path()).read_bytes() == content

    page.goto(f"/restores/new?point={point}")
    page.get_by_role("button", name="Next: where to").click()
    page.get_by_label("New places that I name").check()
    page.get_by_role("textbox", name="New folder").fill(str(target))
    page.get_by_role("button", name="Show what will be done").click()
    assert "Nothing has been done yet." in main(page)
    assert not target.exists()
    page.get_by_role("button", name=re.compile(f"^Restore {name} to")).click()
    page.wait_for_url("**/restores/run_*")
    succeeded(page, script=script)
    assert target.joinpath(*source.parts[1:], "letter.txt").read_bytes() == content

    page.goto(f"/restore-points/{point}")
    page.get_by_role("button", name="Check it now").click()
    page.wait_for_url("**/runs/run_*")
    succeeded(page, script=script)


def test_two_windows_change_one_configuration(open_as: Open) -> None:
    """The second one is shown what the first one did, and what they typed is still there."""
    first, second = open_as("adam").new_page(), open_as("sue").new_page()
    for page in (first, second):
        page.goto("/backups/media/edit")
    first.get_by_label("Name", exact=True).fill("Media of the first")
    first.get_by_role("button", name="Review the change").last.click()
    first.get_by_role("button", name="Store the change").click()
    first.wait_for_url("**/backups/media")
    second.get_by_label("Name", exact=True).fill("Media of the second")
    second.get_by_role("button", name="Review the change").last.click()
    expect(second.get_by_role("alert")).to_contain_text("Media of the first")
    assert "Media of the second" in main(second)
    first.reload()
    expect(first.get_by_role("heading", level=1)).to_contain_text("Media of the first")


def test_a_wrong_form_says_where_and_keeps_what_was_typed(open_as: Open) -> None:
    page = open_as("adam").new_page()
    page.goto("/backups/new")
    page.get_by_label("Name", exact=True).fill("Half of a form")
    page.get_by_label(re.compile("^ID$", re.IGNORECASE)).fill("NOT AN ID")
    page.get_by_role("button", name="Store this backup").click()
    summary = page.get_by_role("alert")
    expect(summary).to_be_focused()
    summary.get_by_role("link").first.click()
    expect(page.locator("[aria-invalid=true]").first).to_be_focused()
    expect(page.get_by_label("Name", exact=True)).to_have_value("Half of a form")


def test_over_a_slow_line_a_run_is_still_followed(open_as: Open) -> None:
    """No request for the part that changes is sent while the one before it is on its way."""
    context = open_as("adam")
    page = context.new_page()
    under_way, most = [0], [0]

    def began(count: int) -> None:
        under_way[0] += count
        most[0] = max(most[0], under_way[0])

    page.on("request", lambda request: began(1) if request.url.endswith("/live") else None)
    for event in ("requestfinished", "requestfailed"):
        page.on(event, lambda request: began(-1) if request.url.endswith("/live") else None)  # type: ignore[call-overload]
    page.goto("/backups/wiki")
    line = context.new_cdp_session(page)
    limits = {"downloadThroughput": BYTES_A_SECOND, "uploadThroughput": BYTES_A_SECOND}
    line.send("Network.emulateNetworkConditions", {"offline": False, "latency": LATENCY_MS, **limits})
    page.get_by_role("button", name=re.compile("^Run")).first.click()
    page.wait_for_url("**/runs/run_*")
    succeeded(page, script=True)
    assert most[0] <= 1

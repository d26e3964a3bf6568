"""The pages of runs: lists that are filtered, paged and saved; one run with its steps, its log, and another try."""

from __future__ import annotations

import csv
import dataclasses
import html
import io
import json
import re
from datetime import timedelta
from typing import Any

import pytest

from tests.webapp.shelf import Shelf
from tests.webapp.site import Browser, Site, person
from webapp.models import Run
from webapp.services import history, run_lines, run_phases, runs
from webapp.services.history import Wanted
from webapp.services.run_phases import Noted
from webapp.services.runs import Counters, NewRun, Outcome

_ID = re.compile(r'href="/runs/(run_\w+)"')


def words(text: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


def listed(browser: Browser, query: str = "") -> list[str]:
    """The runs of a list, in their order."""
    answer = browser.get(f"/runs{query}")
    assert answer.status_code == 200, answer.text
    return _ID.findall(answer.text)


def ended(shelf: Shelf, state: str = "succeeded", **fields: Any) -> Run:
    """A run that took two seconds."""
    new = {"kind": "create", "identity": "local:test", "config_id": "shop", **fields}
    run = runs.start(shelf.installation, NewRun(**new))
    shelf.hands.now += timedelta(seconds=2)
    outcome = Outcome(state, error="The disk is full." if state == "failed" else None)
    runs.finish(shelf.installation, run.id, outcome)
    return runs.fetch(shelf.installation, run.id)


def test_each_filter_leaves_what_it_says(shelf: Shelf, admin: Browser) -> None:
    shelf.configure()
    shelf.configure("wiki")
    shelf.hands.now -= timedelta(days=3)
    old = ended(shelf, type="files")
    shelf.hands.now += timedelta(days=3)
    bad = ended(shelf, "failed", trigger="schedule", type="full")
    other = ended(shelf, config_id="wiki", type="files")
    check = ended(shelf, kind="verify", config_id="wiki")
    ids = {name: run.public_id for name, run in (("old", old), ("bad", bad), ("other", other), ("check", check))}

    def names(query: str) -> list[str]:
        known = {public: name for name, public in ids.items()}
        return [known[each] for each in listed(admin, query)]

    assert names("") == ["check", "other", "bad", "old"]
    assert names("?status=failed") == ["bad"]
    assert names("?backup=wiki&kind=create") == ["other"]
    assert names("?type=files") == ["other", "old"]
    assert names("?trigger=schedule") == ["bad"]
    assert names("?from=2026-11-23") == ["check", "other", "bad"]
    assert names("?to=2026-11-20") == ["old"]
    assert names("?from=2026-11-20&to=2026-11-20") == ["old"]
    assert names("?sort=failed-first") == ["bad", "check", "other", "old"]


def test_days_of_the_filter_are_those_of_the_zone(shelf: Shelf) -> None:
    """At 23:30 UTC it is the next day in Berlin, and the page shows it as that."""
    settings = dataclasses.replace(shelf.installation.settings, timezone="Europe/Berlin")
    shelf.configure()
    shelf.hands.now = shelf.hands.now.replace(hour=23, minute=30)
    browser = person(Site(dataclasses.replace(shelf.installation, settings=settings)))
    run = ended(shelf)
    assert listed(browser, "?from=2026-11-24") == [run.public_id]
    assert listed(browser, "?to=2026-11-23") == []


def test_pages_follow_each_other_without_gap(shelf: Shelf, admin: Browser) -> None:
    shelf.configure()
    made = [ended(shelf, "failed" if number % 10 == 3 else "succeeded").public_id for number in range(120)]
    for query, expected in (
        ("", made[::-1]),
        ("?sort=failed-first", [*made[3::10][::-1], *[each for each in made[::-1] if each not in made[3::10]]]),
    ):
        found: list[str] = []
        address = f"/runs{query}"
        while address:
            answer = admin.get(address)
            found += _ID.findall(answer.text)
            following = re.search(r'href="([^"]+)" rel="next"', answer.text)
            address = html.unescape(following[1]) if following else ""
        assert found == expected
    assert "1–50 of 120, newest first" in words(admin.get("/runs").text)
    assert "51–100 of 120" in words(admin.get(f"/runs?before={120 - 49}&first=51").text)


def test_failed_first_ends_a_page_where_the_failures_end(shelf: Shelf) -> None:
    shelf.configure()
    made = [ended(shelf, state) for state in ("failed", "succeeded", "failed", "succeeded")]
    ids = [run.id for run in made]
    first = history.runs(shelf.installation, Wanted(limit=2, failed_first=True))
    assert [run.id for run in first[:2]] == [ids[2], ids[0]]
    assert len(first) == 3
    rest = history.runs(shelf.installation, Wanted(before=ids[0], limit=2, failed_first=True))
    assert [run.id for run in rest] == [ids[3], ids[1]]


def test_files_hold_the_rows_of_the_page(shelf: Shelf, admin: Browser) -> None:
    shelf.configure()
    ended(shelf, "failed")
    good = ended(shelf)
    wanted = admin.get("/runs?status=succeeded&format=json")
    (row,) = json.loads(wanted.text)
    assert (row["runId"], row["durationSeconds"], row["error"]) == (good.public_id, 2.0, None)
    table = list(csv.DictReader(io.StringIO(admin.get("/runs?format=csv").text)))
    assert [each["runId"] for each in table] == listed(admin)
    assert [each["error"] for each in table] == ["", "The disk is full."]
    assert json.loads(admin.get("/runs?kind=sync&format=json").text) == []
    assert admin.get("/runs?format=xml").status_code == 400


def test_a_long_history_is_saved_whole(shelf: Shelf) -> None:
    shelf.configure()
    made = [ended(shelf, "failed" if number == 1 else "succeeded").public_id for number in range(7)]

    def saved(**wanted: Any) -> list[str]:
        return [run.public_id for run in history.every_run(shelf.installation, Wanted(**wanted), batch=2)]

    assert saved(limit=1) == made[::-1]
    assert saved(failed_first=True) == [made[1], *(each for each in made[::-1] if each != made[1])]


def test_a_cell_is_no_formula(shelf: Shelf, admin: Browser) -> None:
    shelf.configure()
    run = runs.start(shelf.installation, NewRun("create", "=cmd()", config_id="shop"))
    runs.finish(shelf.installation, run.id, Outcome("failed", error="@SUM(1)"))
    (row,) = csv.DictReader(io.StringIO(admin.get("/runs?format=csv").text))
    assert (row["identity"], row["error"]) == ("'=cmd()", "'@SUM(1)")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("?status=lost", "Status: must be one of queued, running"),
        ("?from=yesterday", "From: must be a day"),
        ("?from=20261123", "From: must be a day"),
        ("?to=9999-12-31", "To: must be a day"),
        ("?from=2026-11-23&to=2026-11-22", "To: must not come before the first day."),
        ("?backup=nothing", "Backup: There is no configuration nothing."),
        (f"?before={'9' * 30}", "Begin at the first page."),
        ("?before=%D9%A1", "Begin at the first page."),
        ("?first=x", "Begin at the first page."),
    ],
)
def test_a_filter_that_cannot_be_meant_keeps_the_form(shelf: Shelf, admin: Browser, query: str, said: str) -> None:
    shelf.configure()
    answer = admin.get(f"/runs{query}")
    assert answer.status_code == 400
    assert said in words(answer.text)
    assert 'role="alert"' in answer.text
    assert 'name="status"' in answer.text
    if "backup" in query:
        assert 'value="nothing"' in answer.text


def test_no_run_matches_and_each_filter_can_be_removed(shelf: Shelf, admin: Browser) -> None:
    shelf.configure()
    assert "Nothing has run yet." in words(admin.get("/runs").text)
    text = admin.get("/runs?status=failed&backup=shop").text
    assert "No run matches." in words(text)
    assert 'href="/runs?backup=shop" aria-label="Remove the filter status: failed"' in text
    assert 'href="/runs?status=failed" aria-label="Remove the filter backup: shop"' in text


def at_work(shelf: Shelf, **fields: Any) -> Run:
    return runs.start(shelf.installation, NewRun("create", "local:test", config_id="shop", type="full", **fields))


def test_the_steps_of_a_run_and_its_pace(shelf: Shelf, admin: Browser) -> None:
    databases = [{"url": "postgresql://u@db/shop"}]
    shelf.configure(type="full", sources={"paths": [{"path": str(shelf.source)}], "databases": databases})
    run, at = at_work(shelf), shelf.hands.now
    second = timedelta(seconds=1)
    noted = [Noted("shop", 1000, 0, at + 3 * second), Noted(str(shelf.source), 4096, 1000, at + 10 * second)]
    run_phases.write(shelf.installation, run.id, noted, first=0)
    shelf.hands.now = at + 15 * second
    runs.beat(shelf.installation, run.id, Counters(3, 2024, 10, 0))
    page = words(admin.get(f"/runs/{run.public_id}").text)
    assert "Check 3 s Dump 7 s Files at work Upload and commit to come" in page
    assert f"Running Files: {shelf.source}" in page
    assert "25 % · 1.00 KiB of about 4.00 KiB · 204 B/s" in page
    assert "left" not in page  # five seconds tell nothing of the rest
    shelf.hands.now = at + 20 * second
    runs.beat(shelf.installation, run.id, Counters(3, 2024, 10, 0))
    assert "102 B/s · about 30 s left" in words(admin.get(f"/runs/{run.public_id}").text)
    runs.finish(shelf.installation, run.id, Outcome("failed", error="The disk is full.", hint="Make room."))
    page = words(admin.get(f"/runs/{run.public_id}").text)
    assert "The disk is full. Make room." in page
    assert "Files 10 s Upload and commit not reached" in page


def test_what_is_not_read_gets_no_share(shelf: Shelf) -> None:
    """Of a folder an incremental backup reads only what changed: a share of all its bytes would never be complete."""
    shelf.configure()
    run = runs.start(shelf.installation, NewRun("create", "local:test", config_id="shop", type="files"))
    run_phases.write(shelf.installation, run.id, [Noted("/srv/x", 4096, 0, shelf.hands.now)], first=0)
    shelf.hands.now += timedelta(seconds=20)
    runs.beat(shelf.installation, run.id, Counters(3, 2048, 10, 0))
    found = run_phases.pace(runs.fetch(shelf.installation, run.id), run_phases.of(shelf.installation, run.id)[-1])
    assert found is not None
    assert (found.percent, found.seconds_left, found.rate) == (None, None, pytest.approx(102.4))


def test_a_real_backup_tells_its_steps(shelf: Shelf, admin: Browser) -> None:
    shelf.configure()
    shelf.backup()
    (run,) = runs.listing(shelf.installation)
    phases = run_phases.of(shelf.installation, run.id)
    assert [each.name for each in phases] == [str(shelf.source), "finish"]
    steps = run_phases.steps(shelf.installation, run, phases)
    assert [(step.name, step.state) for step in steps] == [
        ("Check", "done"),
        ("Files", "done"),
        ("Upload and commit", "done"),
    ]
    shelf.verify(run.backup_id or "")
    check = runs.listing(shelf.installation)[0]
    steps = run_phases.steps(shelf.installation, check, run_phases.of(shelf.installation, check.id))
    assert [step.name for step in steps] == ["Check", "Index", "Files", "Restore points"]
    assert {step.state for step in steps} == {"done"}


def test_the_log_by_level_by_line_and_as_a_file(shelf: Shelf, admin: Browser) -> None:
    shelf.configure()
    run = at_work(shelf)
    for number in range(1, 251):
        run_lines.add(shelf.installation, run.id, f"Warning: no {number}" if number == 7 else f"line <{number}>")
    page = f"/runs/{run.public_id}"
    whole = admin.get(page).text
    assert "line &lt;250&gt;" in whole
    assert "line &lt;150&gt;" not in whole
    assert len(whole) < 40_000
    assert 'id="l60"' in admin.get(f"{page}?line=60").text
    warnings = admin.get(f"{page}?level=warning").text
    assert re.findall(r'id="l(\d+)"', warnings) == ["7"]
    assert f'data-live="{page}/live?level=warning"' in warnings
    saved = admin.get(f"{page}/log")
    assert len(saved.text.splitlines()) == 250
    assert saved.headers["Content-Disposition"] == f'attachment; filename="{run.public_id}.log"'
    for wrong in ("?level=debug", "?line=0", "?line=x", "?line=99999999999999999999"):
        assert admin.get(page + wrong).status_code == 400


def test_a_failed_run_is_tried_again_by_a_run_that_names_it(shelf: Shelf, admin: Browser) -> None:
    shelf.configure()
    bad = ended(shelf, "failed", arguments={"tags": {"by": "hand"}})
    page = f"/runs/{bad.public_id}"
    started = admin.submit(f"{page}/retry", form=page)
    again = runs.find(shelf.installation, started.location.rsplit("/", 1)[1])
    assert (again.retry_of, again.attempt, again.state) == (bad.public_id, 2, "queued")
    assert (again.kind, again.config_id, again.arguments) == ("create", "shop", {"tags": {"by": "hand"}})
    assert again.identity == "user:maria"
    assert "It was tried again" in words(admin.get(page).text)
    assert bad.public_id in admin.get(started.location).text
    assert admin.submit(f"{page}/retry", form="/").location == started.location
    assert len(runs.listing(shelf.installation)) == 2


def test_only_what_can_be_repeated_is(shelf: Shelf, site: Site, admin: Browser) -> None:
    shelf.configure()
    good = ended(shelf)
    restore = ended(shelf, "failed", kind="restore")
    for run in (good, restore):
        assert "Try again" not in admin.get(f"/runs/{run.public_id}").text
        assert admin.submit(f"/runs/{run.public_id}/retry", form="/").status_code == 409
    bad = ended(shelf, "failed")
    manager = person(site, "mona", "manager")
    assert "Try again" not in manager.get(f"/runs/{bad.public_id}").text
    assert manager.submit(f"/runs/{bad.public_id}/retry", form="/").status_code == 403


def test_a_check_is_tried_again_as_a_check(shelf: Shelf, admin: Browser) -> None:
    shelf.configure()
    point = shelf.backup()
    bad = ended(shelf, "failed", kind="verify", backup_id=point, arguments={"readPercent": 10})
    started = admin.submit(f"/runs/{bad.public_id}/retry", form="/")
    again = runs.find(shelf.installation, started.location.rsplit("/", 1)[1])
    assert (again.kind, again.backup_id, again.arguments) == ("verify", point, {"readPercent": 10})


def test_a_run_that_waits_says_where_and_can_be_taken_out_and_put_back(shelf: Shelf, admin: Browser) -> None:
    for name in ("shop", "wiki"):
        shelf.configure(name)
    first = admin.submit("/backups/shop/run", form="/").location
    second = admin.submit("/backups/wiki/run", form="/").location
    assert "Queued It is the next one, and no run of this queue is at work" in words(admin.get(first).text)
    assert "1 run waits before it. Place 2 in the queue" in words(admin.get(second).text)
    admin.submit(f"{second}/cancel", form=second)
    page = admin.get(second).text
    assert "it had not begun" in words(page)
    assert f'action="{second}/retry"' in page
    back = admin.submit(f"{second}/retry", form=second).location
    assert runs.find(shelf.installation, back.rsplit("/", 1)[1]).state == "queued"


def test_cancelling_says_what_stays(shelf: Shelf, admin: Browser) -> None:
    shelf.configure()
    run = at_work(shelf)
    admin.submit(f"/runs/{run.public_id}/cancel", form="/")
    page = words(admin.get(f"/runs/{run.public_id}").text)
    assert "What it has stored stays, and the next run uses it." in page
    assert "It was asked to stop" in page

"""A queued clean-up removes no more than what was agreed to, whatever became of the retention while it waited."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.webapp.shelf import Shelf
from tests.webapp.site import Browser, Site, person
from webapp.models import Run
from webapp.models.run import SUCCEEDED, WARNING
from webapp.services import cleanup_requests, pins, queued, runs, submit
from webapp.services.runs import CLEANUP, NewRun

ADDRESS = "/backups/shop/retention"


def work(shelf: Shelf) -> tuple[Run, int]:
    """The newest clean-up as a worker does it, and how many restore points went."""
    run = runs.listing(shelf.installation, kind=CLEANUP)[0]
    stop = threading.Event()
    done = queued.carry_out(shelf.installation, run.public_id, cwd=shelf.source, stop=stop, end=lambda: None)
    assert done.result is not None
    return done, sum(len(place["trashed"]) for place in done.result["destinations"])


def keep(shelf: Shelf, last: int) -> None:
    shelf.configure(retention={"last": last, "keepMin": 1})


@pytest.mark.parametrize(("count", "before"), [("7", 3), ("", 8)], ids=["typed", "without-a-count"])
def test_a_retention_changed_while_it_waits_takes_no_more(shelf: Shelf, site: Site, count: str, before: int) -> None:
    keep(shelf, before)
    shelf.series(10, noise=50_000)
    admin: Browser = person(site)
    assert admin.submit(ADDRESS, count=count).status_code in (302, 303)
    keep(shelf, 1)
    run, gone = work(shelf)
    assert (run.state, gone) == (WARNING, 0)
    assert "the plan has changed" in (run.error or "")
    assert "Nothing of it was removed" in (run.hint or "")
    assert "--config shop" in (run.hint or "")
    keep(shelf, before)
    assert admin.submit(ADDRESS, count=count).status_code in (302, 303)
    run, gone = work(shelf)
    assert (run.state, gone) == (SUCCEEDED, 10 - before)


def test_less_than_was_agreed_to_goes(shelf: Shelf, site: Site) -> None:
    keep(shelf, 3)
    points = shelf.series(10)
    person(site).submit(ADDRESS, count="7")
    pins.pin(shelf.installation, points[0], identity="local:test", reason="court", tell=shelf.told.append)
    assert [work(shelf)[0].state, len(shelf.plan().leaving("shop"))] == [SUCCEEDED, 0]


def test_the_api_and_the_command_line_confirm_what_goes_now(shelf: Shelf, site: Site) -> None:
    keep(shelf, 3)
    shelf.series(10)
    asked: dict[str, Any] = {"configId": "shop", "confirm": ["shop"]}
    assert site.api("POST", "retention/apply", json=asked).status_code == 202
    keep(shelf, 1)
    assert (work(shelf)[0].state, work_again(shelf)) == (WARNING, 9)


def work_again(shelf: Shelf) -> int:
    """As `backup-cli cleanup --confirm shop` asks a worker; how many restore points went."""
    arguments = cleanup_requests.arguments(shelf.plan(), confirmed=["shop"])
    submit.submit(shelf.installation, NewRun(CLEANUP, "local:test", arguments=arguments))
    return work(shelf)[1]


def test_a_name_alone_confirms_nothing(shelf: Shelf) -> None:
    keep(shelf, 3)
    shelf.series(10)
    submit.submit(shelf.installation, NewRun(CLEANUP, "local:test", arguments={"now": False, "confirmed": ["shop"]}))
    assert work(shelf)[1] == 0

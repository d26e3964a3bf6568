"""The numbers for those who watch: what they say is what the pages say, and only a token gets them from outside."""

from __future__ import annotations

from datetime import timedelta

from prometheus_client.parser import text_string_to_metric_families

from tests.webapp.shelf import Shelf
from tests.webapp.site import Site, person
from webapp.services import pulses, runs, schedules
from webapp.services.runs import NewRun

Samples = dict[tuple[str, tuple[str, ...]], float]


def numbers(site: Site) -> Samples:
    answer = site.app.test_client().get(
        "/metrics", headers={"Authorization": f"Bearer {site.token('manager', 'read')}"}
    )
    assert answer.status_code == 200
    assert answer.content_type.startswith("text/plain")
    families = text_string_to_metric_families(answer.text)
    return {(each.name, tuple(each.labels.values())): each.value for family in families for each in family.samples}


def test_they_follow_what_is_there(shelf: Shelf, site: Site) -> None:
    shelf.configure(schedule="0 * * * *", objectives={"rpoMinutes": 60})
    schedules.refresh(shelf.installation)
    found = numbers(site)
    assert found["holdfast_configuration_status", ("shop", "not protected")] == 1
    assert found["holdfast_restore_points", ("shop",)] == 0
    assert ("holdfast_newest_restore_point_timestamp_seconds", ("shop",)) not in found
    shelf.verify(shelf.backup())
    began = shelf.hands.now
    found = numbers(site)
    assert found["holdfast_configuration_status", ("shop", "protected")] == 1
    assert found["holdfast_configuration_status", ("shop", "not protected")] == 0
    assert found["holdfast_restore_points", ("shop",)] == 1
    assert found["holdfast_newest_restore_point_timestamp_seconds", ("shop",)] <= began.timestamp()
    assert ("holdfast_checked_timestamp_seconds", ("shop",)) in found
    shelf.hands.now += timedelta(minutes=61)
    assert numbers(site)["holdfast_configuration_status", ("shop", "not protected")] == 1


def test_what_waits_and_who_reported_is_told(shelf: Shelf, site: Site) -> None:
    shelf.configure()
    assert numbers(site)["holdfast_queue_oldest_seconds", ()] == 0
    runs.put(shelf.installation, NewRun("create", "system", config_id="shop", queue="backup"))
    pulses.beat(shelf.installation)
    beaten = shelf.hands.now
    shelf.hands.now += timedelta(seconds=42)
    found = numbers(site)
    assert found["holdfast_active_runs", ("create", "queued")] == 1
    assert found["holdfast_queue_oldest_seconds", ()] == 42
    assert found["holdfast_seen_timestamp_seconds", ("tick",)] == beaten.timestamp()


def test_a_token_or_a_sign_in_is_needed(shelf: Shelf, site: Site) -> None:
    client = site.app.test_client()
    assert client.get("/metrics", headers={"Authorization": "Bearer hf_wrong"}).status_code == 401
    assert client.get("/metrics").headers["Location"].startswith("/sign-in")
    assert person(site, "mona", "manager").get("/metrics").status_code == 200

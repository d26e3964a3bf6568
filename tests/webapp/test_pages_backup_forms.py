"""The form of a configuration: preview, faults, secrets, the difference, conflicts, JSON."""

from __future__ import annotations

import html
import json
import re
from datetime import UTC, datetime

import pytest

from tests.webapp.forms import fields, page, send, stored, words
from tests.webapp.shelf import Shelf, local
from tests.webapp.site import Browser, Site, person
from webapp.services import changes, configurations, outlook, schedules
from webapp.services.access import SYSTEM

NIGHTLY = {"schedule": "0 2 * * *", "objectives": {"rpoMinutes": 1500}}
KEYS = {"accessKeyId": "AKIASECRETSECRET", "secretAccessKey": "wJalrXUtnFEMIK7MDENG"}


def test_a_new_one_is_stored_from_the_form(shelf: Shelf, admin: Browser) -> None:
    begun = page(admin, "/backups/new")
    made = send(admin, "/backups/new", begun, do="save", id="crm", name="CRM", type="files", folders=str(shelf.source))
    assert made.location == "/backups/crm", words(made.text)
    document = stored(shelf, "crm")
    assert document["sources"] == {"paths": [{"path": str(shelf.source)}]}
    assert document["retention"] == {"daily": 7, "weekly": 4, "monthly": 12}
    assert document["destinations"] == [{"type": "local", "config": {"path": "./backups"}}]
    assert "compression" not in document  # a default that nobody chose is not written down
    assert "At 02:00 every day" in page(admin, "/backups/crm")


def test_what_is_wrong_stands_at_its_field_and_what_was_typed_stays(shelf: Shelf, admin: Browser) -> None:
    begun = page(admin, "/backups/new")
    refused = send(
        admin,
        "/backups/new",
        begun,
        do="save",
        id="Not An Id",
        name="<b>CRM</b>",
        schedule="61 * * * *",
        databases="mysql://x",
        keep_daily="many",
        places__0__local_path="",
    )
    assert refused.status_code == 422
    said = html.unescape(refused.text)
    for link in ("#id", "#schedule", "#databases", "#keep_daily", "#places-0-local_path"):
        assert f'<a href="{link}">' in said, link
    assert "Line 1 must begin with postgresql://" in said
    assert "<b>CRM</b>" not in refused.text
    typed = fields(refused.text)
    assert (typed["id"], typed["schedule"], typed["keep_daily"]) == ("Not An Id", "61 * * * *", "many")


def test_an_id_that_is_taken_is_told_at_the_field(shelf: Shelf, admin: Browser) -> None:
    shelf.configure()
    refused = send(admin, "/backups/new", page(admin, "/backups/new"), do="save", id="shop", name="Shop")
    assert refused.status_code == 422
    assert '<a href="#id">' in refused.text
    assert "There is a configuration shop already" in refused.text


def test_a_change_is_shown_before_it_is_stored(shelf: Shelf, admin: Browser) -> None:
    shelf.configure(**NIGHTLY, labels={"team": "sales"}, minCopies=1)
    before = stored(shelf)
    review = send(admin, "/backups/shop/edit", page(admin, "/backups/shop/edit"), do="review", schedule="30 3 * * *")
    assert review.status_code == 200
    assert "schedule 0 2 * * * 30 3 * * *" in words(review.text)
    assert stored(shelf) == before
    done = send(admin, "/backups/shop/edit", review.text, do="save")
    assert done.location == "/backups/shop"
    assert stored(shelf) == {**before, "schedule": "30 3 * * *"}  # and what the form does not show is as it was


def test_a_form_that_is_sent_as_it_is_changes_nothing(shelf: Shelf, admin: Browser) -> None:
    shelf.configure(
        places=[local("backups", retention={"daily": 3}), {"type": "s3", "config": {"bucket": "offsite", **KEYS}}],
        notifications={"onFailure": ["slack://very-secret", "ops@example.com"], "onSuccess": []},
        retention={"daily": 7, "keepMin": 5},
        verify={"afterBackup": True},
        **NIGHTLY,
    )
    before = stored(shelf)
    answer = send(admin, "/backups/shop/edit", page(admin, "/backups/shop/edit"), do="review")
    assert answer.location == "/backups/shop", words(answer.text)
    assert "Nothing was changed" in page(admin, "/backups/shop")
    assert stored(shelf) == before


def test_secrets_are_never_shown_and_stay_unless_they_are_removed(shelf: Shelf, admin: Browser) -> None:
    shelf.configure(places=[{"type": "s3", "config": {"bucket": "offsite", "region": "eu-west-1", **KEYS}}])
    address = "/backups/shop/edit"
    begun = page(admin, address)
    review = send(admin, address, begun, do="review", places__0__s3_region="eu-central-1")
    send(admin, address, review.text, do="save")
    assert stored(shelf)["destinations"][0]["config"] == {"bucket": "offsite", "region": "eu-central-1", **KEYS}
    typed = send(admin, address, page(admin, address), do="review", places__0__s3_secret_access_key="AnotherSecret77")
    assert "(hidden), another one" in html.unescape(typed.text)
    send(admin, address, typed.text, do="save")
    assert stored(shelf)["destinations"][0]["config"]["secretAccessKey"] == "AnotherSecret77"
    removing = {"places__0__s3_secret_access_key_removed": "y", "places__0__s3_access_key_id_removed": "y"}
    removed = send(admin, address, page(admin, address), do="review", **removing)
    send(admin, address, removed.text, do="save")
    assert "secretAccessKey" not in stored(shelf)["destinations"][0]["config"]
    for text in (begun, review.text, typed.text, removed.text):
        assert not any(secret in text for secret in (*KEYS.values(), "AnotherSecret77"))


def test_secrets_that_were_typed_survive_a_fault_without_being_shown(shelf: Shelf, admin: Browser) -> None:
    typed = {"id": "crm", "name": "CRM", "databases": "postgresql://crm:Pa55word@db/crm", "schedule": "never"}
    keys = {"places__0__kind": "s3", "places__0__s3_bucket": "offsite", "places__0__s3_secret_access_key": "TypedKey9"}
    ids = {"places__0__s3_access_key_id": "TypedId9"}
    refused = send(admin, "/backups/new", page(admin, "/backups/new"), do="save", **typed, **keys, **ids)
    assert refused.status_code == 422
    assert not re.search("Pa55word|TypedKey9|TypedId9", refused.text)
    made = send(admin, "/backups/new", refused.text, do="save", schedule="0 1 * * *")
    assert made.location == "/backups/crm", words(made.text)
    document = stored(shelf, "crm")
    assert document["sources"]["databases"] == [{"url": "postgresql://crm:Pa55word@db/crm"}]
    assert document["destinations"][0]["config"]["secretAccessKey"] == "TypedKey9"


def test_a_bucket_that_cannot_be_is_told_at_its_field(shelf: Shelf, admin: Browser) -> None:
    typed = {"name": "CRM", "places__0__kind": "s3", "places__0__s3_bucket": "No_Such_Bucket!"}
    refused = send(admin, "/backups/new", page(admin, "/backups/new"), do="save", **typed)
    assert refused.status_code == 422
    assert 'href="#places-0-s3_bucket"' in refused.text
    assert "must have 3 to 63 lower-case letters" in words(refused.text)


def test_a_draft_of_another_person_is_not_opened(shelf: Shelf, site: Site, admin: Browser) -> None:
    typed = {"databases": "postgresql://crm:Pa55word@db/crm", "schedule": "never"}
    refused = send(admin, "/backups/new", page(admin, "/backups/new"), do="save", **typed)
    draft, other = fields(refused.text)["draft"], person(site, "otto")
    assert draft
    answer = send(other, "/backups/new", page(other, "/backups/new"), do="preview", draft=draft)
    assert answer.status_code == 422
    assert "cannot be read any more" in answer.text


def test_a_removed_destination_does_not_give_its_keys_to_the_next(shelf: Shelf, admin: Browser) -> None:
    other = {"accessKeyId": "OTHERIDOTHERID", "secretAccessKey": "OtherKeyOtherKey"}
    places = [{"type": "s3", "config": {"bucket": name, **keys}} for name, keys in (("one", KEYS), ("two", other))]
    shelf.configure(places=places)
    begun = page(admin, "/backups/shop/edit")
    changes = {"places__0__removed": "y", "places__1__s3_region": "eu-west-3"}
    review = send(admin, "/backups/shop/edit", begun, do="review", **changes)
    send(admin, "/backups/shop/edit", review.text, do="save")
    assert stored(shelf)["destinations"] == [
        {"type": "s3", "config": {"bucket": "two", "region": "eu-west-3", **other}}
    ]


def test_keys_do_not_go_to_another_bucket(shelf: Shelf, admin: Browser) -> None:
    shelf.configure(places=[{"type": "s3", "config": {"bucket": "one", **KEYS}}])
    begun = page(admin, "/backups/shop/edit")
    refused = send(admin, "/backups/shop/edit", begun, do="review", places__0__s3_endpoint="https://elsewhere.example")
    assert refused.status_code == 422
    assert "give the value itself" in refused.text


def test_two_who_change_the_same_are_told(shelf: Shelf, admin: Browser) -> None:
    shelf.configure(**NIGHTLY)
    address = "/backups/shop/edit"
    review = send(admin, address, page(admin, address), do="review", name="Mine")
    changed = {**stored(shelf), "schedule": "0 4 * * *"}
    configurations.store(shelf.installation, changed, actor=SYSTEM)
    conflict = send(admin, address, review.text, do="save")
    assert conflict.status_code == 409
    said = words(conflict.text)
    assert "schedule 0 2 * * * 0 4 * * *" in said  # what the other changed
    assert "name Shop Mine" in said
    assert stored(shelf) == changed
    joined = send(admin, address, conflict.text, do="join")
    assert "name Shop Mine" in words(joined.text)
    assert "schedule" not in words(joined.text)
    send(admin, address, joined.text, do="save")
    assert stored(shelf) == {**changed, "name": "Mine"}


def test_joined_is_what_each_changed() -> None:
    began = {"a": 1, "b": 2, "c": {"d": 3, "e": 4}, "f": 5}
    mine, theirs = {**began, "a": 7, "c": {"d": 8}}, {"a": 1, "b": 9, "c": {"d": 3, "e": 4, "g": 6}}
    assert changes.joined(began, mine, theirs) == {"a": 7, "b": 9, "c": {"d": 8, "g": 6}}


def test_the_preview_says_what_it_will_do(shelf: Shelf, admin: Browser) -> None:
    for name in ("one", "two", "three"):
        shelf.configure(name, **NIGHTLY)
    schedules.refresh(shelf.installation)
    begun = page(admin, "/backups/new")
    changes = {"timezone": "Europe/Zagreb", "rpo": "60", "schedule": "0 3 29 * *"}
    part = send(admin, "/backups/new/preview", begun, do="", **changes)
    assert part.status_code == 200
    assert len(part.data) < 4_000
    said = words(part.text)
    assert "At 03:00 on the 29th day of every month" in said
    assert "Not every month has a day 29, 30 or 31" in said
    assert "the accepted loss is 60 minutes" in said
    together = words(send(admin, "/backups/new/preview", begun, do="").text)
    assert "3 other backups begin in the same minute" in together
    broken = words(send(admin, "/backups/new/preview", begun, do="", schedule="x", keep_daily="y").text)
    assert "The schedule is not a schedule" in broken
    assert "cannot be read" in broken


def test_without_javascript_the_preview_is_a_button(shelf: Shelf, admin: Browser) -> None:
    text = send(admin, "/backups/new", page(admin, "/backups/new"), do="preview", schedule="*/5 * * * *").text
    assert "Every fifth minute" in words(text)
    assert fields(text)["schedule"] == "*/5 * * * *"


@pytest.mark.parametrize(
    ("month", "day", "notes"),
    [
        (3, 28, ["", "The clocks go forward: its time is skipped on that day, and it runs right after.", ""]),
        (10, 24, ["", "The clocks go back: this time comes twice, and it runs once.", ""]),
    ],
)
def test_hours_that_the_clock_skips_or_repeats_are_marked(month: int, day: int, notes: list[str]) -> None:
    runs = outlook.next_runs("30 2 * * *", "Europe/Zagreb", datetime(2026, month, day, tzinfo=UTC), 3)
    assert [run.note for run in runs] == notes
    assert [run.local.hour for run in runs] == [2, 3 if month == 3 else 2, 2]


def test_all_settings_can_be_changed_as_json(shelf: Shelf, admin: Browser) -> None:
    shelf.configure(notifications={"onFailure": ["slack://very-secret"]})
    address = "/backups/shop/edit"
    begun = page(admin, f"{address}?as=json")
    assert "very-secret" not in begun
    document = json.loads(fields(begun)["document"])
    for wrong, said in (("{", "is not JSON"), ("[]", "must be an object"), ('{"id": "shop"}', "is missing")):
        refused = send(admin, address, begun, do="review", document=wrong)
        assert refused.status_code == 422
        assert said in html.unescape(refused.text)
        assert fields(refused.text)["document"].strip().startswith(wrong[0])
    text = json.dumps({**document, "fullEvery": 7})
    review = send(admin, address, begun, do="review", document=text)
    send(admin, address, review.text, do="save")
    assert stored(shelf)["fullEvery"] == 7
    assert stored(shelf)["notifications"] == {"onFailure": ["slack://very-secret"]}


def test_json_of_another_shape_is_refused_and_kept(shelf: Shelf, admin: Browser) -> None:
    shelf.configure()
    begun = page(admin, "/backups/shop/edit?as=json")
    for wrong in ('{"destinations": 5}', '{"sources": []}', '{"timezone": 5}', '{"retention": "x"}'):
        refused = send(admin, "/backups/shop/edit", begun, do="review", document=wrong)
        assert refused.status_code == 422
        assert json.loads(fields(refused.text)["document"]) == json.loads(wrong)
        for wish in ("form", "preview"):
            assert send(admin, "/backups/shop/edit", begun, do=wish, document=wrong).status_code == 200, wrong


def test_a_form_that_was_tampered_with_is_refused(shelf: Shelf, admin: Browser) -> None:
    begun = page(admin, "/backups/new")
    for base in ("x", "[]", '{"destinations": 5}'):
        assert send(admin, "/backups/new", begun, do="save", base=base).status_code == 400

"""Restores from the pages: nothing begins unseen, what became of it is told, and what was never proved is a warning."""

from __future__ import annotations

import html
import os
from datetime import timedelta
from pathlib import Path

import pytest

from engine.ids import parse
from tests.webapp.reading import quoted, words
from tests.webapp.restoring import draft, restored, shown, start, started
from tests.webapp.shelf import WHO, Shelf
from tests.webapp.site import Browser, Site, person
from webapp.errors import Conflict
from webapp.models import RestorePlan
from webapp.services import records, restore_drafts, runs, sealed, submit
from webapp.services.runs import NewRun, Outcome


def test_a_restore_is_shown_before_it_is_asked_for(shelf: Shelf, admin: Browser, tmp_path: Path) -> None:
    shelf.configure()
    point, target = shelf.backup(), str(tmp_path / "beside")
    address = draft(admin, point)
    aimed = admin.submit(f"{address}/target", where="named", folder=target)
    assert aimed.location == f"{address}/review", aimed.text
    said = words(admin, f"{address}/review")
    for each in ("Nothing has been done yet.", target, "how long it takes is unknown", f"--to {target}"):
        assert each in said
    assert started(shelf) == []
    begun = start(admin, address)
    run = runs.find(shelf.installation, begun.location.rsplit("/", 1)[1])
    assert (run.kind, run.backup_id, run.state) == ("restore", point, "queued")
    assert submit.unsealed(shelf.installation, run)["targets"] == [target]
    again = admin.get(f"{address}/review")
    assert (again.status_code, again.location) == (303, f"/restores/{run.public_id}")


def test_what_was_not_looked_at_is_not_started(shelf: Shelf, admin: Browser) -> None:
    shelf.configure()
    address = draft(admin, shelf.backup())
    admin.submit(f"{address}/target", where="new")
    refused = admin.submit(f"{address}/start", form=f"{address}/target")
    assert refused.status_code == 409
    assert "What would be done was not looked at yet." in refused.text
    assert started(shelf) == []


def test_a_target_that_changed_since_the_review_is_shown_again(shelf: Shelf, admin: Browser) -> None:
    shelf.configure()
    point = shelf.backup()
    address = draft(admin, point)
    admin.submit(f"{address}/target", where="new")
    generated = shelf.installation.settings.home.parent / f"restored-{point[3:11]}"
    assert str(generated) in words(admin, f"{address}/review")
    seen = shown(admin, address)
    generated.mkdir()
    refused = start(admin, address, seen)
    assert refused.status_code == 409
    assert f"The folder: {generated} then, {generated}-2 now." in html.unescape(refused.text)
    assert started(shelf) == []
    assert start(admin, address).status_code == 303


def test_two_clicks_start_one_restore(shelf: Shelf, admin: Browser) -> None:
    shelf.configure()
    address = draft(admin, shelf.backup())
    admin.submit(f"{address}/target", where="new")
    seen = shown(admin, address)
    installation, name = shelf.installation, address.rsplit("/", 1)[1]
    same = [restore_drafts.find(installation, "user:maria", name) for _ in range(2)]
    restore_drafts.start(installation, "user:maria", same[0], seen, tell=shelf.told.append)
    with pytest.raises(Conflict, match="started already"):
        restore_drafts.start(installation, "user:maria", same[1], seen, tell=shelf.told.append)
    assert len(started(shelf)) == 1


def test_a_draft_is_of_one_person_and_for_an_hour(shelf: Shelf, site: Site, admin: Browser) -> None:
    shelf.configure()
    address = draft(admin, shelf.backup())
    assert "There is no such restore in preparation." in words(person(site, "otto"), f"{address}/target", 404)
    shelf.hands.now += timedelta(minutes=61)
    assert "prepared more than an hour ago" in words(admin, f"{address}/target", 409)


def test_a_target_that_is_there_is_refused_and_what_was_typed_stays(
    shelf: Shelf, admin: Browser, tmp_path: Path
) -> None:
    shelf.configure()
    address, full = draft(admin, shelf.backup()), tmp_path / "full"
    full.mkdir()
    (full / "precious").touch()
    refused = admin.submit(f"{address}/target", where="named", folder=str(full))
    assert refused.status_code == 422
    assert "It cannot go there." in refused.text
    assert f'value="{full}"' in refused.text
    assert 'role="alert"' in refused.text
    missing = admin.submit(f"{address}/target", where="named")
    assert missing.status_code == 422
    assert "Name a folder or a database" in missing.text


@pytest.mark.parametrize("target", ["/etc/restored", "/usr/local/restored", "{home}/restored", "{home}/backups/x"])
def test_protected_places_are_refused_with_the_cause(shelf: Shelf, admin: Browser, target: str) -> None:
    shelf.configure()
    address = draft(admin, shelf.backup())
    folder = target.format(home=shelf.installation.settings.home)
    refused = admin.submit(f"{address}/target", where="named", folder=folder)
    assert refused.status_code == 422
    assert "lies inside of" in refused.text


def test_the_service_s_own_secrets_are_not_for_targets(shelf: Shelf, admin: Browser) -> None:
    shelf.configure()
    address = draft(admin, shelf.backup())
    typed = "postgresql://${BACKUP_ENCRYPTION_KEY}@127.0.0.1:1/x"
    refused = admin.submit(f"{address}/target", where="named", server=typed)
    assert refused.status_code == 422
    assert "must not use ${BACKUP_ENCRYPTION_KEY}" in html.unescape(refused.text)


def test_a_password_in_a_target_is_kept_sealed_and_not_shown_again(shelf: Shelf) -> None:
    shelf.configure()
    point = records.find(shelf.installation, shelf.backup())
    made = restore_drafts.begin(shelf.installation, WHO, point, ())
    kept = sealed.seal(
        shelf.installation,
        {"targets": '["postgresql://u:hunter2@h/x"]'},
        bound=sealed.of_plan(made.public_id),
    )
    restore_drafts._change(shelf.installation, made, sealed=kept)
    assert restore_drafts.find(shelf.installation, WHO, made.public_id).targets == ("postgresql://u:hunter2@h/x",)
    with shelf.installation.database.reading() as session:
        (row,) = session.query(RestorePlan)
        assert b"hunter2" not in (row.sealed or b"")
        assert "hunter2" not in f"{row.place}{row.state}{row.document}{row.target}"


def test_no_door_for_plans_that_replace_takes_a_draft(shelf: Shelf, site: Site) -> None:
    shelf.configure()
    backup = shelf.backup()
    made = restore_drafts.begin(shelf.installation, WHO, records.find(shelf.installation, backup), ())
    body = {"mode": "replace", "planId": made.public_id, "planHash": "0" * 64, "confirmTarget": "x"}
    assert site.api("POST", f"restore/{backup}", json=body).status_code in (404, 409)
    assert started(shelf) == []


def test_what_was_chosen_in_the_contents_is_what_is_restored(shelf: Shelf, admin: Browser) -> None:
    odd = os.fsencode(shelf.source) + b"/\xff odd"
    Path(os.fsdecode(odd)).write_bytes(b"odd")
    shelf.configure()
    point = shelf.backup()
    inside = f"/restore-points/{point}"
    begun = admin.submit(
        f"{inside}/restore", form="/", folder=quoted(str(shelf.source)), names=quoted(os.fsdecode(b"\xff odd"))
    )
    address = str(begun.location).removesuffix("/target")
    assert "\\xff odd" in words(admin, f"{address}/what")
    admin.submit(f"{address}/target", where="new")
    assert "1 file, 3 B" in words(admin, f"{address}/review").replace("\N{NO-BREAK SPACE}", " ")
    run = runs.find(shelf.installation, start(admin, address).location.rsplit("/", 1)[1])
    assert run.arguments["only"] == [os.fsdecode(odd)]


def test_nobody_but_an_admin_prepares_a_restore(shelf: Shelf, site: Site) -> None:
    shelf.configure()
    point, manager = shelf.backup(), person(site, "mona", "manager")
    for path in ("/restores/new", f"/restores/new?point={point}", f"/restore-points/{point}/files"):
        assert manager.get(path).status_code == 403
    assert manager.submit(f"/restore-points/{point}/download", form="/", what="/").status_code == 403
    assert manager.submit(f"/restore-points/{point}/pin", form="/").status_code == 403
    said = manager.get(f"/restore-points/{point}").text
    for word in ("Look inside", "Restore…", "Pin it", "Check it now"):
        assert word not in said
    for path in ("/restores", "/verification", "/restore-points"):
        assert manager.get(path).status_code == 200


def test_the_page_of_a_restore_says_where_it_went_and_what_was_compared(
    shelf: Shelf, admin: Browser, tmp_path: Path
) -> None:
    shelf.configure()
    point = shelf.backup()
    run = restored(shelf, point, tmp_path / "beside", verify=True)
    said = words(admin, f"/restores/{run.public_id}")
    assert str(tmp_path / "beside") in said
    assert "1 file as recorded in the restore point" in said
    assert str(tmp_path / "beside") in words(admin, "/restores")
    proof = admin.get(f"/restores/{run.public_id}/evidence.json")
    assert proof.headers["Content-Disposition"].startswith("attachment")
    assert proof.json["restorePoint"]["manifestHash"] == records.find(shelf.installation, point).manifest_hash
    assert proof.json["result"]["targets"][0]["target"] == str(tmp_path / "beside")


def test_a_restore_that_failed_says_that_nothing_was_changed(shelf: Shelf, admin: Browser) -> None:
    shelf.configure()
    shelf.backup()
    run = runs.start(shelf.installation, NewRun("restore", "system", config_id="shop"))
    runs.finish(shelf.installation, run.id, Outcome("failed", error="The <disk> is full."))
    said = words(admin, f"/restores/{run.public_id}")
    assert "The <disk> is full." in said
    assert "Nothing that existed was changed." in said
    assert admin.get(f"/restores/{run.public_id}/live").status_code == 286


def test_the_live_part_of_a_restore_changes_only_with_it(shelf: Shelf, admin: Browser) -> None:
    shelf.configure()
    run = runs.start(shelf.installation, NewRun("restore", "system", config_id="shop"))
    first = admin.get(f"/restores/{run.public_id}/live")
    assert (first.status_code, "Running" in first.text) == (200, True)
    again = admin.get(f"/restores/{run.public_id}/live", headers={"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304
    admin.submit(f"/restores/{run.public_id}/cancel", form="/")
    assert "It was asked to stop." in words(admin, f"/restores/{run.public_id}")


def test_a_run_of_another_kind_is_no_restore(shelf: Shelf, admin: Browser) -> None:
    shelf.configure()
    run = runs.start(shelf.installation, NewRun("create", "system", config_id="shop"))
    assert "is no restore" in words(admin, f"/restores/{run.public_id}", 404)


def test_what_was_never_tested_is_a_warning(shelf: Shelf, admin: Browser, tmp_path: Path) -> None:
    shelf.configure(objectives={"rtoMinutes": 5})
    assert "Never tested" in words(admin, "/verification")
    one, two = shelf.backup(), shelf.backup()
    shelf.verify(two)
    said = words(admin, "/verification")
    assert ("Never restored" in said, "Tested" in said) == (True, False)
    assert "1 never checked" in said
    assert "limit 5 min, not proved" in said.replace("\N{NO-BREAK SPACE}", " ")
    restored(shelf, two, tmp_path / "part", only=(str(shelf.source / "counter"),))
    assert "not proved" in words(admin, "/verification")
    restored(shelf, two, tmp_path / "out")
    said = words(admin, "/verification")
    assert ("Tested" in said, "not proved" in said) == (True, False)
    records.set_states(shelf.installation, shelf.place(), {parse("bk", one): "damaged"})
    assert "1 damaged" in words(admin, "/verification")


def test_a_check_is_asked_for_from_the_page(shelf: Shelf, admin: Browser) -> None:
    shelf.configure()
    shelf.backup()
    newest = shelf.backup()
    begun = admin.submit("/verification/shop/check", form="/verification", part="25")
    run = runs.find(shelf.installation, begun.location.rsplit("/", 1)[1])
    assert (run.kind, run.backup_id, run.arguments["readPercent"]) == ("verify", newest, 25)
    assert admin.submit("/verification/shop/check", form="/verification", part="7").status_code == 400
    assert admin.submit("/verification/nothing/check", form="/verification").status_code == 404

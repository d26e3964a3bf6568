"""Restores through the API: what replaces needs a plan, its hash and the target typed; the rest is refused in words."""

from __future__ import annotations

from pathlib import Path

from tests.webapp.shelf import Shelf
from tests.webapp.site import Site


def test_a_restore_that_replaces_is_planned_first(shelf: Shelf, site: Site) -> None:
    shelf.configure()
    backup = shelf.backup()
    (shelf.source / "counter").write_text("changed since")
    made = site.api("POST", "restore-plans", json={"backupId": backup})
    assert (made.status_code, made.json["target"], made.json["kind"]) == (201, str(shelf.source), "folder"), made.text
    whole = {
        "mode": "replace",
        "planId": made.json["planId"],
        "planHash": made.json["planHash"],
        "confirmTarget": str(shelf.source),
    }
    for changes, status in (
        ({"planHash": "0" * 64}, 409),
        ({"confirmTarget": "/other"}, 409),
        ({"planId": "pl_nope"}, 404),
        ({"planId": None}, 422),
        ({"target": "/x"}, 422),
        ({"dryRun": True}, 422),
        ({"mode": "new"}, 422),
    ):
        assert site.api("POST", f"restore/{backup}", json={**whole, **changes}).status_code == status, changes
    started = site.api("POST", f"restore/{backup}", json={**whole, "reason": "a drill"})
    assert (started.status_code, started.json["kind"], started.json["status"]) == (202, "restore", "queued"), (
        started.text
    )
    assert (shelf.source / "counter").read_text() == "changed since"


def test_a_target_that_changed_answers_with_the_difference(shelf: Shelf, site: Site, tmp_path: Path) -> None:
    shelf.configure()
    backup = shelf.backup()
    plan = site.api("POST", "restore-plans", json={"backupId": backup}).json
    (shelf.source / "new since the plan").write_text("x")
    body = {"mode": "replace", "planId": plan["planId"], "planHash": plan["planHash"], "confirmTarget": plan["target"]}
    refused = site.api("POST", f"restore/{backup}", json=body)
    assert (refused.status_code, refused.json["errors"][0]["pointer"]) == (409, "/target"), refused.text


def test_what_was_never_restored_cannot_be_undone(shelf: Shelf, site: Site) -> None:
    assert site.api("POST", "restores/rs_nope/undo").status_code == 404
    assert site.api("GET", "restores/rs_nope").status_code == 404

"""Have we proved that restores work? What was read back, what was restored, and what nobody ever looked at."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, abort, g, redirect, render_template, request, url_for

from webapp.extensions import installation
from webapp.security import needs
from webapp.services import configurations, proofs, records, submit

pages = Blueprint("verification", __name__, url_prefix="/verification")
_SHOWN = 25
_PARTS = (5, 25, 100)


@pages.get("")
@needs("overview.read")
def index() -> str:
    """Every backup with its last check and its last restore."""
    found = proofs.of_all(installation(), after=request.args.get("after"), limit=_SHOWN)
    return render_template(
        "restores/verification.html",
        proofs=found[:_SHOWN],
        following=found[_SHOWN - 1].configuration.id if len(found) > _SHOWN else None,
        whole=proofs.whole_check(installation()),
        parts=_PARTS,
        words=_WORDS,
    )


@pages.post("/<config_id>/check")
@needs("backups.verify")
def check(config_id: str) -> Any:
    """Checks the newest restore point that can be used, or reads a part of it, in the background."""
    asked = request.form.get("part", "100")
    if asked not in map(str, _PARTS):
        abort(400, f"The part to read is one of {', '.join(map(str, _PARTS))} per cent.")
    configurations.find(installation(), config_id)
    point = records.find(installation(), f"{config_id}@latest")
    started = submit.verification(installation(), g.actor.identity, point, read_percent=int(asked))
    return redirect(url_for("runs.show", run_id=started.public_id), 303)


_WORDS = {
    proofs.NEVER: ("warn", "Never tested"),
    proofs.UNREAD: ("warn", "Never checked"),
    proofs.UNRESTORED: ("warn", "Never restored"),
    proofs.STALE: ("warn", "Not checked lately"),
    proofs.HURT: ("err", "Damaged"),
    proofs.PROVED: ("ok", "Tested"),
}

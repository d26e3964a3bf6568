"""What every page of a person who is signed in has around it: the menu that their role has, and warnings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import Flask, g, request
from flask_login import current_user

from webapp.extensions import installation
from webapp.services import activity
from webapp.views.charts import strip


@dataclass(frozen=True)
class Item:
    """A line of the menu; absent for those who lack the permission."""

    text: str
    endpoint: str
    icon: str
    permission: str = "overview.read"


MENU = (
    ("Monitor", (Item("Overview", "overview.index", "grid"), Item("Runs", "runs.index", "list"))),
    ("Protect", (Item("Backups", "backups.index", "shield"), Item("Restore points", "points.index", "clock"))),
    ("Manage", (Item("Your account", "account.index", "user"), Item("API", "docs.page", "file"))),
)

NOUNS = {
    "create": "Backup",
    "restore": "Restore",
    "verify": "Check",
    "cleanup": "Clean-up",
    "sync": "Copying",
    "restore-point": "Restore point",
}


def register(app: Flask) -> None:
    """Gives the templates `frame()`, `strip`, `may` and `nouns`; as globals, for imported macros see nothing else."""
    app.jinja_env.globals.update(frame=_frame, strip=strip, may=_may, nouns=NOUNS)


def _frame() -> dict[str, Any]:
    blueprint = (request.endpoint or "").partition(".")[0]
    groups = [(name, [item for item in items if _may(item.permission)]) for name, items in MENU]
    return {
        "user": current_user.session.user,
        "groups": [(name, items) for name, items in groups if items],
        "here": blueprint,
        "standstill": activity.standstill(installation()),
        "zone": installation().settings.timezone,
    }


def _may(permission: str) -> bool:
    return g.get("actor") is not None and g.actor.may(permission)

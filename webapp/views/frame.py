"""What every page of a person who is signed in has around it: the menu that their role has, and warnings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import Flask, current_app, flash, g, request, url_for
from flask_login import current_user

from webapp.extensions import installation
from webapp.security import PUBLIC, needed_by
from webapp.services import activity, pulses
from webapp.views.charts import strip


@dataclass(frozen=True)
class Item:
    """A line of the menu. Whom it is shown to is asked of the page itself, so that no rule stands twice; `key` is
    what goes there after `g`."""

    text: str
    endpoint: str
    icon: str
    key: str = ""


@dataclass(frozen=True)
class Shown:
    """A line of the menu as this person sees it on this page."""

    item: Item
    address: str
    is_here: bool


MENU = (
    (
        "Monitor",
        (
            Item("Overview", "overview.index", "grid", "o"),
            Item("Runs", "runs.index", "list", "r"),
            Item("Statistics", "statistics.index", "chart"),
            Item("Verification", "verification.index", "check2"),
        ),
    ),
    (
        "Protect",
        (
            Item("Backups", "backups.index", "shield", "b"),
            Item("Restore points", "points.index", "clock"),
            Item("Restores", "restores.index", "undo"),
            Item("Destinations", "destinations.index", "db"),
        ),
    ),
    (
        "Manage",
        (
            Item("Notifications", "notifications.index", "bell"),
            Item("Audit", "audit.index", "file"),
            Item("Users", "people.users", "user"),
            Item("Tokens", "people.tokens", "lock"),
            Item("Settings", "settings.index", "gear"),
            Item("Health", "health.page", "pulse"),
            Item("Your account", "account.index", "user"),
            Item("API", "docs.page", "code"),
        ),
    ),
)

NOUNS = {
    "create": "Backup",
    "restore": "Restore",
    "verify": "Check",
    "cleanup": "Clean-up",
    "sync": "Copying",
    "restore-point": "Restore point",
    "export": "Export",
}
UNDO = "undo"


def register(app: Flask) -> None:
    """Gives the templates `frame()`, `strip`, `may` and `nouns`; as globals, for imported macros see nothing else."""
    app.jinja_env.globals.update(frame=_frame, strip=strip, may=_may, nouns=NOUNS)


def undo(text: str, address: str) -> None:
    """Tells on the next page what was done, with a button that asks `address` (by POST, the form token alone) to
    take it back."""
    flash((text, address), UNDO)  # type: ignore[arg-type]  # the session keeps tuples as well


def _frame() -> dict[str, Any]:
    groups = [(name, _shown(items)) for name, items in MENU]
    return {
        "user": current_user.session.user,
        "groups": [(name, items) for name, items in groups if items],
        "standstill": next(iter(pulses.silence(installation()).values()), "") or activity.standstill(installation()),
        "zone": installation().settings.timezone,
    }


def _shown(items: tuple[Item, ...]) -> list[Shown]:
    """Those of them that the person may use."""
    found = [(item, url_for(item.endpoint)) for item in items if _is_for_us(item.endpoint)]
    return [Shown(item, address, _leads_here(address)) for item, address in found]


def _is_for_us(endpoint: str) -> bool:
    view = current_app.view_functions.get(endpoint)
    need = None if view is None else needed_by(view)
    return need is not None and (need.permission == PUBLIC or _may(need.permission))


def _leads_here(address: str) -> bool:
    """The page itself or one below it."""
    return request.path == address or (address != "/" and request.path.startswith(f"{address}/"))


def _may(permission: str) -> bool:
    return g.get("actor") is not None and g.actor.may(permission)

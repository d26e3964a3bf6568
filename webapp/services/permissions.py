"""Who may do what: one table, asked by every door. What is not in it, nobody may do.

A person may do what their role reaches; a token what both its user's role and its own scope reach.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from webapp.roles import ADMIN, MANAGER, ROLES, SUPER_ADMIN

READ, RUN = "read", "run"
SCOPES = (READ, RUN, ADMIN, SUPER_ADMIN)
"""Each includes those before it: look at figures; also make and check backups; what an admin may; everything."""


@dataclass(frozen=True)
class Needed:
    """The least role, and for a token also the least scope."""

    role: str
    scope: str


PERMISSIONS: Mapping[str, Needed] = {
    "overview.read": Needed(MANAGER, READ),
    "account.own": Needed(MANAGER, READ),
    "backups.create": Needed(ADMIN, RUN),
    "backups.verify": Needed(ADMIN, RUN),
    "runs.cancel": Needed(ADMIN, RUN),
    "backups.browse": Needed(ADMIN, ADMIN),
    "backups.download": Needed(ADMIN, ADMIN),
    "backups.restore": Needed(ADMIN, ADMIN),
    "backups.hold": Needed(ADMIN, ADMIN),
    "configurations.edit": Needed(ADMIN, ADMIN),
    "configurations.test": Needed(ADMIN, ADMIN),
    "retention.apply": Needed(ADMIN, ADMIN),
    "destinations.read": Needed(ADMIN, ADMIN),
    "destinations.edit": Needed(ADMIN, ADMIN),
    "notifications.test": Needed(ADMIN, ADMIN),
    "approvals.give": Needed(ADMIN, ADMIN),
    "audit.traces": Needed(ADMIN, ADMIN),
    "health.read": Needed(ADMIN, ADMIN),
    "retention.delete_now": Needed(SUPER_ADMIN, SUPER_ADMIN),
    "users.manage": Needed(SUPER_ADMIN, SUPER_ADMIN),
    "tokens.others": Needed(SUPER_ADMIN, SUPER_ADMIN),
    "audit.everything": Needed(SUPER_ADMIN, SUPER_ADMIN),
    "keys.manage": Needed(SUPER_ADMIN, SUPER_ADMIN),
    "settings.edit": Needed(SUPER_ADMIN, SUPER_ADMIN),
}


def allows(permission: str, *, role: str, scope: str | None = None) -> bool:
    """Whether a role, through a token of this scope (None: no token), may. Raises KeyError for no permission."""
    needed = PERMISSIONS[permission]
    if ROLES.index(role) < ROLES.index(needed.role):
        return False
    return scope is None or SCOPES.index(scope) >= SCOPES.index(needed.scope)


def roles_with(permission: str) -> tuple[str, ...]:
    """The roles that may, the least first."""
    return ROLES[ROLES.index(PERMISSIONS[permission].role) :]

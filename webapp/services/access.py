"""Who asks for something, and whether they may: asked at every door, before a service is called."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from webapp.errors import Forbidden
from webapp.roles import SUPER_ADMIN
from webapp.services.permissions import PERMISSIONS, SCOPES, allows


@dataclass(frozen=True)
class Actor:
    """Who acts. `identity` is for runs and the audit log: `user:maria`, `token:tk_… (maria)`, `local:root`, `system`;
    `user_id` the row of the person behind it; `scope` of a token, which `is_limited` when it has an end or networks;
    `address` where the request came from."""

    identity: str
    role: str
    user_id: int | None = None
    scope: str | None = None
    address: str | None = None
    is_limited: bool = False

    def may(self, permission: str) -> bool:
        """Whether the permission is theirs."""
        return allows(permission, role=self.role, scope=self.scope)


SYSTEM = Actor("system", SUPER_ADMIN)


def local_actor(identity: str) -> Actor:
    """Whoever can read the home: the command line."""
    return Actor(identity, SUPER_ADMIN)


def require(actor: Actor, permission: str) -> None:
    """Returns when the actor may. Raises Forbidden, naming the role or the scope that is needed."""
    if actor.may(permission):
        return
    needed = PERMISSIONS[permission]
    if allows(permission, role=actor.role):
        raise Forbidden(
            f"A token with the scope {needed.scope} is needed for this; this one has the scope {actor.scope}.",
            hint=f"Scopes, each with those before it: {', '.join(SCOPES)}.",
        )
    raise Forbidden(
        f"The role {needed.role} is needed for this; yours is {actor.role}.", hint="Ask a super_admin for it."
    )


def is_within(address: str | None, networks: Iterable[str]) -> bool:
    """Whether an address lies in one of the networks (CIDR texts). What is no address lies in none."""
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped  # ::ffff:10.0.0.7 is 10.0.0.7, on a socket that takes both
    return any(found in ipaddress.ip_network(each) for each in networks)

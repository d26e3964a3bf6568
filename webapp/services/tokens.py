"""API tokens: shown once, kept as a hash, limited by a scope, perhaps an end and networks, revocable at any time."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select

from engine.ids import new_id, spell
from webapp.errors import Conflict, Fault, Faulty, Forbidden, NotFound, NotSignedIn
from webapp.installation import Installation
from webapp.models import ApiToken, User
from webapp.services import audit, throttle
from webapp.services.access import Actor, is_within
from webapp.services.permissions import SCOPES

BEGINNING = "hf_"
PREFIX = len(BEGINNING) + 8
_SECRET_BYTES = 30
_USED_EVERY = timedelta(minutes=1)
_NAME = 200
_MAX_NETWORKS = 50


@dataclass(frozen=True)
class NewToken:
    """A token that was made; `secret` is told once and kept nowhere."""

    token: ApiToken
    secret: str


@dataclass(frozen=True)
class Wish:
    """What a token shall be: `scope` one of services/permissions.py, `networks` CIDR texts (none: from anywhere)."""

    name: str
    scope: str
    expires_at: datetime | None = None
    networks: Sequence[str] = ()


def create(installation: Installation, actor: Actor, user: User, wish: Wish) -> NewToken:
    """A token that acts for `user`. Raises Faulty with every fault, Forbidden when the actor's own token reaches less,
    and Conflict for a disabled account."""
    networks = _checked(wish, now=installation.clock())
    if actor.scope is not None and SCOPES.index(wish.scope) > SCOPES.index(actor.scope):
        raise Forbidden(f"A token with the scope {actor.scope} cannot make one with the scope {wish.scope}.")
    if actor.is_limited:
        raise Forbidden(
            "A token with an end or with networks makes no other: that would outlive it.",
            hint="Make it on the command line, or with a token without such limits.",
        )
    if not user.is_enabled:
        raise Conflict(f"The account {user.name} is disabled.", hint="Enable it first.")
    secret = BEGINNING + base64.b32encode(secrets.token_bytes(_SECRET_BYTES)).decode().lower()
    token = ApiToken(
        public_id=spell("tk", new_id()),
        user_id=user.id,
        name=wish.name,
        prefix=secret[:PREFIX],
        secret_hash=_hash(secret),
        scope=wish.scope,
        networks=networks,
        created_at=installation.clock(),
        expires_at=wish.expires_at,
    )
    with installation.database.transaction() as session:
        token.user = session.get_one(User, user.id)
        session.add(token)
        session.flush()
        audit.record(session, installation, actor, "token.created", token.public_id, after=described(token))
    return NewToken(token, secret)


def listing(installation: Installation, *, user_id: int | None = None) -> list[ApiToken]:
    """Tokens that are not revoked, newest first: a person's, or with None everybody's."""
    query = select(ApiToken).where(ApiToken.revoked_at.is_(None)).order_by(ApiToken.id.desc())
    if user_id is not None:
        query = query.where(ApiToken.user_id == user_id)
    with installation.database.reading() as session:
        return list(session.scalars(query))


def revoke(installation: Installation, actor: Actor, public_id: str) -> ApiToken:
    """Ends a token at once. Raises NotFound, also for a token of another person unless the actor may see those."""
    with installation.database.transaction() as session:
        token = session.scalars(select(ApiToken).where(ApiToken.public_id == public_id)).first()
        hidden = token is not None and token.user_id != actor.user_id and not actor.may("tokens.others")
        if token is None or hidden or token.revoked_at is not None:
            raise NotFound(f"There is no token {public_id}.", hint="`backup-cli token list` shows them.")
        token.revoked_at = installation.clock()
        audit.record(session, installation, actor, "token.revoked", public_id)
        return token


def authenticate(installation: Installation, secret: str, address: str | None) -> Actor:
    """Who acts through a token; that it is used, and from another address than before, is noted.

    Raises NotSignedIn with one sentence for every reason, and TooMany after many wrong ones from one place."""
    limits = throttle.token_limits(address)
    throttle.refuse_blocked(installation, limits)
    now = installation.clock()
    with installation.database.reading() as session:
        token = session.scalars(select(ApiToken).where(ApiToken.secret_hash == _hash(secret))).first()
    if token is None or not _counts(token, address, now):
        throttle.count(installation, limits)
        _note_refusal(installation, token, address)
        raise NotSignedIn("This token does not count.", hint="It is wrong, ended, revoked, or not for this network.")
    actor = _actor(token, address)
    if token.used_at is None or now - token.used_at > _USED_EVERY or token.used_from != address:
        with installation.database.transaction() as session:
            row = session.get_one(ApiToken, token.id)
            row.used_at, row.used_from = now, address
            if token.used_at is None or token.used_from != address:
                audit.record(session, installation, actor, "token.used", token.public_id)
    return actor


def described(token: ApiToken) -> dict[str, object]:
    """What the audit log keeps of a token."""
    return {"name": token.name, "user": token.user.name, "scope": token.scope, "networks": list(token.networks)}


def _actor(token: ApiToken, address: str | None) -> Actor:
    identity = f"token:{token.public_id} ({token.user.name})"
    limited = token.expires_at is not None or bool(token.networks)
    return Actor(
        identity, token.user.role, user_id=token.user_id, scope=token.scope, address=address, is_limited=limited
    )


def _note_refusal(installation: Installation, token: ApiToken | None, address: str | None) -> None:
    """A token that does not count: noted as often as one may try (see throttle)."""
    who = "nobody" if token is None else _actor(token, address)
    what = "unknown" if token is None else token.public_id
    audit.add(installation, who, "token.refused", what, outcome=audit.DENIED, address=address)


def _counts(token: ApiToken, address: str | None, now: datetime) -> bool:
    if token.revoked_at is not None or not token.user.is_enabled:
        return False
    if token.expires_at is not None and token.expires_at <= now:
        return False
    return not token.networks or is_within(address, token.networks)


def _checked(wish: Wish, *, now: datetime) -> list[str]:
    """The networks in their plain spelling. Raises Faulty."""
    faults = []
    if not wish.name.strip() or len(wish.name) > _NAME or not wish.name.isprintable():
        faults.append(Fault("/name", f"must have 1 to {_NAME} printable characters."))
    if wish.scope not in SCOPES:
        faults.append(Fault("/scope", f"must be one of {', '.join(SCOPES)}."))
    if wish.expires_at is not None and wish.expires_at <= now:
        faults.append(Fault("/expiresAt", "lies in the past."))
    networks = []
    for number, text in enumerate(wish.networks):
        try:
            networks.append(str(ipaddress.ip_network(text, strict=False)))
        except ValueError:
            faults.append(Fault(f"/networks/{number}", "is not a network such as 10.0.0.0/8."))
    if len(networks) > _MAX_NETWORKS:
        faults.append(Fault("/networks", f"must not have more than {_MAX_NETWORKS} entries."))
    if faults:
        raise Faulty("The token was not made.", faults)
    return networks


def _hash(secret: str) -> str:
    """A token has 240 random bits: a plain hash is enough, and finds its row by an index."""
    return hashlib.sha256(secret.encode("utf-8", "backslashreplace")).hexdigest()

"""Signing in with a browser: name and password, perhaps a second factor, then a session that can be listed and ended.

A wrong name and a wrong password are told alike, take as long, and count alike against the limits."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import select

from engine.ids import new_id, spell
from webapp.errors import NotFound, NotSignedIn
from webapp.installation import Installation
from webapp.models import User, WebSession
from webapp.services import accounts, audit, passwords, second_factor, throttle
from webapp.services.access import Actor

IDLE = timedelta(hours=8)
LONGEST = timedelta(days=7)
_SEEN_EVERY = timedelta(minutes=1)
_AGENT = 200


@dataclass(frozen=True)
class Browser:
    """Where a request comes from: the address and what the browser calls itself."""

    address: str | None
    agent: str = ""


@dataclass(frozen=True)
class Opened:
    """A session that was opened; `secret` is for the cookie and kept nowhere."""

    session: WebSession
    secret: str


def check_password(installation: Installation, name: str, password: str, browser: Browser) -> User:
    """The person behind name and password. Raises NotSignedIn with one sentence for every reason, and TooMany."""
    name = name.strip().lower()
    limits = throttle.sign_in_limits(name, browser.address)
    throttle.count(installation, limits)
    with installation.database.reading() as session:
        user = session.scalars(select(User).where(User.name == name)).first()
    right = passwords.is_right(None if user is None else user.password_hash, password)
    if user is None or not right or not user.is_enabled:
        _note_failure(installation, user, browser, "password")
        raise NotSignedIn("Name or password is wrong.", hint="Passwords tell capital from small letters.")
    throttle.forgive(installation, limits)
    return user


def open_session(installation: Installation, user: User, browser: Browser, *, code: str | None = None) -> Opened:
    """A session for somebody whose password was right; who has a second factor needs a code. Raises NotSignedIn,
    TooMany."""
    if user.has_second_factor:
        limits = throttle.code_limits(user.id)
        throttle.count(installation, limits)
        if code is None or not second_factor.take(installation, user, code):
            _note_failure(installation, user, browser, "second factor")
            raise NotSignedIn("This code is wrong, or was used before.", hint="Codes change every 30 seconds.")
        throttle.forgive(installation, limits)
    return open_trusted(installation, user, browser)


def open_trusted(installation: Installation, user: User, browser: Browser) -> Opened:
    """A session for somebody who has just proved who they are."""
    secret, now = secrets.token_urlsafe(32), installation.clock()
    row = WebSession(
        public_id=spell("se", new_id()),
        user_id=user.id,
        secret_hash=_hash(secret),
        address=browser.address or "",
        agent=browser.agent[:_AGENT].encode("utf-8", "replace").decode(),
        created_at=now,
        seen_at=now,
    )
    with installation.database.transaction() as session:
        session.add(row)
        session.get_one(User, user.id).signed_in_at = now
        session.flush()
        audit.record(session, installation, _actor(user, browser.address), "session.opened", row.public_id)
    return Opened(row, secret)


def resume(installation: Installation, secret: str) -> WebSession | None:
    """The living session with this secret, its user loaded; None for one that ended, expired or never was."""
    now = installation.clock()
    with installation.database.reading() as session:
        row = session.scalars(select(WebSession).where(WebSession.secret_hash == _hash(secret))).first()
    if row is None or row.ended_at is not None or not row.user.is_enabled:
        return None
    if now - row.seen_at > IDLE or now - row.created_at > LONGEST:
        return None
    if now - row.seen_at > _SEEN_EVERY:
        with installation.database.transaction() as session:
            session.get_one(WebSession, row.id).seen_at = now
    return row


def listing(installation: Installation, user_id: int) -> list[WebSession]:
    """The living sessions of a person, newest first."""
    now = installation.clock()
    query = select(WebSession).where(
        WebSession.user_id == user_id,
        WebSession.ended_at.is_(None),
        WebSession.seen_at > now - IDLE,
        WebSession.created_at > now - LONGEST,
    )
    with installation.database.reading() as session:
        return list(session.scalars(query.order_by(WebSession.id.desc())))


def end(installation: Installation, actor: Actor, public_id: str) -> None:
    """Ends one of the actor's own sessions. Raises NotFound, also for those of others."""
    with installation.database.transaction() as session:
        row = session.scalars(select(WebSession).where(WebSession.public_id == public_id)).first()
        if row is None or row.user_id != actor.user_id or row.ended_at is not None:
            raise NotFound(f"You have no session {public_id}.")
        row.ended_at = installation.clock()
        audit.record(session, installation, actor, "session.ended", public_id)


def end_others(installation: Installation, actor: Actor, public_id: str) -> int:
    """Ends every session of the actor but this one; how many there were."""
    with installation.database.transaction() as session:
        mine = WebSession.user_id == actor.user_id, WebSession.ended_at.is_(None), WebSession.public_id != public_id
        found = session.scalars(select(WebSession).where(*mine)).all()
        for row in found:
            row.ended_at = installation.clock()
        audit.record(session, installation, actor, "sessions.ended", public_id, after={"count": len(found)})
        return len(found)


def end_all(installation: Installation, actor: Actor, user: User) -> int:
    """Ends every session of a person; how many there were."""
    with installation.database.transaction() as session:
        count = accounts.end_sessions(session, user.id, at=installation.clock())
        audit.record(session, installation, actor, "sessions.ended", user.public_id, after={"count": count})
        return count


def actor_of(row: WebSession, address: str | None) -> Actor:
    """Who acts through a session."""
    return _actor(row.user, address)


def _actor(user: User, address: str | None) -> Actor:
    return Actor(f"user:{user.name}", user.role, user_id=user.id, address=address)


def _note_failure(installation: Installation, user: User | None, browser: Browser, what: str) -> None:
    identity = "nobody" if user is None else f"user:{user.name}"
    audit.add(installation, identity, "session.refused", what, outcome=audit.DENIED, address=browser.address)


def _hash(secret: str) -> str:
    """The secret has 256 random bits: a plain hash is enough, and finds its row by an index."""
    return hashlib.sha256(secret.encode("utf-8", "backslashreplace")).hexdigest()

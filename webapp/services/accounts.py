"""People: added with a one-time password, given a role, disabled, never deleted. One super_admin always stays."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from engine.ids import new_id, spell
from webapp.errors import Conflict, Fault, Faulty, Invalid, NotFound
from webapp.installation import Installation
from webapp.models import RecoveryCode, User, WebSession
from webapp.roles import ROLES, SUPER_ADMIN
from webapp.services import audit, passwords, throttle
from webapp.services.access import SYSTEM, Actor

FIRST = "admin"
_NAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,63}")


@dataclass(frozen=True)
class Password:
    """An account and the one-time password that was made for it: told once, kept nowhere."""

    user: User
    password: str


def first_administrator(installation: Installation) -> Password | None:
    """The first super_admin, `admin`, whose password must be changed at first sign-in; None when there are people."""
    with installation.database.reading() as session:
        if session.scalar(select(func.count(User.id))):
            return None
    try:
        return add(installation, SYSTEM, FIRST, SUPER_ADMIN)
    except Conflict:  # another process was faster, and told its password
        return None


def add(installation: Installation, actor: Actor, name: str, role: str) -> Password:
    """A new account. Raises Invalid, and Conflict when the name is taken."""
    name = _checked_name(name)
    _check_role(role)
    password, now = passwords.one_time(), installation.clock()
    user = User(
        public_id=spell("us", new_id()),
        name=name,
        role=role,
        password_hash=passwords.hashed(password),
        must_change_password=True,
        created_at=now,
        password_changed_at=now,
    )
    try:
        with installation.database.transaction() as session:
            session.add(user)
            session.flush()
            audit.record(session, installation, actor, "user.added", user.public_id, after=described(user))
    except IntegrityError:
        raise Conflict(f"There is an account {name} already.", hint="Choose another name.") from None
    return Password(user, password)


def is_untouched(installation: Installation) -> bool:
    """Whether nobody has ever signed in: the installation is new."""
    with installation.database.reading() as session:
        return session.scalar(select(User.id).where(User.signed_in_at.is_not(None)).limit(1)) is None


def listing(installation: Installation) -> list[User]:
    """All accounts by name, disabled ones too."""
    with installation.database.reading() as session:
        return list(session.scalars(select(User).order_by(User.name)))


def find(installation: Installation, text: str) -> User:
    """The account of this name or public id. Raises NotFound."""
    with installation.database.reading() as session:
        return _find(session, text)


def fetch(installation: Installation, user_id: int) -> User:
    """The account with this row id, as it is now."""
    with installation.database.reading() as session:
        return session.get_one(User, user_id)


def set_role(installation: Installation, actor: Actor, text: str, role: str) -> User:
    """Gives an account another role. Raises NotFound, Invalid, and Conflict for the last super_admin."""
    _check_role(role)
    with installation.database.transaction() as session:
        user = _locked(session, text)
        before = described(user)
        if role != SUPER_ADMIN:
            _keep_one(session, user)
        user.role = role
        audit.record(
            session, installation, actor, "user.role_changed", user.public_id, before=before, after=described(user)
        )
        return user


def disable(installation: Installation, actor: Actor, text: str) -> User:
    """Lets somebody in no more: sessions end, tokens stop. Raises NotFound, and Conflict for the last super_admin."""
    with installation.database.transaction() as session:
        user = _locked(session, text)
        _keep_one(session, user)
        user.disabled_at = user.disabled_at or installation.clock()
        end_sessions(session, user.id, at=installation.clock())
        audit.record(session, installation, actor, "user.disabled", user.public_id)
        return user


def enable(installation: Installation, actor: Actor, text: str) -> User:
    """Lets somebody in again. Raises NotFound."""
    with installation.database.transaction() as session:
        user = _locked(session, text)
        user.disabled_at = None
        audit.record(session, installation, actor, "user.enabled", user.public_id)
        return user


def reset_password(installation: Installation, actor: Actor, text: str) -> Password:
    """A one-time password for somebody who lost theirs; their sessions end and their second factor is taken away,
    because who lost one often lost both. Raises NotFound."""
    password = passwords.one_time()
    stored = passwords.hashed(password)
    with installation.database.transaction() as session:
        user = _locked(session, text)
        _set_password(installation, session, user, stored, must_change=True)
        user.totp_sealed = user.totp_confirmed_at = user.totp_step = None
        for code in session.scalars(select(RecoveryCode).where(RecoveryCode.user_id == user.id)):
            session.delete(code)
        audit.record(session, installation, actor, "user.password_reset", user.public_id)
        return Password(user, password)


def require_password(installation: Installation, actor: Actor, password: str, *, pointer: str = "/password") -> User:
    """The person who acts, when this is their password: before what a browser that was left alone must not do. Raises
    Faulty, and TooMany after some wrong ones."""
    assert actor.user_id is not None
    user = fetch(installation, actor.user_id)
    limits = throttle.password_limits(user.id)
    throttle.count(installation, limits)
    if not passwords.is_right(user.password_hash, password):
        audit.add(installation, actor, "password.refused", user.public_id, outcome=audit.DENIED)
        raise Faulty("Nothing was done.", [Fault(pointer, "is not your present password.")])
    throttle.forgive(installation, limits)
    return user


def change_password(installation: Installation, actor: Actor, *, present: str, new: str) -> User:
    """A person's own new password; all of their sessions end, this one too. Raises Faulty with the pointers /present
    and /new, and TooMany after some wrong ones."""
    user = require_password(installation, actor, present, pointer="/present")
    passwords.check(new, name=user.name, pointer="/new")
    if passwords.is_right(user.password_hash, new):
        raise Faulty("The password was not changed.", [Fault("/new", "is the present one.")])
    stored = passwords.hashed(new)
    with installation.database.transaction() as session:
        user = _locked(session, user.public_id)
        _set_password(installation, session, user, stored, must_change=False)
        audit.record(session, installation, actor, "user.password_changed", user.public_id)
        return user


def end_sessions(session: Session, user_id: int, *, at: datetime) -> int:
    """Ends every session of a person; how many there were."""
    open_ones = session.scalars(select(WebSession).where(WebSession.user_id == user_id, WebSession.ended_at.is_(None)))
    found = open_ones.all()
    for one in found:
        one.ended_at = at
    return len(found)


def described(user: User) -> dict[str, object]:
    """What the audit log keeps of an account."""
    return {"name": user.name, "role": user.role, "disabled": user.disabled_at is not None}


def _set_password(installation: Installation, session: Session, user: User, stored: str, *, must_change: bool) -> None:
    now = installation.clock()
    user.password_hash, user.must_change_password, user.password_changed_at = stored, must_change, now
    end_sessions(session, user.id, at=now)


def _locked(session: Session, text: str) -> User:
    """The account, while nobody else changes one: two of the last super_admins must not remove each other."""
    session.scalars(select(User.id).where(User.role == SUPER_ADMIN).order_by(User.id).with_for_update()).all()
    return _find(session, text)


def _keep_one(session: Session, user: User) -> None:
    others = select(func.count(User.id)).where(User.role == SUPER_ADMIN, User.disabled_at.is_(None), User.id != user.id)
    if user.role == SUPER_ADMIN and user.is_enabled and not session.scalar(others):
        raise Conflict(
            f"{user.name} is the last super_admin, who cannot be removed.", hint="Make somebody else super_admin first."
        )


def _find(session: Session, text: str) -> User:
    name = text.strip().lower()
    user = session.scalars(select(User).where((User.name == name) | (User.public_id == text))).first()
    if user is None:
        near = difflib.get_close_matches(name, session.scalars(select(User.name)).all(), n=1)
        hint = f"Did you mean {near[0]}?" if near else "`backup-cli user list` shows who there is."
        raise NotFound(f"There is no account {text}.", hint=hint)
    return user


def _checked_name(text: str) -> str:
    name = text.strip().lower()
    if not _NAME.fullmatch(name):
        fault = Fault(
            "/name", "must have 1 to 64 letters, digits or the signs . _ @ + - and begin with one of the former."
        )
        raise Faulty("The account was not made.", [fault])
    return name


def _check_role(role: str) -> None:
    if role not in ROLES:
        raise Invalid(f"There is no role {role!r}.", hint=f"The roles are {', '.join(ROLES)}.")

"""The second factor: codes of an authenticator app (TOTP), each good once, and recovery codes for when it is lost."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass

import pyotp
from sqlalchemy import CursorResult, func, select, update

from webapp.errors import Conflict, Fault, Faulty
from webapp.installation import Installation
from webapp.models import RecoveryCode, User
from webapp.services import audit, sealed, throttle
from webapp.services.access import Actor

CODES = 10
_CODE_BYTES = 10
_STEP_SECONDS = 30
_ISSUER = "Holdfast"
_FIELD = "totp"


@dataclass(frozen=True)
class Enrolment:
    """What an authenticator app needs: the address for its camera, the secret for typing."""

    address: str
    secret: str


def begin(installation: Installation, actor: Actor) -> Enrolment:
    """A new secret, which counts when `confirm` saw a code of it. Raises Conflict when there is a factor already."""
    with installation.database.reading() as session:
        user = session.get_one(User, actor.user_id)
    if user.has_second_factor:
        raise Conflict("You have a second factor already.", hint="Remove it first.")
    secret = pyotp.random_base32()
    kept = sealed.seal(installation, {_FIELD: secret}, bound=sealed.of_user(user.public_id))
    with installation.database.transaction() as session:
        session.get_one(User, user.id).totp_sealed = kept
    return Enrolment(_address(secret, user), secret)


def pending(installation: Installation, user: User) -> Enrolment | None:
    """The enrolment that was begun and waits for its first code."""
    if user.has_second_factor or user.totp_sealed is None:
        return None
    secret = _secret(installation, user)
    return Enrolment(_address(secret, user), secret)


def confirm(installation: Installation, actor: Actor, code: str) -> list[str]:
    """Makes the begun factor count; the recovery codes, told once. Raises Faulty (wrong code), Conflict, TooMany."""
    with installation.database.reading() as session:
        user = session.get_one(User, actor.user_id)
    if user.totp_sealed is None or user.has_second_factor:
        raise Conflict("No second factor is being set up.", hint="Begin anew.")
    throttle.count(installation, throttle.code_limits(user.id))
    if not _take_step(installation, user, code):
        raise Faulty(
            "The second factor was not set up.", [Fault("/code", "is wrong; is the clock of the phone right?")]
        )
    throttle.forgive(installation, throttle.code_limits(user.id))
    codes = [base64.b32encode(secrets.token_bytes(_CODE_BYTES)).decode().lower() for _ in range(CODES)]
    with installation.database.transaction() as session:
        session.get_one(User, user.id).totp_confirmed_at = installation.clock()
        for old in session.scalars(select(RecoveryCode).where(RecoveryCode.user_id == user.id)):
            session.delete(old)
        session.add_all(RecoveryCode(user_id=user.id, code_hash=_hash(each)) for each in codes)
        audit.record(session, installation, actor, "second_factor.set_up", user.public_id)
    return [f"{each[:8]}-{each[8:]}" for each in codes]


def remove(installation: Installation, actor: Actor, code: str) -> None:
    """Takes one's own factor away; needs a code of it. Raises Faulty, TooMany."""
    with installation.database.reading() as session:
        user = session.get_one(User, actor.user_id)
    if not user.has_second_factor:
        return
    throttle.count(installation, throttle.code_limits(user.id))
    if not take(installation, user, code):
        raise Faulty("The second factor stays.", [Fault("/code", "is wrong, or was used before.")])
    throttle.forgive(installation, throttle.code_limits(user.id))
    with installation.database.transaction() as session:
        row = session.get_one(User, user.id)
        row.totp_sealed = row.totp_confirmed_at = row.totp_step = None
        for old in session.scalars(select(RecoveryCode).where(RecoveryCode.user_id == user.id)):
            session.delete(old)
        audit.record(session, installation, actor, "second_factor.removed", user.public_id)


def codes_left(installation: Installation, user: User) -> int:
    """How many recovery codes were not used yet."""
    query = select(func.count(RecoveryCode.id)).where(RecoveryCode.user_id == user.id, RecoveryCode.used_at.is_(None))
    with installation.database.reading() as session:
        return session.scalar(query) or 0


def take(installation: Installation, user: User, code: str) -> bool:
    """Whether the code, of the app or a recovery code, is right and was never used; from now on it is used."""
    plain = "".join(code.split()).replace("-", "").lower()
    if plain.isascii() and plain.isdigit() and len(plain) == 6:
        return _take_step(installation, user, plain)
    if len(plain) != _CODE_BYTES * 8 // 5:
        return False
    spend = update(RecoveryCode).where(
        RecoveryCode.user_id == user.id, RecoveryCode.code_hash == _hash(plain), RecoveryCode.used_at.is_(None)
    )
    with installation.database.transaction() as session:
        spent = session.execute(spend.values(used_at=installation.clock()))
        assert isinstance(spent, CursorResult)
        return spent.rowcount == 1


def _take_step(installation: Installation, user: User, code: str) -> bool:
    """A code counts in its half minute and the ones beside it, and never twice: the row count says who used it."""
    totp = pyotp.TOTP(_secret(installation, user))
    now = int(installation.clock().timestamp()) // _STEP_SECONDS
    for step in (now - 1, now, now + 1):
        if hmac.compare_digest(totp.generate_otp(step).encode(), code.strip().encode("utf-8", "replace")):
            newer = User.totp_step.is_(None) | (User.totp_step < step)
            with installation.database.transaction() as session:
                moved = session.execute(update(User).where(User.id == user.id, newer).values(totp_step=step))
                assert isinstance(moved, CursorResult)
                return moved.rowcount == 1
    return False


def _secret(installation: Installation, user: User) -> str:
    return sealed.opened(installation, user.totp_sealed, bound=sealed.of_user(user.public_id))[_FIELD]


def _address(secret: str, user: User) -> str:
    return pyotp.TOTP(secret).provisioning_uri(name=user.name, issuer_name=_ISSUER)


def _hash(code: str) -> str:
    return hashlib.sha256(code.replace("-", "").encode()).hexdigest()

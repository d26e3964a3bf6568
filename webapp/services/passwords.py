"""Passwords: kept as argon2id hashes, refused when they are easy to guess, made up where a one-time one is needed."""

from __future__ import annotations

import base64
import secrets

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from webapp.errors import Fault, Faulty

SHORTEST = 12
LONGEST = 256
ONE_TIME_BYTES = 15
# OWASP's argon2id parameters with the more memory; about 60 ms here, and a gunicorn thread each cannot exhaust a host.
_HASHER = PasswordHasher(time_cost=2, memory_cost=32 * 1024, parallelism=1)
# Guessing at a name that does not exist must take as long as at one that does.
_NOBODY = _HASHER.hash(secrets.token_urlsafe())


class PasswordRefused(Faulty):
    """A new password that is too easy to guess."""


def hashed(password: str) -> str:
    """What is stored of a password."""
    return _HASHER.hash(password)


def is_right(stored: str | None, password: str) -> bool:
    """Whether it is the password behind the hash; None (nobody has that name) is never right, and takes as long."""
    if len(password) > LONGEST:
        return False
    try:
        _HASHER.verify(stored or _NOBODY, password)
    except (VerificationError, InvalidHashError):
        return False
    return stored is not None


def one_time() -> str:
    """A random password of 120 bits in groups that can be typed."""
    text = base64.b32encode(secrets.token_bytes(ONE_TIME_BYTES)).decode().lower()
    return "-".join(text[start : start + 6] for start in range(0, len(text), 6))


def check(password: str, *, name: str, pointer: str = "/password") -> None:
    """Raises PasswordRefused when it is too short, too long, too uniform, or holds the account's name."""
    fault = None
    if len(password) < SHORTEST:
        fault = f"must have at least {SHORTEST} characters."
    elif len(password) > LONGEST:
        fault = f"must not have more than {LONGEST} characters."
    elif len(set(password)) < 5:
        fault = "must have at least five different characters."
    elif name in password.lower():
        fault = "must not hold the name of the account."
    if fault:
        raise PasswordRefused("This password is too easy to guess.", [Fault(pointer, fault)])

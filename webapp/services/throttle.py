"""Limits of guessing, in the database: they hold for all threads, processes and hosts, and without Redis."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Mapping
from datetime import timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError

from webapp.errors import TooMany
from webapp.installation import Installation
from webapp.models import Throttle

WINDOW = timedelta(minutes=15)
# A person who forgot: five tries from one place. One place against many names: thirty. Many places against one name:
# a hundred, which is 9,600 guesses a day at a password of twelve characters and more.
PAIR, ADDRESS, NAME = 5, 30, 100


def sign_in_limits(name: str, address: str | None) -> dict[str, int]:
    """What a try to sign in counts against: keys with their limits. Names that nobody has are counted like others."""
    place = _network(address)
    return {_key("pair", f"{name}|{place}"): PAIR, _key("address", place): ADDRESS, _key("name", name): NAME}


def token_limits(address: str | None) -> dict[str, int]:
    """What a wrong token counts against."""
    return {_key("token", _network(address)): ADDRESS}


def code_limits(user_id: int) -> dict[str, int]:
    """What a wrong second factor counts against, wherever it comes from: six digits are soon guessed."""
    return {_key("code", str(user_id)): PAIR}


def password_limits(user_id: int) -> dict[str, int]:
    """What a wrong password counts against when somebody who is signed in gives it again."""
    return {_key("password", str(user_id)): PAIR}


def refuse_blocked(installation: Installation, limits: Mapping[str, int]) -> None:
    """Raises TooMany when one of the limits is reached."""
    since = installation.clock() - WINDOW
    with installation.database.reading() as session:
        rows = session.scalars(select(Throttle).where(Throttle.key.in_(limits), Throttle.failed_at > since)).all()
    blocked = [row.failed_at for row in rows if row.failures >= limits[row.key]]
    if blocked:
        wait = max(blocked) - since
        raise TooMany(
            "There were too many wrong tries.",
            retry_after=max(1, int(wait.total_seconds())),
            hint="Wait a quarter of an hour, then try again.",
        )


def count(installation: Installation, limits: Mapping[str, int]) -> None:
    """Counts a try before it is judged, so that tries at the same moment cannot slip through together. Raises TooMany
    when one of the limits was reached before."""
    refuse_blocked(installation, limits)
    now = installation.clock()
    for key in limits:
        try:
            _count(installation, key)
        except IntegrityError:  # another thread counted the first one
            _count(installation, key)
    with installation.database.transaction() as session:
        session.execute(delete(Throttle).where(Throttle.failed_at < now - 2 * WINDOW))


def forgive(installation: Installation, limits: Mapping[str, int]) -> None:
    """After a right one: what was counted for it does not count. An address keeps its count of tries at other names."""
    with installation.database.transaction() as session:
        for key, limit in limits.items():
            if limit == ADDRESS:
                lower = update(Throttle).where(Throttle.key == key, Throttle.failures > 0)
                session.execute(lower.values(failures=Throttle.failures - 1))
            else:
                session.execute(delete(Throttle).where(Throttle.key == key))


def _count(installation: Installation, key: str) -> None:
    now = installation.clock()
    with installation.database.transaction() as session:
        row = session.get(Throttle, key, with_for_update=True)
        if row is None:
            session.add(Throttle(key=key, failures=1, failed_at=now))
            return
        row.failures = row.failures + 1 if row.failed_at > now - WINDOW else 1
        row.failed_at = now


def _key(kind: str, text: str) -> str:
    """Names are hashed: a list of who could not sign in is nobody's business."""
    return f"{kind}:{hashlib.sha256(text.encode('utf-8', 'backslashreplace')).hexdigest()}"


def _network(address: str | None) -> str:
    """The address; of IPv6 the /64, which one subscriber has whole."""
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return "unknown"
    return str(ipaddress.ip_network(f"{found}/64", strict=False)) if found.version == 6 else str(found)

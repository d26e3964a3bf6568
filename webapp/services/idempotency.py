"""Requests that start work and may be sent again: the same key gets the first answer, for a day."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError

from webapp.errors import Conflict, Fault, Faulty
from webapp.installation import Installation
from webapp.models import IdempotencyKey
from webapp.services.access import Actor

KEPT = timedelta(days=1)
# A request whose process died leaves its key; nobody answers longer than this.
UNANSWERED = timedelta(minutes=2)
_LONGEST = 200


def claim(installation: Installation, actor: Actor, key: str, request_hash: str) -> IdempotencyKey:
    """The row of a key: with a status when it was answered before, else it is the caller's to answer.

    Raises Faulty for a key that is not one or was used for another request, and Conflict while it is being answered."""
    if not key.isprintable() or not 0 < len(key) <= _LONGEST:
        raise Faulty("The request was not carried out.", [Fault("/Idempotency-Key", "must have 1 to 200 characters.")])
    assert actor.user_id is not None
    now = installation.clock()
    row = IdempotencyKey(user_id=actor.user_id, key=key, request_hash=request_hash, created_at=now)
    try:
        with installation.database.transaction() as session:
            session.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at < now - KEPT))
            stale = IdempotencyKey.status.is_(None) & (IdempotencyKey.created_at < now - UNANSWERED)
            session.execute(delete(IdempotencyKey).where(stale))
            session.add(row)
        return row
    except IntegrityError:
        mine = select(IdempotencyKey).where(IdempotencyKey.user_id == actor.user_id, IdempotencyKey.key == key)
        with installation.database.reading() as session:
            known = session.scalars(mine).first()
    if known is None or known.status is None:
        raise Conflict("The same request is being carried out.", hint="Ask again in a moment.")
    if known.request_hash != request_hash:
        raise Faulty(
            "The request was not carried out.", [Fault("/Idempotency-Key", "was used for another request before.")]
        )
    return known


def keep(installation: Installation, row: IdempotencyKey, status: int, body: Any, location: str | None) -> None:
    """Notes the answer."""
    with installation.database.transaction() as session:
        found = session.get(IdempotencyKey, row.id)
        if found is not None:
            found.status, found.body, found.location = status, body, location


def forget(installation: Installation, row: IdempotencyKey) -> None:
    """The request failed: its key may be used again."""
    with installation.database.transaction() as session:
        session.execute(delete(IdempotencyKey).where(IdempotencyKey.id == row.id))

"""The log of deliveries and the events behind it do not grow for ever: what is old and over goes, now and then."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import CursorResult, delete, func, select

from webapp.installation import Installation
from webapp.models import Delivery, Event
from webapp.models.notification import WAITING

KEPT = timedelta(days=90)
_AT_ONCE = timedelta(days=1)


def prune(installation: Installation) -> int:
    """How many deliveries went. What was told within the reminder interval stays, or it would be told again; so does
    the newest event of each configuration, which says whether the next success is a recovery."""
    kept = max(KEPT, installation.settings.notify.remind)
    before = installation.clock() - kept
    with installation.database.reading() as session:
        over = select(Delivery.created_at).where(Delivery.state != WAITING)
        oldest = session.scalar(over.order_by(Delivery.id).limit(1))
    if oldest is None or oldest >= before - _AT_ONCE:
        return 0
    newest = select(func.max(Event.id)).group_by(Event.config_id)
    told = select(Delivery.event_id)
    with installation.database.transaction() as session:
        gone = session.execute(delete(Delivery).where(Delivery.created_at < before, Delivery.state != WAITING))
        old = Event.at < before, Event.handled_at.is_not(None), Event.id.not_in(newest), Event.id.not_in(told)
        session.execute(delete(Event).where(*old))
        assert isinstance(gone, CursorResult)
        return gone.rowcount

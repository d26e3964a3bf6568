"""Events become deliveries, and deliveries leave the house: by the tick, each once, again with patience when they fail.

The same trouble of the same configuration is told to somebody again only after the reminder interval, or after it
was over for a while.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import CursorResult, func, select, update
from sqlalchemy.orm import Session

from webapp.errors import Invalid, Unavailable
from webapp.installation import Installation
from webapp.models import Configuration, Delivery, Event, Run, RunProblem, Schedule, SilencedRecipient
from webapp.models.notification import GIVEN_UP, SENT, WAITING
from webapp.notify import channels, mail, ping
from webapp.notify.message import Message, NotSent
from webapp.services import messages, recipients
from webapp.services.messages import News
from webapp.services.recipients import Recipient

TRIES = 8
FIRST_WAIT = timedelta(minutes=1)
LONGEST_WAIT = timedelta(hours=1)
_BAD_ENDS = ("failed", "interrupted")
_GOOD_ENDS = ("succeeded", "warning")
# Nobody wants a mail for each of these that went well.
_QUIET_WHEN_GOOD = ("cleanup", "sync")


@dataclass(frozen=True)
class Delivered:
    """What one call did: events taken over, messages sent, tries that failed (they come again or were given up)."""

    taken: int = 0
    sent: int = 0
    failed: int = 0


def deliver_due(installation: Installation, *, limit: int = 20) -> Delivered:
    """Takes over new events and sends what is due, at most `limit` messages. Safe twice at once. Raises Unavailable
    when the database cannot be used; what a recipient does wrong is noted, not raised."""
    taken = _take_over(installation)
    counts = Counter(_deliver(installation, each) for each in _due(installation, limit))
    return Delivered(taken, counts[True], counts[False])


def send_test(installation: Installation, recipient: str) -> None:
    """A test message to an address or Apprise URL; one that was silenced is heard again when it arrives.

    Raises Unavailable with the reason when it does not arrive, and Invalid for what is no recipient."""
    if not recipient.isprintable() or ("@" not in recipient and "://" not in recipient):
        raise Invalid("A recipient is an e-mail address or an Apprise URL such as slack://….")
    try:
        _send(installation, recipient, messages.test_message(installation))
    except NotSent as error:
        raise Unavailable(f"The test message did not arrive: {error.reason}", hint="Correct the recipient.") from None
    with installation.database.transaction() as session:
        silenced = session.get(SilencedRecipient, recipients.fingerprint(recipient))
        if silenced is not None:
            session.delete(silenced)


def log(installation: Installation, *, config_id: str | None = None, limit: int = 50) -> list[Delivery]:
    """Deliveries, newest first: what was sent to whom, what waits, and why something did not arrive."""
    query = select(Delivery).order_by(Delivery.id.desc()).limit(limit)
    if config_id is not None:
        query = query.where(Delivery.config_id == config_id)
    with installation.database.reading() as session:
        return list(session.scalars(query))


def _take_over(installation: Installation) -> int:
    with installation.database.reading() as session:
        waiting = session.scalars(
            select(Event.id).where(Event.handled_at.is_(None)).order_by(Event.id).limit(500)
        ).all()
    return sum(_take(installation, number) for number in waiting)


def _take(installation: Installation, event_id: int) -> bool:
    """Turns one event into deliveries, in one transaction; False when somebody else did."""
    now = installation.clock()
    with installation.database.transaction() as session:
        claim = update(Event).where(Event.id == event_id, Event.handled_at.is_(None)).values(handled_at=now)
        if not _changed(session, claim):
            return False
        news = _news(session, session.get_one(Event, event_id))
        for recipient in _wanted(installation, news):
            if _is_due(session, installation, news, recipient):
                session.add(_delivery(news, recipient, now))
        return True


def _wanted(installation: Installation, news: News) -> list[Recipient]:
    run = news.run
    if news.kind.endswith("cancelled"):
        return []
    watchdog = recipients.ping(installation, news.configuration) if run is not None and run.kind == "create" else None
    if run is not None and run.kind in _QUIET_WHEN_GOOD and news.kind.endswith(recipients.SUCCEEDED):
        return []
    found = recipients.of(installation, news.configuration, news.kind)
    return [*found, watchdog] if watchdog else found


def _is_due(session: Session, installation: Installation, news: News, recipient: Recipient) -> bool:
    """Whether this recipient is told: not when silenced, and not when the same was told a moment ago."""
    if session.get(SilencedRecipient, recipient.key) is not None:
        return False
    if recipient.is_ping or news.kind in recipients.PACED or news.kind.endswith(recipients.SUCCEEDED):
        return True
    query = select(Delivery).where(
        Delivery.config_id.is_not_distinct_from(news.event.config_id),
        Delivery.recipient == recipient.key,
        Delivery.kind == news.kind,
    )
    told = session.scalars(query.order_by(Delivery.id.desc()).limit(1)).first()
    if told is None or told.created_at + installation.settings.notify.remind <= installation.clock():
        return True
    if news.kind == recipients.SILENCED:
        return session.get_one(Event, told.event_id).details != news.event.details
    over = select(func.count(Event.id)).where(
        Event.config_id == news.event.config_id, Event.id > told.event_id, Event.kind == recipients.SUCCEEDED
    )
    return bool(session.scalar(over))


def _delivery(news: News, recipient: Recipient, now: datetime) -> Delivery:
    return Delivery(
        event_id=news.event.id,
        kind=news.kind,
        config_id=news.event.config_id,
        recipient=recipient.key,
        shown=recipient.shown,
        state=GIVEN_UP if recipient.fault else WAITING,
        error=recipient.fault or None,
        created_at=now,
        due_at=now,
    )


def _due(installation: Installation, limit: int) -> list[Delivery]:
    query = select(Delivery).where(Delivery.state == WAITING, Delivery.due_at <= installation.clock())
    with installation.database.reading() as session:
        return list(session.scalars(query.order_by(Delivery.due_at, Delivery.id).limit(limit)))


def _deliver(installation: Installation, delivery: Delivery) -> bool | None:
    """Whether it arrived; None when another tick has it. The next try is set before this one begins, so that nobody
    else tries meanwhile, and a process that dies in the middle has lost nothing."""
    now = installation.clock()
    wait = min(FIRST_WAIT * 2**delivery.tries, LONGEST_WAIT)
    with installation.database.transaction() as session:
        mine = Delivery.id == delivery.id, Delivery.state == WAITING, Delivery.tries == delivery.tries
        if not _changed(session, update(Delivery).where(*mine).values(tries=delivery.tries + 1, due_at=now + wait)):
            return None
        news = _news(session, session.get_one(Event, delivery.event_id))
        recipient = next((each for each in _wanted(installation, news) if each.key == delivery.recipient), None)
        repeated = _untold(session, delivery, news)
    try:
        if recipient is None or recipient.address is None:
            raise NotSent((recipient and recipient.fault) or "It is not a recipient any more.", permanent=True)
        message = messages.compose(installation, _with(news, repeated))
        if recipient.is_ping:
            failed = news.run is not None and news.run.state in _BAD_ENDS
            private = installation.settings.notify.allow_private
            ping.send(recipient.address, failed=failed, body=message.text(), allow_private=private)
        else:
            _send(installation, recipient.address, message)
    except NotSent as error:
        _note_failure(installation, delivery, error, silence=error.permanent and recipient is not None)
        return False
    _note(installation, delivery.id, state=SENT, sent_at=installation.clock(), error=None)
    return True


def _send(installation: Installation, address: str, message: Message) -> None:
    settings = installation.settings
    if "://" in address:
        channels.send(address, message, allow_private=settings.notify.allow_private)
    else:
        mail.send(settings.smtp_url, settings.mail_from, address, message, at=installation.clock())


def _note_failure(installation: Installation, delivery: Delivery, error: NotSent, *, silence: bool) -> None:
    is_over = error.permanent or delivery.tries + 1 >= TRIES
    _note(installation, delivery.id, state=GIVEN_UP if is_over else WAITING, error=error.reason)
    if not silence:
        return
    now = installation.clock()
    with installation.database.transaction() as session:
        if session.get(SilencedRecipient, delivery.recipient) is not None:
            return
        session.add(SilencedRecipient(recipient=delivery.recipient, shown=delivery.shown, reason=error.reason, at=now))
        details = {"shown": delivery.shown, "reason": error.reason}
        session.add(Event(kind=recipients.SILENCED, config_id=delivery.config_id, at=now, details=details))


def _note(installation: Installation, delivery_id: int, **values: object) -> None:
    with installation.database.transaction() as session:
        session.execute(update(Delivery).where(Delivery.id == delivery_id).values(**values))


def _news(session: Session, event: Event) -> News:
    configuration = None if event.config_id is None else session.get(Configuration, event.config_id)
    schedule = None if event.config_id is None else session.get(Schedule, event.config_id)
    run = session.scalars(select(Run).where(Run.public_id == event.run_id)).first() if event.run_id else None
    if run is None:
        return News(event, event.kind, configuration, schedule=schedule)
    query = select(RunProblem).where(RunProblem.run_id == run.id).order_by(RunProblem.position)
    problems = session.scalars(query.limit(messages.SHOWN_PROBLEMS)).all()
    return News(event, _kind(session, event, run, problems), configuration, run, problems, schedule)


def _kind(session: Session, event: Event, run: Run, problems: object) -> str:
    """What the end of a run is told as."""
    if run.kind != "create":
        return f"{run.kind}-{event.kind}"
    if any(problem.kind == "tampering" for problem in problems):  # type: ignore[attr-defined]
        return recipients.TAMPERING
    if event.kind == recipients.SUCCEEDED and _was_bad(session, event):
        return recipients.RECOVERED
    places = (run.result or {}).get("destinations", [])
    if event.kind == recipients.WARNING and any(place.get("error") for place in places):
        return recipients.DESTINATION
    return event.kind


def _was_bad(session: Session, event: Event) -> bool:
    """Whether the news before this one of the same configuration's backups were bad."""
    query = (
        select(Event)
        .where(Event.config_id == event.config_id, Event.id < event.id, Event.kind != "cancelled")
        .order_by(Event.id.desc())
        .limit(20)
    )
    for before in session.scalars(query):
        if before.kind == recipients.MISSED:
            return True
        if before.details.get("kind") == "create":
            return before.kind in _BAD_ENDS
    return False


def _untold(session: Session, delivery: Delivery, news: News) -> int:
    """How often the same happened between the last message to this recipient and this one."""
    if news.run is None or not news.kind.endswith(_BAD_ENDS):
        return 0
    last = session.scalar(
        select(func.max(Delivery.event_id)).where(
            Delivery.config_id == delivery.config_id,
            Delivery.recipient == delivery.recipient,
            Delivery.kind == delivery.kind,
            Delivery.event_id < delivery.event_id,
        )
    )
    if last is None:
        return 0
    between = Event.config_id == delivery.config_id, Event.id > last, Event.id < delivery.event_id
    kinds = session.execute(select(Event.kind, Event.details).where(*between)).all()
    if any(kind in _GOOD_ENDS for kind, _ in kinds):
        return 0
    return sum(kind == news.event.kind and details.get("kind") == news.run.kind for kind, details in kinds)


def _with(news: News, repeated: int) -> News:
    return News(news.event, news.kind, news.configuration, news.run, news.problems, news.schedule, repeated)


def _changed(session: Session, statement: object) -> bool:
    result = session.execute(statement.execution_options(synchronize_session=False))  # type: ignore[attr-defined]
    assert isinstance(result, CursorResult)
    return result.rowcount == 1

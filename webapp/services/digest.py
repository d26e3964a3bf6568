"""The digest: once a day or a week one message about everything, so that silence is never taken for success.

It is due at eight in the morning of HOLDFAST_TIMEZONE; one that was missed comes late, and only once."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import func, select, text

from webapp.installation import Installation
from webapp.models import Configuration, Event
from webapp.notify.message import BAD, GOOD, WARNING, Message
from webapp.notify.words import size, when
from webapp.notify_rules import WEEKLY
from webapp.services import figures, protection, recipients, trends
from webapp.services.protection import Protection

HOUR = time(8)
SHOWN = 40
_LOCK = 0x484F4C44


def prepare(installation: Installation) -> bool:
    """Whether a digest was due and its event was written: by one of two ticks at once."""
    slot = _slot(installation)
    if slot is None:
        return False
    newest = select(func.max(Event.at)).where(Event.kind == recipients.DIGEST)
    with installation.database.reading() as session:
        last = session.scalar(newest) or session.scalar(select(func.min(Configuration.created_at)))
    if last is None or last >= slot:
        return False
    with installation.database.transaction() as session:
        if session.get_bind().dialect.name == "postgresql":
            session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        last = session.scalar(newest)
        if last is not None and last >= slot:
            return False
        details = {"since": (slot - _period(installation)).isoformat()}
        session.add(Event(kind=recipients.DIGEST, at=installation.clock(), details=details))
    return True


def message(installation: Installation, event: Event) -> Message:
    """What it says, as things are now."""
    since = datetime.fromisoformat(event.details["since"])
    sums = trends.exactly(installation, since)
    parts = figures.parts(sums)
    states, causes = parts[figures.STATE], parts[figures.CAUSE]
    every = [each for each in protection.of_all(installation) if each.status != protection.OFF]
    counted, points = protection.counts(every), protection.points(installation)
    bad = sum(causes.values())
    tone = BAD if counted[protection.UNPROTECTED] else WARNING if bad or counted[protection.AT_RISK] else GOOD
    zone = installation.settings.timezone
    facts = [
        ("Since", when(since, zone)),
        ("Backup runs", ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "none"),
        ("Stored", f"{size(sums['bytesStored'])} new in {sums[figures.BACKUPS]} restore points"),
        *(("Failed because of", f"{cause} ({count}×)") for cause, count in trends.by_count(causes).items()),
    ]
    verdict = f"{counted[protection.PROTECTED]} of {len(every)} backups are protected"
    return Message(
        tone=tone,
        subject=f"{_WORDS[tone]}: {verdict}",
        headline=verdict,
        facts=tuple(facts),
        reason=f"{bad} backup runs failed." if bad else "",
        advice="`backup-cli list --runs --status failed` shows what failed, and `backup-cli doctor` why."
        if bad
        else "",
        problems=tuple(_line(each, points.get(each.configuration.id, 0), zone) for each in every[:SHOWN]),
        link=installation.settings.public_url or "",
        footer=f"Holdfast on {installation.host}. How often this comes is set by HOLDFAST_DIGEST.",
    )


_WORDS = {GOOD: "OK", WARNING: "Warning", BAD: "FAILED"}


def _line(each: Protection, points: int, zone: str) -> str:
    newest = "no restore point yet" if each.newest is None else f"newest {when(each.newest.finished_at, zone)}"
    reasons = "".join(f" {reason.text}" for reason in each.reasons)
    return f"{each.configuration.name}: {each.status}, {points} restore points, {newest}.{reasons}"


def _period(installation: Installation) -> timedelta:
    return timedelta(days=7 if installation.settings.notify.digest == WEEKLY else 1)


def _slot(installation: Installation) -> datetime | None:
    """When the newest digest was or is due; None without one. Weekly ones are due on Mondays."""
    if installation.settings.notify.digest is None:
        return None
    now = installation.clock().astimezone(ZoneInfo(installation.settings.timezone))
    day = now.date()
    if installation.settings.notify.digest == WEEKLY:
        day -= timedelta(days=day.weekday())
    slot = datetime.combine(day, HOUR, now.tzinfo)
    return slot if slot <= now else slot - _period(installation)

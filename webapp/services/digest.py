"""The digest: once a day or a week one message about everything, so that silence is never taken for success.

It is due at eight in the morning of HOLDFAST_TIMEZONE; one that was missed comes late, and only once."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import func, select, text

from webapp.installation import Installation
from webapp.models import Configuration, Event, Schedule
from webapp.notify.message import BAD, GOOD, WARNING, Message
from webapp.notify.words import size, when
from webapp.notify_rules import WEEKLY
from webapp.services import recipients, restore_points, trends

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
    found = trends.trend(installation, since)
    series = {each.config_id: each for each in restore_points.series(installation)}
    with installation.database.reading() as session:
        query = select(Configuration, Schedule.missed_at).outerjoin(Schedule, Schedule.config_id == Configuration.id)
        rows = session.execute(query.where(Configuration.deleted_at.is_(None)).order_by(Configuration.id)).all()
    overdue = [each.id for each, missed_at in rows if missed_at is not None]
    without = [each.id for each, _ in rows if each.enabled and not series[each.id].count]
    bad = sum(found.causes.values())
    tone = BAD if overdue or without else WARNING if bad else GOOD
    zone = installation.settings.timezone
    facts = [
        ("Since", when(since, zone)),
        ("Backup runs", ", ".join(f"{count} {state}" for state, count in sorted(found.states.items())) or "none"),
        ("Stored", f"{size(found.sums[-1])} new in {found.backups} restore points"),
        *(("Failed because of", f"{cause} ({count}×)") for cause, count in found.causes.items()),
    ]
    protected = len(rows) - len({*overdue, *without})
    return Message(
        tone=tone,
        subject=f"{_WORDS[tone]}: {protected} of {len(rows)} configurations are up to date",
        headline=f"{protected} of {len(rows)} configurations are up to date",
        facts=tuple(facts),
        reason=f"Overdue: {', '.join(overdue)}." if overdue else f"{bad} backup runs failed." if bad else "",
        advice="`backup-cli list --runs --status failed` shows what failed, and `backup-cli doctor` why."
        if bad
        else "",
        problems=tuple(_line(each, series[each.id], zone, is_overdue=each.id in overdue) for each, _ in rows[:SHOWN]),
        link=installation.settings.public_url or "",
        footer=f"Holdfast on {installation.host}. How often this comes is set by HOLDFAST_DIGEST.",
    )


_WORDS = {GOOD: "OK", WARNING: "Warning", BAD: "FAILED"}


def _line(configuration: Configuration, series: restore_points.Series, zone: str, *, is_overdue: bool) -> str:
    newest = "no restore point yet" if series.newest_at is None else f"newest {when(series.newest_at, zone)}"
    state = ", OVERDUE" if is_overdue else "" if configuration.enabled else ", switched off"
    return f"{configuration.name}: {series.count} restore points, {newest}{state}"


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

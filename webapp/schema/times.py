"""Cron expressions and time zones: what is acceptable, and why something is not."""

from __future__ import annotations

CRON_ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
CRON_FIELDS = 5


def plain_cron(expression: str) -> str:
    """The expression in five fields; aliases such as `@daily` are spelled out."""
    text = " ".join(expression.split())
    return CRON_ALIASES.get(text.lower(), text)


def cron_fault(expression: str) -> str | None:
    """Why `expression` is not a schedule, or None when it is one."""
    from datetime import UTC, datetime

    from cronsim import CronSim, CronSimError

    text = plain_cron(expression)
    if text.startswith("@"):
        return f"is not a schedule: the short forms are {', '.join(CRON_ALIASES)}."
    if len(text.split()) != CRON_FIELDS:
        return "is not a schedule: it needs five fields (minute hour day month weekday), such as 0 2 * * *."
    try:
        ticks = CronSim(text, datetime(2026, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        return f"is not a schedule: {error} ({text})."
    try:
        next(ticks)
    except StopIteration:
        return f"is a schedule that never comes ({text})."
    return None


def zone_fault(name: str) -> str | None:
    """Why `name` is not a time zone, or None when it is one."""
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(name)
    except (OSError, ValueError, KeyError):  # a folder of zones, a path that leads out, an unknown name
        return "is not a time zone that is known here; use a name such as Europe/Berlin or UTC."
    return None

"""The only clock of webapp and cli. Services take a `Clock`, so that tests decide what time it is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The present moment, aware, in UTC."""
    return datetime.now(UTC)


def rfc3339(moment: datetime) -> str:
    """`2026-11-23T02:00:00Z`: RFC 3339 in UTC; a fraction only when there is one. `moment` must be aware."""
    if moment.tzinfo is None:
        raise ValueError("a time without a zone cannot be written as RFC 3339")
    utc = moment.astimezone(UTC)
    return utc.isoformat(timespec="milliseconds" if utc.microsecond else "seconds").replace("+00:00", "Z")

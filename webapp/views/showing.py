"""How pages show sizes, times and durations: filters for the templates."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from urllib.parse import quote, unquote
from zoneinfo import ZoneInfo

from flask import Flask, g
from markupsafe import Markup, escape

from webapp.clock import rfc3339
from webapp.extensions import installation
from webapp.models import Destination
from webapp.services import outlook
from webapp.services.destination_names import shown_name

_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB")
_GAP = "\N{NO-BREAK SPACE}"


def register(app: Flask) -> None:
    """The filters `size`, `span`, `ago`, `moment`, `at`, `place`, `second`, `changed`, `cron`, `shown`, `quoted`,
    `coded`, and `zone()`: in which zone times are shown."""
    app.add_template_filter(size)
    app.add_template_filter(span)
    app.add_template_filter(ago)
    app.add_template_filter(moment)
    app.add_template_filter(at)
    app.add_template_filter(place)
    app.add_template_filter(second)
    app.add_template_filter(changed)
    app.add_template_filter(cron)
    app.add_template_filter(shown)
    app.add_template_filter(quoted)
    app.add_template_filter(coded)
    app.jinja_env.globals["zone"] = _zone


def size(count: int) -> str:
    """`1.54 GiB`, of bytes: three significant digits."""
    if count < 1024:
        return f"{count}{_GAP}B"
    value = float(count)
    for unit in _UNITS:
        value /= 1024
        if value < 1000 or unit == _UNITS[-1]:
            break
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f}{_GAP}{unit}"


def span(seconds: float) -> str:
    """`12 s`, `6 min 41 s`, `9 h 12 min`, `3 days`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}{_GAP}s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}{_GAP}min {rest}{_GAP}s" if rest else f"{minutes}{_GAP}min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours}{_GAP}h {minutes}{_GAP}min" if minutes else f"{hours}{_GAP}h"
    return f"{hours // 24}{_GAP}days"


def ago(at: datetime) -> Markup:
    """`9 h ago` or `in 18 min`, with the time itself in the service's zone below it and in UTC on hover."""
    seconds = (installation().clock() - at).total_seconds()
    rough = _rough(abs(seconds))
    words = "now" if abs(seconds) < 1 else f"{rough} ago" if seconds > 0 else f"in {rough}"
    return Markup('<time datetime="{0}" title="{0}">{1}</time><span class="sub">{2}</span>').format(
        rfc3339(at), words, _local(at)
    )


def place(destination: Destination) -> str:
    """The name of a destination, as who looks at the page may know it."""
    return shown_name(destination, g.actor)


def moment(at: datetime) -> Markup:
    """`Mon 23 Nov 2026, 02:00 CET`, in the service's zone, with UTC on hover."""
    return Markup('<time datetime="{0}" title="{0}">{1}</time>').format(rfc3339(at), _local(at, with_day=True))


def at(when: datetime) -> str:
    """`Mon 23 Nov, 02:00 CET` as plain text: what tells links apart that look alike."""
    return _local(when)


def second(at: datetime) -> Markup:
    """`02:00:07`, in the service's zone, with UTC on hover: for the lines of a log."""
    there = at.astimezone(ZoneInfo(installation().settings.timezone))
    return Markup('<time datetime="{0}" title="{0}">{1:%H:%M:%S}</time>').format(rfc3339(at), there)


def changed(at: datetime | None) -> str:
    """When a file was changed, in the service's zone; `–` for none."""
    if at is None:
        return "–"
    try:
        return f"{at.astimezone(ZoneInfo(installation().settings.timezone)):%Y-%m-%d %H:%M}"
    except OverflowError:  # within hours of the first or the last year
        return "–"


@lru_cache(maxsize=512)
def cron(expression: str) -> str:
    """`At 02:00 every day`, of a schedule that is valid."""
    return outlook.in_words(expression)


def shown(name: str) -> str:
    """A file name of any bytes as text."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def quoted(name: str) -> str:
    """A file name of any bytes as it may stand in an address or a form field; `unquoted` reads it."""
    return quote(name, errors="surrogateescape")


def unquoted(text: str) -> str:
    """What `quoted` made."""
    return unquote(text, errors="surrogateescape")


def coded(text: str) -> Markup:
    """A sentence of ours in which commands stand between backticks, as the command line prints them."""
    parts = text.split("`")
    if len(parts) % 2 == 0:  # one that is not closed stays as it is
        return escape(text)
    marked = (
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part) for number, part in enumerate(parts)
    )
    return Markup("").join(marked)


def _rough(seconds: float) -> str:
    for unit, length in (("days", 86400 * 2), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // (86400 if unit == 'days' else length))}{_GAP}{unit}"
    return f"{int(seconds)}{_GAP}s"


def _zone() -> str:
    return installation().settings.timezone


def _local(at: datetime, *, with_day: bool = False) -> str:
    zone = ZoneInfo(installation().settings.timezone)
    there, now = at.astimezone(zone), installation().clock().astimezone(zone)
    if with_day or there.year != now.year:
        return there.strftime("%a %d %b %Y, %H:%M %Z")
    return there.strftime("%H:%M %Z" if there.date() == now.date() else "%a %d %b, %H:%M %Z")

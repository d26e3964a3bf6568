"""Who is told by default, how often, and where to: the part of the settings that is about notifications."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

_YES, _NO = ("yes", "true", "1"), ("no", "false", "0", "")
_RECIPIENT = re.compile(r"[^@\s\"<>,;:]+@[^@\s\"<>,;:/]+|(?!file:)[a-z][a-z0-9+.-]*://\S+")
NAMES = (
    "HOLDFAST_NOTIFY",
    "HOLDFAST_NOTIFY_PRIVATE",
    "HOLDFAST_REMIND_HOURS",
    "HOLDFAST_HEARTBEAT_URL",
    "HOLDFAST_DIGEST",
    "HOLDFAST_DIGEST_TO",
)
DAILY, WEEKLY = "daily", "weekly"


@dataclass(frozen=True)
class Rules:
    """`everybody` (addresses or Apprise URLs) is told of all that is bad; the same trouble is told again after `remind`
    at the earliest. `allow_private`: channels and pings may lead to private addresses. `digest` is DAILY, WEEKLY or
    None, for `digest_to`."""

    everybody: tuple[str, ...] = field(repr=False, default=())
    allow_private: bool = False
    remind: timedelta = timedelta(hours=24)
    heartbeat_url: str | None = field(repr=False, default=None)
    digest: str | None = None
    digest_to: tuple[str, ...] = field(repr=False, default=())


def read(values: Mapping[str, str]) -> tuple[Rules, dict[str, str]]:
    """The rules that the environment says, and what is wrong with it: name → sentence."""
    faults: dict[str, str] = {}
    everybody = _recipients(values, "HOLDFAST_NOTIFY", faults)
    digest_to = _recipients(values, "HOLDFAST_DIGEST_TO", faults) or everybody
    digest = values.get("HOLDFAST_DIGEST", "").strip().lower() or None
    if digest not in (DAILY, WEEKLY, None):
        faults["HOLDFAST_DIGEST"] = f"must be {DAILY} or {WEEKLY}."
    elif digest is not None and not digest_to:
        faults["HOLDFAST_DIGEST"] = "needs somebody to read it: set HOLDFAST_DIGEST_TO or HOLDFAST_NOTIFY."
    private = values.get("HOLDFAST_NOTIFY_PRIVATE", "").strip().lower()
    if private not in (*_YES, *_NO):
        faults["HOLDFAST_NOTIFY_PRIVATE"] = "must be yes or no."
    hours = values.get("HOLDFAST_REMIND_HOURS", "").strip() or "24"
    if not (hours.isascii() and hours.isdigit() and len(hours) < 5):
        faults["HOLDFAST_REMIND_HOURS"] = "must be a whole number of hours, 0 to 9999."
        hours = "24"
    url = values.get("HOLDFAST_HEARTBEAT_URL", "").strip() or None
    if url is not None and not url.startswith(("https://", "http://")):
        faults["HOLDFAST_HEARTBEAT_URL"] = "must begin with https:// or http://."
    return Rules(everybody, private in _YES, timedelta(hours=int(hours)), url, digest, digest_to), faults


def _recipients(values: Mapping[str, str], name: str, faults: dict[str, str]) -> tuple[str, ...]:
    found = tuple(filter(None, re.split(r"[,\s]+", values.get(name, ""))))
    if not all(_RECIPIENT.fullmatch(each) for each in found):
        faults[name] = "must hold e-mail addresses or Apprise URLs such as slack://…, with commas between."
    return found

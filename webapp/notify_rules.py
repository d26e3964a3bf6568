"""Who is told by default, how often, and where to: the part of the settings that is about notifications."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

_YES, _NO = ("yes", "true", "1"), ("no", "false", "0", "")
_RECIPIENT = re.compile(r"[^@\s\"<>,;:]+@[^@\s\"<>,;:/]+|(?!file:)[a-z][a-z0-9+.-]*://\S+")
NAMES = ("HOLDFAST_NOTIFY", "HOLDFAST_NOTIFY_PRIVATE", "HOLDFAST_REMIND_HOURS", "HOLDFAST_HEARTBEAT_URL")


@dataclass(frozen=True)
class Rules:
    """`everybody` (addresses or Apprise URLs) is told of all that is bad; the same trouble is told again after `remind`
    at the earliest. `allow_private`: channels and pings may lead to private addresses."""

    everybody: tuple[str, ...] = field(repr=False, default=())
    allow_private: bool = False
    remind: timedelta = timedelta(hours=24)
    heartbeat_url: str | None = field(repr=False, default=None)


def read(values: Mapping[str, str]) -> tuple[Rules, dict[str, str]]:
    """The rules that the environment says, and what is wrong with it: name → sentence."""
    faults: dict[str, str] = {}
    everybody = tuple(filter(None, re.split(r"[,\s]+", values.get("HOLDFAST_NOTIFY", ""))))
    if not all(_RECIPIENT.fullmatch(each) for each in everybody):
        faults["HOLDFAST_NOTIFY"] = "must hold e-mail addresses or Apprise URLs such as slack://…, with commas between."
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
    return Rules(everybody, private in _YES, timedelta(hours=int(hours)), url), faults

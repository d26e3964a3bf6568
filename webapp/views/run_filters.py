"""What stands in the address of a list of runs: read, checked, and put back into the form and the links of the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

from webapp.forms.days import NO_DAY, day_of, midnight
from webapp.models.run import KINDS, STATES, UNDO
from webapp.services.history import Wanted
from webapp.services.parents import DATABASE, DIFFERENTIAL, FILES, FULL, INCREMENTAL

TYPES = (FULL, INCREMENTAL, DIFFERENTIAL, DATABASE, FILES, UNDO)
TRIGGERS = ("manual", "schedule", "retry", "after-backup", "restore-point")
FAILED_FIRST = "failed-first"
NAMES = ("status", "backup", "kind", "type", "trigger", "from", "to", "sort")
_CHOICES = {"status": STATES, "kind": KINDS, "type": TYPES, "trigger": TRIGGERS, "sort": (FAILED_FIRST,)}
_LONGEST_NUMBER = 18


@dataclass(frozen=True)
class Chip:
    """A filter that is set, in words, and the values of the address without it."""

    text: str
    rest: dict[str, str]


@dataclass
class Filters:
    """`values` are what was typed; `faults` why some cannot be meant, by the name of the field."""

    values: dict[str, str]
    zone: ZoneInfo
    faults: dict[str, str] = field(default_factory=dict)
    before: int | None = None
    first: int = 1

    def wanted(self, *, limit: int) -> Wanted:
        """As the service wants it; only without faults."""
        return Wanted(
            config_id=self.values.get("backup"),
            kind=self.values.get("kind"),
            status=self.values.get("status"),
            since=self._midnight("from"),
            before=self.before,
            limit=limit,
            type=self.values.get("type"),
            trigger=self.values.get("trigger"),
            until=self._midnight("to", days=1),
            failed_first=self.values.get("sort") == FAILED_FIRST,
        )

    def chips(self) -> list[Chip]:
        """One for each filter that is set."""
        return [
            Chip(f"{name}: {value}", {other: text for other, text in self.values.items() if other != name})
            for name, value in self.values.items()
            if name != "sort"
        ]

    def _midnight(self, name: str, *, days: int = 0) -> datetime | None:
        day = day_of(self.values.get(name, ""))
        return None if day is None else midnight(day, self.zone, days=days)


def read(arguments: Mapping[str, str], zone: str) -> Filters:
    """The filters of a request; what is empty is not set."""
    values = {name: text for name in NAMES if (text := arguments.get(name, "").strip())}
    found = Filters(values, ZoneInfo(zone))
    for name, choices in _CHOICES.items():
        if name in values and values[name] not in choices:
            found.faults[name] = f"must be one of {', '.join(choices)}."
    for name in ("from", "to"):
        if name in values and day_of(values[name]) is None:
            found.faults[name] = NO_DAY
    if not found.faults and "from" in values and values.get("to", values["from"]) < values["from"]:
        found.faults["to"] = "must not come before the first day."
    found.before = _number(found, "before", arguments)
    found.first = _number(found, "first", arguments) or 1
    return found


def _number(found: Filters, name: str, arguments: Mapping[str, str]) -> int | None:
    text = arguments.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= _LONGEST_NUMBER):
        found.faults["page"] = "is not one to go on from. Begin at the first page."
        return None
    return int(text)

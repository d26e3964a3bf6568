"""Which restore points stay, and why: a pure function. It removes nothing; its brakes hold whoever calls it.

Of each of the last N hours, days, weeks (ISO 8601), months and years that have a point, in the configuration's time
zone, the newest point stays; `last` keeps the newest N whatever their age. Points that hold only a part of what others
hold stand for that part alone: a backup of the files never pushes out the last ones of the database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo

from engine.errors import RetentionRefused

KEEP_MIN = 3
# More than this in one go is more likely a mistake than a wish.
MAX_SHARE_OF_BYTES, MAX_SHARE_OF_POINTS = 0.30, 0.50


@dataclass(frozen=True)
class Policy:
    """How many points to keep of each kind of period; `keep_min` good ones stay in any case."""

    last: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    keep_min: int = KEEP_MIN


@dataclass(frozen=True)
class Hold:
    """Why a point must stay whatever the policy says; without `until` for ever."""

    reason: str
    until: datetime | None = None


@dataclass(frozen=True)
class Point:
    """A restore point at one destination. `is_good`: complete and not known to be damaged; `made_at` by the service's
    clock; `parts`: what it holds, such as databases and files."""

    id: bytes
    made_at: datetime
    is_good: bool = True
    is_verified: bool = False
    holds: tuple[Hold, ...] = ()
    parts: frozenset[str] = frozenset({""})


@dataclass(frozen=True)
class Decision:
    """What becomes of a point; `reasons` say why it stays, or why nothing keeps it."""

    point: Point
    keep: bool
    reasons: tuple[str, ...]


def plan_retention(points: Sequence[Point], policy: Policy, zone: tzinfo, *, now: datetime) -> list[Decision]:
    """One decision for each point, newest first. Points of one configuration at one destination.

    Points that are not good never stand for a period, so that a failed run cannot push out a good one."""
    ordered = sorted(points, key=lambda point: (point.made_at, point.id), reverse=True)
    reasons: dict[bytes, list[str]] = {point.id: [] for point in ordered}
    past = [point for point in ordered if point.is_good and point.made_at <= now]
    for point in ordered:
        if point.made_at > now:
            reasons[point.id].append("made in the future, by the clock; look at it")
        for hold in point.holds:
            if hold.until is None or hold.until > now:
                until = f" until {hold.until:%Y-%m-%d}" if hold.until else ""
                reasons[point.id].append(f"held{until}: {hold.reason}")
    for series, of_what in _series(past):
        kept = _kept_by_rules(series, policy, zone)
        for point in series:
            reasons[point.id] += [reason + of_what for reason in kept[point.id]]
    return [_decide(point, reasons[point.id], past) for point in ordered]


def require_moderation(decisions: Sequence[Decision], *, freed_bytes: int, total_bytes: int) -> None:
    """Raises RetentionRefused when a plan removes so much that somebody should say that it is meant."""
    removed = sum(1 for decision in decisions if not decision.keep)
    if removed > MAX_SHARE_OF_POINTS * len(decisions):
        raise RetentionRefused(
            f"This would remove {removed} of {len(decisions)} restore points.", hint="Confirm it if it is meant."
        )
    if total_bytes and freed_bytes > MAX_SHARE_OF_BYTES * total_bytes:
        share = round(100 * freed_bytes / total_bytes)
        raise RetentionRefused(f"This would free {share} % of the stored bytes.", hint="Confirm it if it is meant.")


def _series(past: Sequence[Point]) -> list[tuple[list[Point], str]]:
    """The points that hold each part, newest first, with words for the part where there are others without it."""
    parts = sorted({part for point in past for part in point.parts})
    found = [([point for point in past if part in point.parts or not point.parts], part) for part in parts]
    if all(len(series) == len(past) for series, _ in found):
        return [(list(past), "")]
    return [(series, f" of the {part}") for series, part in found]


def _kept_by_rules(past: Sequence[Point], policy: Policy, zone: tzinfo) -> dict[bytes, list[str]]:
    """What the policy and its brakes say for each of the points, which all count, newest first."""
    reasons: dict[bytes, list[str]] = {point.id: [] for point in past}
    for number, point in enumerate(past[: policy.last], start=1):
        reasons[point.id].append(f"last {number}")
    for name, count, period in _periods(policy):
        for number, point in enumerate(_newest_of_each(past, period, zone)[:count], start=1):
            reasons[point.id].append(f"{name} {number}")
    for number, point in enumerate(past[: policy.keep_min], start=1):
        if not reasons[point.id]:
            reasons[point.id].append(f"one of the newest {policy.keep_min} ({number})")
    verified = next((point for point in past if point.is_verified), None)
    if verified is not None:
        reasons[verified.id].append("the last verified restore point")
    return reasons


def _decide(point: Point, reasons: list[str], past: Sequence[Point]) -> Decision:
    if reasons:
        return Decision(point, True, tuple(reasons))
    if not past:
        return Decision(point, True, ("there is no good restore point",))
    why = "no rule keeps it" if point.is_good else "not a good restore point, and there are good ones"
    return Decision(point, False, (why,))


def _periods(policy: Policy) -> list[tuple[str, int, Callable[[datetime], object]]]:
    return [
        ("hourly", policy.hourly, lambda t: (t.date(), t.hour, t.utcoffset())),
        ("daily", policy.daily, lambda t: t.date()),
        ("weekly", policy.weekly, lambda t: t.isocalendar()[:2]),
        ("monthly", policy.monthly, lambda t: (t.year, t.month)),
        ("yearly", policy.yearly, lambda t: t.year),
    ]


def _newest_of_each(points: Sequence[Point], period: Callable[[datetime], object], zone: tzinfo) -> list[Point]:
    """The newest point of every period that has one, newest first; `points` are newest first."""
    seen: dict[object, Point] = {}
    for point in points:
        seen.setdefault(period(point.made_at.astimezone(zone)), point)
    return list(seen.values())

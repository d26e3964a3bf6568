"""Retention: what the rules keep, the brakes that nobody can forget, and reasons for every decision."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import RetentionRefused
from engine.model.retention import Decision, Hold, Point, Policy, plan_retention, require_moderation

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
counts = st.integers(0, 12)
policies = st.builds(
    Policy, last=counts, hourly=counts, daily=counts, weekly=counts, monthly=counts, yearly=counts,
    keep_min=st.integers(1, 5),
)  # fmt: skip
series = st.lists(
    st.tuples(st.integers(-100, 800 * 24 * 60), st.booleans(), st.booleans()),
    max_size=80,
    unique_by=lambda item: item[0],
)


def points_of(items: list[tuple[int, bool, bool]]) -> list[Point]:
    return [
        Point(number.to_bytes(16, "big"), NOW - timedelta(minutes=minutes), is_good=good, is_verified=verified and good)
        for number, (minutes, good, verified) in enumerate(items)
    ]


def kept(decisions: list[Decision]) -> set[bytes]:
    return {decision.point.id for decision in decisions if decision.keep}


def daily(count: int, *, hour: int = 2) -> list[Point]:
    start = NOW.replace(hour=hour)
    return [Point(n.to_bytes(16, "big"), start - timedelta(days=n)) for n in range(count)]


@given(series, policies)
def test_brakes_hold_for_every_policy(items: list[tuple[int, bool, bool]], policy: Policy) -> None:
    points = points_of(items)
    decisions = plan_retention(points, policy, BERLIN, now=NOW)
    stays = kept(decisions)
    assert {decision.point.id for decision in decisions} == {point.id for point in points}
    assert all(decision.reasons for decision in decisions)
    good = sorted((p for p in points if p.is_good and p.made_at <= NOW), key=lambda p: p.made_at, reverse=True)
    assert {point.id for point in good[: policy.keep_min]} <= stays
    assert {point.id for point in points if point.made_at > NOW} <= stays
    verified = [point.id for point in good if point.is_verified]
    assert set(verified[:1]) <= stays
    if points and not good:
        assert stays == {point.id for point in points}


@given(series, policies)
def test_failed_points_change_nothing_for_good_ones(items: list[tuple[int, bool, bool]], policy: Policy) -> None:
    points = points_of(items)
    good = [point for point in points if point.is_good]
    if not any(point.made_at <= NOW for point in good):
        return
    with_failed = kept(plan_retention(points, policy, BERLIN, now=NOW))
    without = kept(plan_retention(good, policy, BERLIN, now=NOW))
    assert with_failed & {point.id for point in good} == without


@given(series, policies)
def test_what_was_kept_is_kept_again(items: list[tuple[int, bool, bool]], policy: Policy) -> None:
    """Applying the same plan twice removes nothing more."""
    points = points_of(items)
    first = kept(plan_retention(points, policy, BERLIN, now=NOW))
    rest = [point for point in points if point.id in first]
    assert kept(plan_retention(rest, policy, BERLIN, now=NOW)) == first


def test_daily_weekly_monthly() -> None:
    decisions = plan_retention(daily(400), Policy(daily=7, weekly=4, monthly=12), BERLIN, now=NOW)
    reasons = {
        (NOW.date() - decision.point.made_at.date()).days: decision.reasons for decision in decisions if decision.keep
    }
    assert set(range(7)) <= set(reasons)
    assert reasons[0] == ("daily 1", "weekly 1", "monthly 1")
    assert sum("monthly" in " ".join(names) for names in reasons.values()) == 12
    assert len(reasons) < 7 + 4 + 12


def test_periods_are_those_of_the_zone() -> None:
    """23:30 UTC is already the next day in Berlin: two points of one UTC day are two days there."""
    points = [
        Point(b"a" * 16, datetime(2026, 11, 20, 10, 0, tzinfo=UTC)),
        Point(b"b" * 16, datetime(2026, 11, 20, 23, 30, tzinfo=UTC)),
    ]
    policy = Policy(daily=5, keep_min=1)
    assert len(kept(plan_retention(points, policy, BERLIN, now=NOW))) == 2
    assert len(kept(plan_retention(points, policy, UTC, now=NOW))) == 1


def test_the_hour_that_comes_twice_is_two_hours() -> None:
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    points = [Point(b"a" * 16, first), Point(b"b" * 16, first + timedelta(hours=1))]
    decisions = plan_retention(points, Policy(hourly=2, keep_min=1), BERLIN, now=NOW)
    assert [decision.reasons for decision in decisions] == [("hourly 1",), ("hourly 2",)]


def test_holds_keep_until_they_end() -> None:
    ended, lasting = Hold("audit", NOW - timedelta(days=1)), Hold("lawsuit", NOW + timedelta(days=30))
    points = [*daily(5), Point(b"x" * 16, NOW - timedelta(days=90), holds=(ended,))]
    points.append(Point(b"y" * 16, NOW - timedelta(days=91), holds=(lasting,)))
    points.append(Point(b"z" * 16, NOW - timedelta(days=92), holds=(Hold("pinned"),)))
    found = {decision.point.id: decision for decision in plan_retention(points, Policy(last=3), UTC, now=NOW)}
    assert not found[b"x" * 16].keep
    assert found[b"y" * 16].reasons == ("held until 2026-12-23: lawsuit",)
    assert found[b"z" * 16].reasons == ("held: pinned",)


def test_backups_of_a_part_push_out_nothing_that_they_do_not_hold() -> None:
    whole = [replace(point, parts=frozenset({"databases", "files"})) for point in daily(10, hour=2)]
    files = [
        Point(b"f" + point.id[1:], point.made_at + timedelta(hours=8), is_verified=True, parts=frozenset({"files"}))
        for point in whole
    ]
    decisions = plan_retention([*whole, *files], Policy(daily=4), UTC, now=NOW)
    assert kept(decisions) == {point.id for point in [*whole[:4], *files[:4]]}
    reasons = {decision.point.id: decision.reasons for decision in decisions}
    assert (reasons[whole[3].id], reasons[files[3].id]) == (("daily 4 of the databases",), ("daily 4 of the files",))
    assert reasons[files[0].id] == ("daily 1 of the files", "the last verified restore point of the files")
    brakes = plan_retention([*whole, *files], Policy(), UTC, now=NOW)
    assert kept(brakes) == {point.id for point in [*whole[:3], *files[:2]]}
    assert len(kept(plan_retention(whole, Policy(daily=4), UTC, now=NOW))) == 4
    assert len(kept(plan_retention([whole[0], *files[5:]], Policy(daily=4), UTC, now=NOW))) == 4


def test_large_removals_want_a_word() -> None:
    decisions = plan_retention(daily(10), Policy(last=4), UTC, now=NOW)
    with pytest.raises(RetentionRefused, match="6 of 10 restore points"):
        require_moderation(decisions, freed_bytes=0, total_bytes=100)
    moderate = plan_retention(daily(10), Policy(last=6), UTC, now=NOW)
    require_moderation(moderate, freed_bytes=30, total_bytes=100)
    with pytest.raises(RetentionRefused, match="31 % of the stored bytes"):
        require_moderation(moderate, freed_bytes=31, total_bytes=100)

"""Trying again: only what may pass, with growing waits, and never longer than the budget."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.errors import AccessDenied, Unavailable
from engine.storage.retry import Patience, Throttled, persist, random_fraction

BUSY = Unavailable("Busy.", transient=True)


class Failing:
    """Fails so many times, then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def patience(waits: list[float], **changes: object) -> Patience:
    """A patience whose clock goes on by what it waits."""
    settings = {"sleep": waits.append, "random": lambda: 1.0, "monotonic": lambda: sum(waits)}
    return replace(Patience(), **(settings | changes))  # type: ignore[arg-type]


def test_waits_double_up_to_the_longest() -> None:
    waits: list[float] = []
    assert persist(Failing(*[BUSY] * 7), patience(waits, longest_wait=10.0)) == "done"
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


def test_the_jitter_is_full() -> None:
    waits: list[float] = []
    draws = iter([0.0, 0.5, 1.0])
    persist(Failing(*[BUSY] * 3), patience(waits, random=lambda: next(draws)))
    assert waits == [0.0, 0.5, 2.0]
    drawn = [random_fraction() for _ in range(1000)]
    assert 0 <= min(drawn) < 0.1
    assert 0.9 < max(drawn) < 1


def test_eight_tries_are_the_end() -> None:
    action = Failing(*[BUSY] * 20)
    with pytest.raises(Unavailable, match="Busy"):
        persist(action, patience([]))
    assert action.calls == 8


def test_what_is_not_transient_is_not_tried_again() -> None:
    action = Failing(AccessDenied("No."))
    with pytest.raises(AccessDenied):
        persist(action, patience([]))
    assert action.calls == 1


def test_other_errors_pass_through() -> None:
    action = Failing(ValueError("a fault of ours"))
    with pytest.raises(ValueError, match="ours"):
        persist(action, patience([]))
    assert action.calls == 1


def test_the_destination_may_ask_for_a_longer_pause() -> None:
    waits: list[float] = []
    persist(Failing(Throttled("Slow down.", retry_after=30.0), Throttled("Slow down.")), patience(waits))
    assert waits == [30.0, 1.0]


def test_no_wait_leads_beyond_the_budget() -> None:
    waits: list[float] = []
    action = Failing(*[BUSY] * 20)
    with pytest.raises(Unavailable):
        persist(action, patience(waits, budget=5.0))
    assert waits == [0.5, 1.0, 2.0]
    with pytest.raises(Throttled):
        persist(Failing(Throttled("Come back tomorrow.", retry_after=86_400.0)), patience(waits))


def test_waiting_can_be_ended_from_outside() -> None:
    action = Failing(*[BUSY] * 20)
    with pytest.raises(Unavailable):
        persist(action, patience([], sleep=lambda seconds: True))
    assert action.calls == 1

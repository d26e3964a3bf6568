"""Exhaustive search: every interleaving of a setup, breadth first, so that a loss comes with its shortest story."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from tests.model.protocol import Order, Setup, State, first_state, is_lost, successors


class Found(NamedTuple):
    """How many states there are, and the steps that lead to a loss; none when nothing can be lost."""

    states: int
    story: tuple[str, ...]


def explore(setup: Setup, order: Order) -> Found:
    """All states that can be reached, or as far as the first loss."""
    start = first_state(setup)
    came_from: dict[State, tuple[State, str] | None] = {start: None}
    waiting = deque([start])
    while waiting:
        state = waiting.popleft()
        if is_lost(state):
            return Found(len(came_from), _story(came_from, state))
        for label, following in successors(state, setup, order):
            if following not in came_from:
                came_from[following] = (state, label)
                waiting.append(following)
    return Found(len(came_from), ())


def _story(came_from: dict[State, tuple[State, str] | None], state: State) -> tuple[str, ...]:
    steps: list[str] = []
    while (step := came_from[state]) is not None:
        state, label = step
        steps.append(label)
    return tuple(reversed(steps))

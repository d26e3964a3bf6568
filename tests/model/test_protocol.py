"""The order that is built loses nothing in any interleaving; each order that was rejected does."""

from __future__ import annotations

import pytest

from tests.model.protocol import Order, Setup
from tests.model.search import explore

ONE, TWO, DIFFERENT = frozenset({"ax"}), frozenset({"ax", "bx"}), frozenset({"ax", "by"})
X = frozenset("x")
LEANING = frozenset({"ax", "bx1>y"})
DEEPER = frozenset({"ax", "by2>x", "cy", "dx1>z"})

BUILT = {
    "writer, pruner, index": Setup(DIFFERENT, pruners=1, index=True),
    "writer, two pruners": Setup(ONE),
    "two writers, pruner, heal": Setup(ONE, writers=2, pruners=1, heal=True),
    "writer, pruner, all": Setup(TWO, X, pruners=1, repack=True, heal=True, forget=True),
    "two pruners, two copies": Setup(TWO, X, writers=0, repack=True, forget=True),
    "writer, two pruners, heal": Setup(ONE, heal=True),
    "pruner, two menders": Setup(TWO, X, writers=0, pruners=1, repack=True, menders=2),
    "writer, pruner, differences": Setup(LEANING, pruners=1, new="z"),
    "writer, two pruners, a new difference": Setup(ONE, new="z"),
    "two writers, pruner, differences": Setup(LEANING, writers=2, pruners=1, own_copies=False, new="z"),
    "pruner, copies of different depth": Setup(DEEPER, frozenset("z"), writers=0, pruners=1, repack=True),
    "two writers, pruner, repack": Setup(ONE, X, writers=2, pruners=1, repack=True, heal=True, forget=True),
}
WHOLE = {
    "writer, pruner, differences, all": Setup(LEANING, frozenset("y"), pruners=1, repack=True, forget=True, new="z"),
    "writer, two pruners, differences": Setup(LEANING, new="z", own_copies=False),
    "writer, two pruners, index": Setup(DIFFERENT, index=True),
    "writer, two pruners, two copies, repack, heal": Setup(TWO, X, repack=True, heal=True),
    "writer, two pruners, repack, heal, forget": Setup(ONE, X, repack=True, heal=True, forget=True),
    "two pruners, mender": Setup(ONE, X, writers=0, repack=True, menders=1),
    "writer, pruner, mender": Setup(TWO, X, pruners=1, repack=True, forget=True, menders=1),
}
# Each rule with the smallest setup in which an order without it loses something.
REJECTED = {
    "session_before_marks": Setup(ONE, pruners=1),
    "presence_by_listing": Setup(DIFFERENT, index=True, own_copies=False),
    "own_marks": Setup(ONE),
    "mark_before_sessions": Setup(ONE, pruners=1),
    "waits_for_sessions": Setup(ONE, pruners=1),
    "lists_manifests_again": Setup(ONE, pruners=1),
    "fenced_fails": Setup(ONE, pruners=1),
    "marked_copies_do_not_count": Setup(TWO, X, writers=0, repack=True),
    "marks_before_packs": Setup(TWO, X, writers=0, repack=True),
    "marks_read_after_waiting": Setup(TWO, X, writers=0, repack=True),
    "dead_marks_stay": Setup(ONE, heal=True),
    "menders_mark": Setup(ONE, X, writers=0, pruners=1, repack=True, menders=1),
    "bases_are_needed": Setup(ONE, pruners=1, new="z"),
    "bases_are_unmarked": Setup(ONE, pruners=1, new="z"),
    "chains_are_looked_at": Setup(LEANING, pruners=1),
    "deeper_copies_do_not_count": Setup(DEEPER, frozenset("z"), writers=0, pruners=1, repack=True),
}


def test_every_rule_has_a_case() -> None:
    assert set(REJECTED) == set(Order._fields)


@pytest.mark.parametrize("name", BUILT)
def test_nothing_is_lost(name: str) -> None:
    found = explore(BUILT[name], Order())
    assert found.story == (), f"after {found.states} states"


@pytest.mark.full
@pytest.mark.parametrize("name", WHOLE)
def test_nothing_is_lost_in_larger_setups(name: str) -> None:
    found = explore(WHOLE[name], Order())
    assert found.story == (), f"after {found.states} states"


@pytest.mark.parametrize("rule", REJECTED)
def test_without_this_rule_something_is_lost(rule: str) -> None:
    story = explore(REJECTED[rule], Order()._replace(**{rule: False})).story
    assert story
    assert any(word in story[-1] for word in ("deletes", "succeeded", "moves"))

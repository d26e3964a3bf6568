"""The stories in which rejected orders lose data, played to the real engine: it loses nothing."""

from __future__ import annotations

import random
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from engine.errors import EngineError
from engine.progress import Silent
from engine.repository import mark
from engine.repository.prune import Freed, Rules, begin, finish
from engine.storage.base import Storage
from tests.model.protocol import Order
from tests.model.search import explore
from tests.model.stepping import Actor, Step
from tests.model.test_protocol import REJECTED
from tests.support.pruning import Pruning

# The model's steps as calls of the engine; others are no calls that anybody else can notice. Deletions come last, so
# that every copy still opens while it is judged: the engine opens what it counts on, which the model does not know of.
CALLS: dict[str, Step] = {
    "W session": ("put", "sessions"),
    "W marks": ("list", "marks"),
    "W refers": ("list", "packs"),
    "W puts": ("list", "packs"),
    "W commit": ("put", "manifests"),
    "W succeeded": ("stat", "fences"),
    "W session ends": ("delete", "sessions"),
    "G chooses": ("list", "manifests"),
    "G marks": ("put", "marks"),
    "G sessions": ("list", "sessions"),
    "G fences": ("list", "sessions"),
    "G marks of others": ("list", "marks"),
    "G packs": ("list", "packs"),
    "G needs": ("list", "manifests"),
}
BEGINNING: dict[Step, int] = {("list", "marks"): 1, ("list", "sessions"): 2, ("list", "packs"): 1}
AT_ONCE = Rules(grace=timedelta(), session_expiry=timedelta())
# Heal and quarantine are played in test_replay_healing.py, differences, made by hand, in tests/faults/test_bases.py.
PLAYED = sorted(
    rule
    for rule, setup in REJECTED.items()
    if rule not in ("dead_marks_stay", "menders_mark") and not (setup.new or any(">" in pack for pack in setup.packs))
)


@pytest.mark.parametrize("rule", PLAYED)
def test_the_engine_survives_what_a_rejected_order_does_not(rule: str, tmp_path: Path, seed: int) -> None:
    story = explore(REJECTED[rule], Order()._replace(**{rule: False})).story
    site = Pruning(tmp_path, random.Random(seed))
    site.bench.create()
    setup = REJECTED[rule]
    packs = _prepare(site, is_needed=bool(setup.referred))
    chooses = setup.pruners == 1 and not setup.referred
    actors = {
        name: _cast(site, name, story, {} if chooses else packs) for name in sorted({step.split()[0] for step in story})
    }
    play(actors, story, earlier=BEGINNING if chooses else {})
    for name, actor in actors.items():
        actor.to_the_end()
        is_refused = name.startswith("W") and isinstance(actor.error, EngineError)
        assert actor.error is None or is_refused, actor.error
    site.assert_sound(only=site.states)


def _prepare(site: Pruning, *, is_needed: bool) -> dict[str, list[bytes]]:
    """The packs of the model: `ax` and `bx` with copies of what a point needs, or `ax` and `by`, which nothing needs
    but the next backup may refer to."""
    if is_needed:
        one, other = site.store_twice()
        return {"ax": [one.pack.name], "bx": [other.pack.name]}
    site.write("one", 400_000)
    site.backup()
    first = list(site.repository.list_packs())
    site.write("other", 400_000)
    site.backup()
    site.remove_file("other")
    site.remove(1, 2)
    site.states.clear()
    return {"ax": first, "by": [name for name in site.repository.list_packs() if name not in first]}


def _cast(site: Pruning, name: str, story: tuple[str, ...], packs: dict[str, list[bytes]]) -> Actor:
    """A writer or pruner who does for real what it does in the story. Without `packs` the pruner chooses by itself."""
    steps = [step.split(maxsplit=1)[1] for step in story if step.startswith(name)]
    moment = site.bench.clock()

    def write(storage: Storage) -> None:
        stores_again = any(step.startswith("puts") for step in steps)
        distrusted = {"one": packs.get("ax", ())} if stores_again else {}
        made = site.bench.backup(site.source, storage=storage, parent=None, distrusted=distrusted).manifest
        site.states[made.id] = site.state()

    def prune(storage: Storage) -> None:
        opened = site.bench.open(storage)
        if not packs:
            found = begin(opened, rules=AT_ONCE, clock=lambda: moment, progress=Silent(), spool=site.folder / "spool")
            assert found is not None
            finish(opened, found.id, rules=AT_ONCE, clock=lambda: moment, progress=Silent())
            return
        opened.manifest_ids()
        victims: list[bytes] = []
        for chosen in next(step for step in steps if step.startswith("chooses ")).split()[1].split(","):
            others = set(site.repository.list_packs()).difference(*packs.values())
            victims += packs.get(chosen, others)
        own = mark.create(opened, victims, now=moment)
        freed = finish(opened, own.id, rules=AT_ONCE, clock=lambda: moment, progress=Silent())
        assert isinstance(freed, Freed)

    return Actor(site.bench.storage(), write if name.startswith("W") else prune)


def play(
    actors: dict[str, Actor], story: tuple[str, ...], *, earlier: dict[Step, int], calls: dict[str, Step] = CALLS
) -> None:
    """Each actor makes the call of each step of the story, unless it has made so many already. Calls in `earlier` a
    pruner makes before it chooses."""
    wanted = {name: Counter[Step](earlier if name.startswith("G") else {}) for name in actors}
    for step in story:
        name, _, what = step.partition(" ")
        label = max((each for each in calls if f"{name[0]} {what}".startswith(each)), key=len, default="")
        if label:
            wanted[name][calls[label]] += 1
            actors[name].until(calls[label], wanted[name][calls[label]])

"""The two stories of healing and of quarantine in which rejected orders lose data, played to the real engine."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from engine.errors import Fenced
from engine.progress import Silent
from engine.repository import layout, mark
from engine.repository.check import check
from engine.repository.heal import sync
from engine.repository.prune import Freed, finish
from engine.repository.repair import Order as RepairOrder
from engine.repository.repair import repair
from engine.storage.base import Storage
from tests.model.protocol import Order
from tests.model.search import explore
from tests.model.stepping import ALL_STEPS, Actor, Step
from tests.model.test_protocol import REJECTED
from tests.model.test_replay import AT_ONCE, CALLS, play
from tests.support.pruning import ONE_CHUNK_BYTES, Pruning

HEALING: dict[str, Step] = CALLS | {
    "W heals": ("put", "packs"),
    "G deletes": ("delete", "packs"),
}
QUARANTINE: dict[str, Step] = CALLS | {
    "M session": ("put", "sessions"),
    "M writes": ("put", "packs"),
    "M is not fenced": ("stat", "fences"),
    "M moves": ("move", "packs"),
    "G deletes": ("delete", "packs"),
}


def story_without(rule: str) -> tuple[str, ...]:
    story = explore(REJECTED[rule], Order()._replace(**{rule: False})).story
    assert story
    return story


def prune(site: Pruning, storage: Storage, victims: list[bytes] | None) -> None:
    """Both phases at once, of these packs or of all that have come since."""
    opened, moment = site.bench.open(storage), site.bench.clock()
    before = set(site.repository.list_packs())
    opened.manifest_ids()
    chosen = set(site.repository.list_packs()) - before if victims is None else victims
    own = mark.create(opened, chosen, now=moment)
    assert isinstance(finish(opened, own.id, rules=AT_ONCE, clock=lambda: moment, progress=Silent()), Freed)


def test_what_is_healed_beside_a_pruner_that_sleeps_stays(tmp_path: Path, seed: int) -> None:
    """One pruner deletes packs and ends; another, who has marked the same ones, sleeps now and then, at last right
    before it deletes; meanwhile the packs are healed. The sleeper's mark, which its neighbour must not remove, sends
    the healer to other names."""
    story = story_without("dead_marks_stay")
    site = Pruning(tmp_path / "two", random.Random(seed))
    site.bench.create()
    site.write("file", ONE_CHUNK_BYTES)
    site.backup()
    other = Pruning(tmp_path / "one", site.rng, like=site)
    for identity in site.repository.manifest_ids():
        site.repository.storage.delete(layout.manifest(identity))
    victims = list(site.repository.list_packs())

    def heal(storage: Storage) -> None:
        tools: dict[str, Any] = {"clock": site.bench.clock, "progress": Silent(), "spool": site.folder / "spool"}
        sync([("one", other.repository)], "two", site.bench.open(storage), **tools)

    works = {"W": heal, "G": lambda storage: prune(site, storage, victims)}
    actors = {
        name: Actor(site.bench.storage(), works[name[0]], steps=ALL_STEPS)
        for name in sorted({step.split()[0] for step in story})
    }
    for at, step in enumerate(story, 1):
        play(actors, story[:at], earlier={}, calls=HEALING)
        name, _, what = step.partition(" ")
        if name.startswith("G") and what.startswith("keeps"):
            actors[name].up_to(("delete", "packs"))
        if what.startswith("unmarks"):
            actors[name].to_the_end()  # it looks at the marks of all
    for actor in actors.values():
        actor.to_the_end()
        assert actor.error is None, actor.error
    site.assert_sound(only=site.states)


def test_what_a_repair_that_sleeps_has_saved_is_not_pruned(tmp_path: Path, seed: int) -> None:
    """A repair has stored anew what opens of a damaged pack, and sleeps right before it moves that. A pruner fences it
    and weighs the new copy: that in the damaged pack must not be counted, since it is in the repair's mark."""
    story = story_without("menders_mark")
    site = Pruning(tmp_path, random.Random(seed))
    site.bench.create()
    site.write("file", ONE_CHUNK_BYTES)
    made = site.backup()
    trees = set(site.tree_packs_of(made.id))
    (damaged,) = [name for name in site.repository.list_packs() if layout.pack(name) not in trees]
    path = site.bench.place / layout.pack(damaged)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    report = check(site.repository, progress=Silent())

    def mend(storage: Storage) -> None:
        tools: dict[str, Any] = {"clock": site.bench.clock, "progress": Silent(), "spool": site.folder / "spool"}
        repair("one", site.bench.open(storage), [], report, RepairOrder(slots={}, host="another"), **tools)

    mender = Actor(site.bench.storage(), mend, steps=ALL_STEPS)
    pruner = Actor(site.bench.storage(), lambda storage: prune(site, storage, None), steps=ALL_STEPS)
    play({"M0": mender, "G0": pruner}, story, earlier={}, calls=QUARANTINE)
    for actor in (pruner, mender):
        actor.to_the_end()
    assert pruner.error is None, pruner.error
    assert isinstance(mender.error, Fenced), mender.error
    assert not path.exists()
    site.assert_sound(only=site.states)

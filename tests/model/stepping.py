"""Real writers and pruners, one step of the protocol at a time, in an order that somebody else decides.

Each actor is a thread whose storage stops it before every call that is a step; the conductor lets one go on until it
has made the call that it names."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from engine.storage.base import Buffer, Item, Storage

# Calls that others can notice or that notice others: (verb, folder).
STEPS = frozenset(
    {
        ("put", "sessions"),
        ("delete", "sessions"),
        ("list", "sessions"),
        ("put", "marks"),
        ("list", "marks"),
        ("list", "packs"),
        ("delete", "packs"),
        ("put", "manifests"),
        ("list", "manifests"),
        ("stat", "fences"),
    }
)
Step = tuple[str, str]
# Those who do all of their work in one thread may be stopped before these too.
ALL_STEPS = STEPS | {("put", "packs"), ("move", "packs")}
_SECONDS = 60


class SteppedStorage:
    """A storage that asks its actor before each step and tells it afterwards."""

    requests_at_once = 1

    def __init__(self, inner: Storage, actor: Actor) -> None:
        self._inner = inner
        self._actor = actor

    def describe(self) -> str:
        return self._inner.describe()

    def initialise(self) -> None:
        self._inner.initialise()

    def close(self) -> None:
        self._inner.close()

    def put(self, name: str, data: Buffer | Path, *, create: bool = True) -> None:
        with self._actor.step("put", name):
            self._inner.put(name, data, create=create)

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        return self._inner.get(name, offset, length)

    def stat(self, name: str) -> Item:
        with self._actor.step("stat", name):
            return self._inner.stat(name)

    def list(self, prefix: str) -> Iterator[Item]:
        with self._actor.step("list", prefix):
            return iter(list(self._inner.list(prefix)))

    def delete(self, name: str) -> None:
        with self._actor.step("delete", name):
            self._inner.delete(name)

    def move(self, name: str, to: str) -> None:
        with self._actor.step("move", name):
            self._inner.move(name, to)


class Actor:
    """A process of the protocol, stopped before each of `steps`. `error` is how it ended, None when well."""

    def __init__(self, storage: Storage, work: Callable[[Storage], object], *, steps: frozenset[Step] = STEPS) -> None:
        self._steps = steps
        self._next: Step | None = None
        self.error: BaseException | None = None
        self.made: Counter[Step] = Counter()
        self._storage = SteppedStorage(storage, self)
        self._work = work
        self._go, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        self._is_free = self.is_done = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._await()

    def until(self, step: Step, count: int) -> None:
        """Let it go on until it has made this step so many times in all, or is done."""
        while self.made[step] < count and not self.is_done:
            self._go.release()
            self._await()

    def up_to(self, step: Step) -> None:
        """Let it go on until it is about to make this step, or is done."""
        while self._next != step and not self.is_done:
            self._go.release()
            self._await()

    def to_the_end(self) -> None:
        """Let it do all the rest."""
        self._is_free = True
        while not self.is_done:
            self._go.release()
            self._await()
        self._thread.join(_SECONDS)

    def step(self, verb: str, name: str) -> _Stop:
        """For the storage: stops here if this is a step."""
        return _Stop(self, (verb, name.split("/")[0]))

    def stop(self, step: Step) -> None:
        """Before a step: wait for leave."""
        if step in self._steps and not self._is_free:
            self._next = step
            self._stopped.release()
            self._go.acquire()

    def _await(self) -> None:
        assert self._stopped.acquire(timeout=_SECONDS), "the actor neither stops nor ends"

    def _run(self) -> None:
        try:
            self._work(self._storage)
        except BaseException as error:  # noqa: BLE001 - told to the conductor
            self.error = error
        self.is_done = True
        self._stopped.release()


class _Stop:
    def __init__(self, actor: Actor, step: Step) -> None:
        self._actor = actor
        self._step = step

    def __enter__(self) -> None:
        self._actor.stop(self._step)

    def __exit__(self, *about: object) -> None:
        self._actor.made[self._step] += 1

"""Tries on a storage what backups rely on, with small objects below `tmp/` that are removed again.

Works on every kind; where a storage has `features`, these are asked too. A missing feature is told, not fatal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol, runtime_checkable

from engine.errors import AlreadyExists, EngineError, NotFound, StorageError
from engine.ids import random_bytes
from engine.storage.base import Storage

FOLDER = "tmp/"
# Names that stores, and proxies before them, like to change. Ours are plain, so this only warns.
ODD_NAMES = ("with space+plus", "percent%41", "quote'\"&=", "question?#hash", "ünïcode-文件", "colon:comma,semi;at@")
SKEW_ALLOWED = timedelta(minutes=5)
_SIZE = 100_000


class Features(Protocol):
    """What a store can tell about itself. Methods raise StorageError."""

    @property
    def creates_conditionally(self) -> bool:
        """False when "create, but never overwrite" is only imitated, which two writers at once can break."""

    def server_time(self) -> datetime:
        """The store's clock."""

    def versioning(self) -> str:
        """For people; begins with `off` where deleting frees space."""

    def object_lock(self) -> str:
        """For people; begins with `off` where objects can be deleted."""

    def refuses_wrong_checksum(self, name: str) -> bool:
        """Whether an object that was spoiled on its way is refused."""


@runtime_checkable
class Featured(Protocol):
    """A storage that has more to tell than the contract asks for."""

    def features(self) -> Features:
        """What it can do."""


@dataclass(frozen=True)
class Step:
    """One thing that was tried. `detail` is for people; `is_needed` steps must be ok for backups to work."""

    name: str
    ok: bool
    detail: str
    seconds: float
    is_needed: bool = True


@dataclass(frozen=True)
class ProbeReport:
    """What was found. None means that it could not be tried or does not apply to this kind of storage.

    Where `conditional_create` is False, only the first creation of a repository must be kept to one machine: all other
    names are random or the hash of their bytes. A positive `clock_skew` means that the store is ahead of us; `latency`
    is the quickest small request, in seconds."""

    steps: tuple[Step, ...]
    conditional_create: bool | None = None
    wrong_checksum_refused: bool | None = None
    clock_skew: timedelta | None = None
    versioning: str | None = None
    object_lock: str | None = None
    latency: float | None = None

    @property
    def is_usable(self) -> bool:
        """Backups to this place can work."""
        return all(step.ok for step in self.steps if step.is_needed)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What works less well than it could, a sentence each."""
        return tuple(step.detail for step in self.steps if not step.ok and not step.is_needed)


def probe(storage: Storage, *, clock: Callable[[], datetime]) -> ProbeReport:
    """Try everything, up to the first step that is needed and fails. `clock` is ours. Raises no StorageError.

    Give a remote storage little patience (retry.IMPATIENT), or this takes as long as a backup would wait."""
    attempt = _Probe(storage, clock)
    try:
        for name, is_needed, action in attempt.plan():
            if not attempt.run(name, action, is_needed=is_needed):
                break
    finally:
        attempt.clean_up()
    return attempt.report()


class _Probe:
    """One probing under way: the names that it made, and what it learned."""

    def __init__(self, storage: Storage, clock: Callable[[], datetime]) -> None:
        self._storage = storage
        self._clock = clock
        self._features = storage.features() if isinstance(storage, Featured) else None
        self._stem = f"{FOLDER}probe-{random_bytes(16).hex()}"
        self._data = random_bytes(_SIZE)
        self._made: set[str] = set()
        self._steps: list[Step] = []
        self._conditional: bool | None = None
        self._checksum: bool | None = None
        self._skew: timedelta | None = None
        self._versioning: str | None = None
        self._lock: str | None = None

    def plan(self) -> Iterator[tuple[str, bool, Callable[[], str]]]:
        """Name, whether backups need it, and the action, which returns what to say or raises."""
        yield "write", True, self._write
        yield "read back", True, self._read
        yield "read a range", True, self._read_range
        yield "list", True, self._list
        yield "conditional create", False, self._create_again
        yield "replace", True, self._replace
        yield "odd names", False, self._odd_names
        yield "clock", False, self._compare_clocks
        if self._features is not None:
            yield "wrong checksum", False, self._wrong_checksum
            yield "versioning", False, self._ask_versioning
            yield "object lock", False, self._ask_lock
        yield "delete", True, self._delete

    def run(self, name: str, action: Callable[[], str], *, is_needed: bool) -> bool:
        """Carry out a step and note it; False when going on is pointless."""
        started = time.monotonic()
        try:
            ok, detail = True, action()
        except _Failed as failed:
            ok, detail = False, str(failed)
        except EngineError as error:
            ok, detail = False, str(error)
        self._steps.append(Step(name, ok, detail, time.monotonic() - started, is_needed))
        return ok or not is_needed

    def clean_up(self) -> None:
        """Remove whatever is left; what cannot be removed is harmless where it is."""
        for name in sorted(self._made):
            with suppress(StorageError):
                self._storage.delete(name)

    def report(self) -> ProbeReport:
        """What was found."""
        quick = sorted(
            step.seconds for step in self._steps if step.ok and step.name in ("read a range", "list", "write")
        )
        return ProbeReport(
            steps=tuple(self._steps),
            conditional_create=self._conditional,
            wrong_checksum_refused=self._checksum,
            clock_skew=self._skew,
            versioning=self._versioning,
            object_lock=self._lock,
            latency=quick[0] if quick else None,
        )

    def _name(self, ending: str) -> str:
        name = f"{self._stem}.{ending}"
        self._made.add(name)
        return name

    def _write(self) -> str:
        self._storage.put(self._name("a"), self._data)
        return f"{_SIZE} bytes were written."

    def _read(self) -> str:
        if self._storage.get(self._name("a")) != self._data:
            raise _Failed("Other bytes came back than were written.")
        return "The same bytes came back."

    def _read_range(self) -> str:
        if self._storage.get(self._name("a"), 4321, 1234) != self._data[4321:5555]:
            raise _Failed("A range holds other bytes than were written there.")
        return "A range of the bytes came back."

    def _list(self) -> str:
        self._require_listed(self._name("a"))
        return "The object is listed with its size."

    def _require_listed(self, name: str) -> None:
        sizes = {item.name: item.size for item in self._storage.list(FOLDER)}
        if name not in sizes:
            raise _Failed(f"An object that was just written is not listed ({name}).")
        if sizes[name] != self._storage.stat(name).size:
            raise _Failed(f"An object is listed with another size than it has ({name}).")

    def _create_again(self) -> str:
        try:
            self._storage.put(self._name("a"), b"overwritten")
            self._conditional = False
        except AlreadyExists:
            is_honest = self._storage.get(self._name("a")) == self._data
            self._conditional = is_honest and (self._features is None or self._features.creates_conditionally)
        if not self._conditional:
            raise _Failed("The store cannot refuse to overwrite: make its first backup from one machine.")
        return "Creating an object that exists was refused."

    def _replace(self) -> str:
        name = self._name("b")
        for data in (b"old", b"new and longer"):
            self._storage.put(name, data, create=False)
            if self._storage.get(name) != data:
                raise _Failed("An object that was replaced still shows its old bytes.")
        return "An object was replaced at once."

    def _odd_names(self) -> str:
        for odd in ODD_NAMES:
            name = self._name(odd)
            self._storage.put(name, odd.encode())
            if self._storage.get(name) != odd.encode():
                raise _Failed(f"The name {odd!r} leads to another object.")
            self._require_listed(name)
        return f"{len(ODD_NAMES)} odd names survived."

    def _compare_clocks(self) -> str:
        if self._features is not None:
            theirs = self._features.server_time()
        else:
            name = self._name("clock")
            self._storage.put(name, b"")
            theirs = self._storage.stat(name).modified_at
        self._skew = theirs - self._clock().astimezone(UTC)
        seconds = round(abs(self._skew.total_seconds()))
        if abs(self._skew) > SKEW_ALLOWED:
            raise _Failed(f"The store's clock and ours differ by {seconds} s. Set this machine's clock, best by NTP.")
        return f"The clocks differ by {seconds} s."

    def _wrong_checksum(self) -> str:
        assert self._features is not None
        self._checksum = self._features.refuses_wrong_checksum(self._name("spoiled"))
        if not self._checksum:
            raise _Failed(
                "The store does not compare checksums: what the network spoils is found by us, after sending."
            )
        return "An object with a wrong checksum was refused."

    def _ask_versioning(self) -> str:
        assert self._features is not None
        self._versioning = self._features.versioning()
        if self._versioning == "on":
            raise _Failed("Versioning is on: deleted objects keep their space until a rule of the bucket removes them.")
        return f"Versioning: {self._versioning}."

    def _ask_lock(self) -> str:
        assert self._features is not None
        self._lock = self._features.object_lock()
        if self._lock.startswith("on"):
            raise _Failed(f"Object Lock is {self._lock}: deleted objects keep their space until it ends.")
        return f"Object Lock: {self._lock}."

    def _delete(self) -> str:
        name = self._name("a")
        self._storage.delete(name)
        try:
            self._storage.stat(name)
        except NotFound:
            self._made.discard(name)
            return "The object was deleted."
        raise _Failed("An object that was deleted is still there.")


class _Failed(Exception):
    """A step's finding, for people."""

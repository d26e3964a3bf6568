"""Reads each blob from the first place that has a good copy of it, and keeps account of what had to come from another
place than the first: a restore that leans on a second copy says so."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from engine.errors import Corrupt, EngineError
from engine.repository.index import Location
from engine.repository.reader import BlobReader
from engine.repository.table import ANY_DEPTH


@dataclass
class Spare:
    """A place that is asked when the ones before it fail; `open` is called when that happens first, and may raise."""

    name: str
    open: Callable[[], BlobReader]
    reader: BlobReader | None = None
    failure: EngineError | None = None

    @classmethod
    def of(cls, name: str, reader: BlobReader) -> Spare:
        """A place that is open."""
        return cls(name, lambda: reader, reader)


@dataclass
class Substitution:
    """What was taken from elsewhere: objects of `place` that were damaged or missing there or, with `failure`,
    everything from the moment at which the place itself failed. `taken_from` names where it came from instead."""

    place: str
    objects: set[str] = field(default_factory=set)
    failure: str = ""
    taken_from: set[str] = field(default_factory=set)

    def describe(self) -> str:
        """One sentence for people."""
        sources = " and ".join(sorted(self.taken_from)) or "elsewhere"
        if self.failure:
            reason = self.failure.rstrip(".")
            return f"{self.place} failed ({reason}), and what was still needed was taken from {sources}."
        one = len(self.objects) == 1
        count = "1 object was" if one else f"{len(self.objects):,} objects were"
        return f"{count} damaged or missing at {self.place} and taken from {sources}: {_some(self.objects)}."


class FailoverReader(BlobReader):
    """A reader of `first` (opened already) that falls over to the spares, in their order, for each blob that it cannot
    give. A place that fails as a whole, or had failed before, is not asked again unless no other one has the blob.

    `tell` hears of the first substitution at each place, from any thread."""

    def __init__(self, first: Spare, spares: Sequence[Spare], tell: Callable[[str], None]) -> None:
        reader = first.open() if first.reader is None else first.reader
        super().__init__(reader.repository, reader.table)
        first.reader = reader
        self._places = [first, *spares]
        self._tell = tell
        self._substitutions: dict[str, Substitution] = {}
        self._state = threading.Lock()
        self._opening = threading.Lock()
        for place in self._places:
            if place.reader is not None:
                self._sharing(place.reader)
        for spare in spares:
            if spare.failure is not None:
                self._note(spare, spare.failure, first)

    def places(self) -> Iterator[BlobReader]:
        """Every place that can be opened, nearest first."""
        for place in self._in_order():
            try:
                reader = self._reader(place)
            except EngineError:
                continue
            yield reader

    def locate(self, id: bytes, below: int = ANY_DEPTH) -> tuple[Location, bytes]:
        """As BlobReader.locate, from any place. Raises Corrupt when none that answers has a good copy, StorageError."""
        failed: list[tuple[Spare, EngineError]] = []
        for place in self._in_order():
            try:
                found = self._reader(place).locate(id, below)
            except EngineError as error:
                failed.append((place, error))
                continue
            for other, failure in failed:
                self._note(other, failure, place)
            return found
        raise _why([error for _, error in failed])

    def substitutions(self) -> list[Substitution]:
        """What was taken from elsewhere so far."""
        with self._state:
            return list(self._substitutions.values())

    def close(self) -> None:
        """Give up the connections of every place that was opened."""
        for place in self._places:
            if place.reader is not None:
                place.reader.close()

    def _in_order(self) -> Iterator[Spare]:
        """Those that have not failed first; whether they have is looked at as late as can be."""
        later = []
        for place in self._places:
            if place.failure is None:
                yield place
            else:
                later.append(place)
        yield from later

    def _reader(self, place: Spare) -> BlobReader:
        if place.reader is None:
            with self._opening:
                if place.reader is None:
                    if place.failure is not None:
                        raise place.failure  # it could not be opened before
                    try:
                        place.reader = self._sharing(place.open())
                    except EngineError as error:
                        place.failure = error
                        raise
        return place.reader

    def _sharing(self, reader: BlobReader) -> BlobReader:
        """A place whose differences may lean on bases of any other one."""
        reader.bases = self.bases
        return reader

    def _note(self, place: Spare, error: EngineError, taken_from: Spare) -> None:
        """`place` could not give a blob that another one had."""
        with self._state:
            is_first = place.name not in self._substitutions
            noted = self._substitutions.setdefault(place.name, Substitution(place.name))
            noted.taken_from.add(taken_from.name)
            if isinstance(error, Corrupt) and place.reader is not None:
                noted.objects.add(error.name)
            else:
                place.failure = place.failure or error
                noted.failure = noted.failure or error.message
            text = noted.describe() if is_first else ""
        if text:
            self._tell(f"Warning: {text}")


def _why(errors: Sequence[EngineError]) -> EngineError:
    """The damage, where a place that answers has some; with what keeps another place from being asked."""
    damage = next((error for error in errors if isinstance(error, Corrupt)), None)
    silent = next((error for error in errors if not isinstance(error, Corrupt)), None)
    if damage is None or silent is None:
        return errors[0]
    return Corrupt(f"{damage.message} {silent.message}", name=damage.name)


def _some(names: set[str]) -> str:
    shown = sorted(names)[:3]
    return ", ".join(shown) + (" …" if len(names) > len(shown) else "")

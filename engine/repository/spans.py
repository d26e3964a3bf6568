"""Blobs of one pack that lie side by side, to be read in few requests of some megabytes each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from engine.repository.index import Location

_SPAN_BYTES = 8 << 20


def spans(locations: Iterable[Location], size: int) -> Iterator[tuple[int, int, list[Location]]]:
    """A pack of `size` bytes cut between blobs into pieces of some megabytes, each with the blobs in it: memory of that
    size is used again and again, where 32 MiB at once would be fetched anew from the system for each pack."""
    start, held = 0, list[Location]()
    for location in _in_order(locations):
        if location.entry.position - start >= _SPAN_BYTES:
            yield start, location.entry.position, held
            start, held = location.entry.position, []
        held.append(location)
    yield start, size, held


def runs(locations: Iterable[Location]) -> Iterator[list[Location]]:
    """Blobs of one pack in order of position, cut where others lie between them and after some megabytes."""
    run: list[Location] = []
    for location in _in_order(locations):
        entry = location.entry
        if run:
            end = run[-1].entry.position + run[-1].entry.stored
            if entry.position != end or end - run[0].entry.position >= _SPAN_BYTES:
                yield run
                run = []
        run.append(location)
    if run:
        yield run


def _in_order(locations: Iterable[Location]) -> list[Location]:
    return sorted(locations, key=lambda location: location.entry.position)

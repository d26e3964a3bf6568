"""Whether a destination still shows the history that it once had: restore points that were deleted, put back, replaced
or rolled back are found by number, from chained manifests, heads and tombstones, and from what the caller remembers.

What Holdfast removes has a tombstone, and what never arrived is in the head: neither looks like tampering."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from engine.repository import layout
from engine.repository.forget import Tombstone
from engine.repository.repository import Head, Stored

DELETED, ROLLED_BACK, UNEXPECTED, MISSING = "deleted", "rolled-back", "unexpected", "missing"


@dataclass(frozen=True)
class Point:
    """A restore point's place in the series of its configuration. `hash` is the SHA-256 of its stored manifest,
    `previous` that of the point before it where it is known, `session` the writer's; `made_at` is None where nobody
    remembers it."""

    id: bytes
    config_id: str
    sequence: int
    hash: bytes
    made_at: datetime | None = None
    previous: bytes | None = None
    session: bytes | None = None

    @classmethod
    def of(cls, stored: Stored) -> Point:
        """The place that a stored manifest gives itself."""
        manifest, made_at = stored.manifest, stored.manifest.finished_at
        place = (manifest.id, manifest.config_id, manifest.sequence, stored.hash)
        return cls(*place, made_at, manifest.previous, manifest.session)


@dataclass(frozen=True)
class Witness:
    """What the caller remembers of a destination: points that it confirmed to have and that nobody removed lawfully,
    and points whose manifests were lawfully deleted there."""

    held: Mapping[bytes, Point] = field(default_factory=dict)
    removed: Mapping[bytes, Point] = field(default_factory=dict)


@dataclass(frozen=True)
class Evidence:
    """What lies at a destination: identities of all manifests, the points of those that are readable, and heads by
    configuration. `buried` are the restore points that have a tombstone, `tombstones` those of them that were opened;
    `headless` has the object's name of each head that should be there and is not; of the restore points in
    `set_aside` a damaged manifest lies in quarantine."""

    listed: Collection[bytes]
    points: Mapping[bytes, Point]
    heads: Mapping[str, Head]
    buried: Collection[bytes] = ()
    tombstones: Mapping[bytes, Tombstone] = field(default_factory=dict)
    headless: Mapping[str, str] = field(default_factory=dict)
    set_aside: Collection[bytes] = ()


@dataclass(frozen=True)
class Finding:
    """One break in the history. `object` is the object's name, or the number of a point whose name nobody knows."""

    kind: str
    object: str
    reason: str
    config_id: str
    sequence: int | None = None
    point: bytes | None = None


def examine(evidence: Evidence, witness: Witness) -> list[Finding]:
    """Everything in which `evidence`, with the points of all readable manifests, contradicts itself or `witness`."""
    findings = against(evidence, witness)
    for config_id, name in evidence.headless.items():
        reason = f"What the newest number of {config_id} is was noted here, and the note is gone."
        findings.append(Finding(MISSING, name, reason, config_id))
    for head in evidence.heads.values():
        series = _Series(evidence, witness, head)
        findings += [*series.gaps(), *series.broken_links()]
    return findings


def against(evidence: Evidence, witness: Witness) -> list[Finding]:
    """Only what `witness` knows better than `evidence`, in which points may be left out."""
    return [*_lost(evidence, witness), *_came_back(evidence, witness), *_replaced(evidence, witness)]


def _lost(evidence: Evidence, witness: Witness) -> Iterator[Finding]:
    for point in witness.held.values():
        if point.id in evidence.listed or point.id in evidence.tombstones:
            continue
        head = evidence.heads.get(point.config_id)
        kind, rest = DELETED, "was here and is gone: it was deleted, and not by a clean-up."
        if point.id in evidence.set_aside:
            kind = MISSING
            rest = "was damaged: a repair set it aside, and no other destination had it."
        elif head is not None and head.sequence < point.sequence:
            kind = ROLLED_BACK
            rest = f"was here; the destination now ends at number {head.sequence}: an older state of it was put back."
        yield _finding(kind, point, f"{_named(point)} {rest}")


def _came_back(evidence: Evidence, witness: Witness) -> Iterator[Finding]:
    for point in witness.removed.values():
        if point.id in evidence.listed:
            yield _finding(
                UNEXPECTED, point, f"{_named(point)} was removed by a clean-up and is here again: it was put back."
            )
        elif point.id not in evidence.buried:
            yield Finding(
                MISSING,
                layout.tombstone(point.id),
                f"{_named(point)} was removed by a clean-up, but the note of its removal is gone.",
                point.config_id,
                point.sequence,
                point.id,
            )


def _replaced(evidence: Evidence, witness: Witness) -> Iterator[Finding]:
    for point in evidence.points.values():
        held = witness.held.get(point.id)
        if held is not None and held.hash != point.hash and point.id in evidence.listed:
            yield _finding(UNEXPECTED, held, f"{_named(held)} is not the restore point that was stored under its name.")


class _Series:
    """One configuration's numbers at one destination, and what explains each of them."""

    def __init__(self, evidence: Evidence, witness: Witness, head: Head) -> None:
        config_id = self._config_id = head.config_id
        self._head = head
        self._evidence = evidence
        mine = [point for point in evidence.points.values() if point.config_id == config_id]
        self._present = sorted((p for p in mine if p.id in evidence.listed), key=lambda point: point.sequence)
        self._numbers = {point.sequence for point in self._present}
        # What the witness misses was told by name already, and what was removed lawfully is no gap.
        remembered: list[Point | Tombstone] = [
            *witness.held.values(),
            *witness.removed.values(),
            *evidence.tombstones.values(),
        ]
        self._explained = {(each.sequence, each.hash) for each in remembered if each.config_id == config_id}

    def gaps(self) -> Iterator[Finding]:
        """Numbers that were given out, reached this destination, and are neither here nor lawfully removed."""
        head, listed = self._head, self._evidence.listed
        known = self._numbers | {number for number, _ in self._explained} | set(head.missing)
        gaps = set(range(1, head.sequence + 1)) - known
        if head.manifest in listed:
            gaps.discard(head.sequence)
        unread = self._unread()
        if len(gaps) <= unread:
            return  # they may well be those that cannot be read, and these are told by name
        for number in sorted(gaps):
            yield self._gone(number, "is gone: it was deleted, and not by a clean-up.")

    def _unread(self) -> int:
        """How many manifests and notes of removals there are whose number nobody knows. Those in quarantine are not
        counted: what somebody put there must not explain a number that is gone."""
        evidence = self._evidence
        buried = {identity for identity, note in evidence.tombstones.items() if note.config_id}
        known = buried | set(evidence.points)
        return len((set(evidence.listed) | set(evidence.buried)) - known)

    def broken_links(self) -> Iterator[Finding]:
        """Numbers that have another point here than the one that the next number was chained to."""
        known = {(point.sequence, point.hash) for point in self._present} | self._explained
        for point in self._present:
            number = point.sequence - 1
            if point.previous is None or number not in self._numbers or number in self._head.missing:
                continue
            if (number, point.previous) not in known:
                yield self._gone(number, f"is not the one that number {number + 1} followed: that one is gone.")

    def _gone(self, number: int, rest: str) -> Finding:
        when = self._between(number)
        return Finding(
            DELETED,
            f"number {number} of {self._config_id}",
            f"Number {number} of {self._config_id}{when} {rest}",
            self._config_id,
            number,
        )

    def _between(self, number: int) -> str:
        """When a point that nobody remembers was made, as its neighbours tell."""
        before = [p.made_at for p in self._present if p.sequence < number and p.made_at]
        after = [p.made_at for p in self._present if p.sequence > number and p.made_at]
        words = [f" after {_told(before[-1])}" if before else "", f" before {_told(after[0])}" if after else ""]
        return f", made{' and'.join(word for word in words if word)}," if any(words) else ""


def _finding(kind: str, point: Point, reason: str) -> Finding:
    return Finding(kind, layout.manifest(point.id), reason, point.config_id, point.sequence, point.id)


def _named(point: Point) -> str:
    made = f", made {_told(point.made_at)}," if point.made_at else ""
    return f"Number {point.sequence} of {point.config_id}{made}"


def _told(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"

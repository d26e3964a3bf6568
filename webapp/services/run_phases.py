"""How far a run is: its steps as people know them, made of the phases that the engine tells, with share, rate and time
left where they can be told honestly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select

from webapp.installation import Installation
from webapp.models import Configuration, Run, RunPhase
from webapp.models.run import QUEUED, RUNNING, SUCCEEDED, WARNING
from webapp.services.parents import DATABASE, FILES, FULL

KEPT_PHASES = 500
DONE, NOW, WAITING, STOPPED = "done", "now", "waiting", "stopped"
# A rate of the first seconds says nothing about the rest.
SETTLED_SECONDS = 10
CHECK, DUMP, READ, COMMIT, RESTORE, COMPARE = "Check", "Dump", "Files", "Upload and commit", "Restore", "Compare"
INDEX, POINTS, WORK = "Index", "Restore points", "Work"
_PLANS = {
    "create": (CHECK, DUMP, READ, COMMIT),
    "restore": (CHECK, RESTORE, COMPARE),
    "verify": (CHECK, INDEX, READ, POINTS),
}
_VERIFY = {"index": INDEX, "read": READ, "restore points": POINTS}


@dataclass(frozen=True)
class Noted:
    """A phase that has begun: `expected` bytes to read (0: unknown), of which the run had read `read_before`."""

    name: str
    expected: int
    read_before: int
    at: datetime


@dataclass(frozen=True)
class Step:
    """One of the steps of a run: its name, one of the four words, what is at work in it, and the seconds it took."""

    name: str
    state: str
    detail: str = ""
    seconds: float | None = None


@dataclass(frozen=True)
class Pace:
    """Of the phase at work: bytes read of those expected (0: unknown), per cent, bytes a second, and the seconds that
    are left; each None while nobody can tell."""

    read: int
    expected: int
    percent: int | None
    rate: float | None
    seconds_left: float | None


def write(installation: Installation, run_id: int, noted: Sequence[Noted], *, first: int) -> None:
    """Keeps phases of a run, numbered from `first`; those beyond the first 500 are not kept. Raises Unavailable."""
    rows = [
        {
            "run_id": run_id,
            "position": number,
            "name": each.name.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00"),
            "expected": each.expected,
            "read_before": each.read_before,
            "at": each.at,
        }
        for number, each in enumerate(noted, first)
        if number < KEPT_PHASES
    ]
    if rows:
        with installation.database.transaction() as session:
            session.execute(insert(RunPhase), rows)


def of(installation: Installation, run_id: int) -> list[RunPhase]:
    """The phases of a run, in their order."""
    query = select(RunPhase).where(RunPhase.run_id == run_id).order_by(RunPhase.position)
    with installation.database.reading() as session:
        return list(session.scalars(query))


def newest(installation: Installation, run_ids: Sequence[int]) -> dict[int, RunPhase]:
    """The phase at work of each of these runs. One query."""
    query = select(RunPhase).where(RunPhase.run_id.in_(run_ids)).order_by(RunPhase.run_id, RunPhase.position)
    with installation.database.reading() as session:
        return {each.run_id: each for each in session.scalars(query)}


def steps(installation: Installation, run: Run, phases: Sequence[RunPhase]) -> list[Step]:
    """All steps of a run, also those that are still to come. One query for a backup, else none."""
    sources = _sources(installation, run)
    begun = _begun(run, phases, [str(each.get("url", "")) for each in sources.get("databases") or ()])
    names = [name for name in _planned(run, sources) if name not in begun]
    order = _PLANS.get(run.kind, (CHECK,))
    found = sorted({*begun, *names}, key=lambda name: order.index(name) if name in order else len(order))
    last = next(reversed(begun), None)
    ends = dict(zip(begun, [*(at for at, _ in list(begun.values())[1:]), run.finished_at], strict=False))
    return [_step(run, name, begun.get(name), ends.get(name), is_last=name == last) for name in found]


def pace(run: Run, phase: RunPhase | None) -> Pace | None:
    """How fast the phase at work is; None when none is."""
    if phase is None or run.state != RUNNING or run.heartbeat_at is None:
        return None
    read = max(0, run.bytes_read - phase.read_before)
    seconds = (run.heartbeat_at - phase.at).total_seconds()
    rate = read / seconds if seconds >= 1 and read else None
    # What did not change is not read: of a folder only a full backup reads what it expects.
    expected = phase.expected if run.kind != "create" or run.type == FULL or not phase.name.startswith("/") else 0
    percent = min(99, 100 * read // expected) if expected else None
    left = (expected - read) / rate if rate and seconds >= SETTLED_SECONDS and expected > read else None
    return Pace(read, expected, percent, rate, left)


def _sources(installation: Installation, run: Run) -> dict[str, Any]:
    """The databases and folders of the configuration of a backup; {} for other runs."""
    if run.kind != "create" or run.config_id is None:
        return {}
    with installation.database.reading() as session:
        return session.get_one(Configuration, run.config_id).document.get("sources") or {}


def _planned(run: Run, sources: Mapping[str, Any]) -> tuple[str, ...]:
    plan = _PLANS.get(run.kind, (CHECK, WORK))
    if run.kind != "create":
        return plan if run.kind != "restore" or run.arguments.get("verify") else plan[:2]
    left_out = {DUMP} if run.type == FILES or not sources.get("databases") else set()
    if run.type == DATABASE or not sources.get("paths"):
        left_out.add(READ)
    return tuple(name for name in plan if name not in left_out)


def _begun(run: Run, phases: Sequence[RunPhase], urls: Sequence[str]) -> dict[str, tuple[datetime, str]]:
    """Steps that have begun: when, and what is at work in each."""
    begun: dict[str, tuple[datetime, str]] = {}
    if run.started_at is not None:
        begun[CHECK] = run.started_at, ""
    for phase in phases:
        name = _named(run.kind, phase.name, urls)
        begun[name] = begun.get(name, (phase.at, ""))[0], "" if phase.name.capitalize() == name else phase.name
    return begun


def _named(kind: str, phase: str, urls: Sequence[str]) -> str:
    """The step that a phase of the engine belongs to. Folders are named by their path, as SQLite's files are too."""
    if kind == "create":
        if phase.startswith("bring "):  # a destination is given what it lacks, before anything is read
            return CHECK
        files = [path for path in (url.partition("sqlite:///")[2] for url in urls) if path]
        is_folder = phase.startswith("/") and not phase.endswith(tuple(files))
        return COMMIT if phase == "finish" else READ if is_folder else DUMP
    if kind == "restore":
        return COMPARE if phase == "compare" or phase.startswith("comparing ") else RESTORE
    return _VERIFY.get(phase, CHECK) if kind == "verify" else WORK


def _step(run: Run, name: str, begun: tuple[datetime, str] | None, end: datetime | None, *, is_last: bool) -> Step:
    if begun is None:
        return Step(name, WAITING if run.is_active else STOPPED)
    at, detail = begun
    seconds = None if end is None else max(0.0, (end - at).total_seconds())
    if not is_last or run.state in (SUCCEEDED, WARNING):
        return Step(name, DONE, seconds=seconds)
    return Step(name, NOW if run.state == RUNNING else WAITING if run.state == QUEUED else STOPPED, detail, seconds)

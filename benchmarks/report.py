"""What was measured as Markdown tables: medians, ratios paired by round, and the aims beside what was reached."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import Sample
from benchmarks.rounds import CHANGED, FIRST, PHASES, RESTORE, START, UNCHANGED, VERIFY, Samples
from benchmarks.tools import Borg, Holdfast, PgDump, Restic

OURS = Holdfast.name
TWO = "Holdfast, two destinations"
LARGE, SMALL, MILLION = "files-large", "files-small", "files-million"
DATABASE, DESTINATIONS = "database", "destinations"
TITLES = {
    LARGE: "Uploads: few large files",
    SMALL: "Many small files",
    MILLION: "A million files",
    DATABASE: "A PostgreSQL database, dumped on two days",
    DESTINATIONS: "Two destinations in one run",
}
Document = dict[str, Any]


@dataclass(frozen=True)
class Aim:
    """`figure` of a subject's samples is to be at least (or at most) `bound`."""

    subject: str
    words: str
    figure: Callable[[Samples], float | None]
    bound: float
    is_most: bool = False
    unit: str = "×"


def ratio(phase: str, peer: str, ours: str = OURS, *, beyond_start: bool = False) -> Callable[[Samples], float | None]:
    """The peer's wall time by ours, the median over the rounds; with `beyond_start` the program's start taken off."""

    def figure(samples: Samples) -> float | None:
        pairs = _pairs(samples, phase, peer, ours, beyond_start=beyond_start)
        return statistics.median(pairs) if pairs else None

    return figure


def _pairs(samples: Samples, phase: str, peer: str, ours: str, *, beyond_start: bool = False) -> list[float]:
    found = samples.get(phase, {})
    if peer not in found or ours not in found:
        return []
    start = samples.get(START, {}) if beyond_start else {}
    if beyond_start and not (peer in start and ours in start):
        return []
    walls = {
        name: [
            max(0.001, sample.wall - (start[name][number].wall if beyond_start else 0))
            for number, sample in enumerate(found[name])
        ]
        for name in (peer, ours)
    }
    return [theirs / own for theirs, own in zip(walls[peer], walls[ours], strict=True)]


def share(value: str, phase: str, peer: str) -> Callable[[Samples], float | None]:
    """Our median by the peer's, of one value of the samples."""

    def figure(samples: Samples) -> float | None:
        found = samples.get(phase, {})
        if peer not in found or OURS not in found:
            return None
        return _median(found[OURS], value) / max(1, _median(found[peer], value))

    return figure


def most(value: str, phases: Sequence[str]) -> Callable[[Samples], float | None]:
    """The largest of our values over some phases, in millions."""

    def figure(samples: Samples) -> float | None:
        found = [getattr(sample, value) for phase in phases for sample in samples.get(phase, {}).get(OURS, [])]
        return max(found) / 1e6 if found else None

    return figure


def our_wall(phase: str) -> Callable[[Samples], float | None]:
    """Our median wall time."""

    def figure(samples: Samples) -> float | None:
        found = samples.get(phase, {}).get(OURS, [])
        return _median(found, "wall") if found else None

    return figure


def _aims() -> Iterator[Aim]:
    restic, borg = Restic.name, Borg.name
    for phase in (FIRST, RESTORE, VERIFY):
        yield Aim(LARGE, f"{phase}: faster than restic", ratio(phase, restic), 2)
        yield Aim(LARGE, f"{phase}: faster than BorgBackup", ratio(phase, borg), 1.8)
    for peer in (restic, borg):
        yield Aim(LARGE, f"stored by the first backup, by {peer}'s", share("stored", FIRST, peer), 1.05, is_most=True)
    yield Aim(SMALL, f"{FIRST}: faster than restic", ratio(FIRST, restic), 2.5)
    yield Aim(SMALL, f"{FIRST}: faster than BorgBackup", ratio(FIRST, borg), 1.8)
    yield Aim(SMALL, f"{UNCHANGED}: faster than restic", ratio(UNCHANGED, restic), 2)
    for phase in (RESTORE, VERIFY):
        yield Aim(SMALL, f"{phase}: faster than restic", ratio(phase, restic), 2)
        yield Aim(SMALL, f"{phase}: faster than BorgBackup", ratio(phase, borg), 1.8)
    yield Aim(MILLION, f"{UNCHANGED}: faster than restic", ratio(UNCHANGED, restic), 2)
    yield Aim(SMALL, f"{UNCHANGED}: stored", most("stored", [UNCHANGED]), 0.1, is_most=True, unit="MB")
    for subject in (LARGE, SMALL):
        for phase, bound in ((UNCHANGED, 2), (CHANGED, 1.5)):
            words = f"{phase}: work beyond the start, faster than restic's"
            yield Aim(subject, words, ratio(phase, restic, beyond_start=True), bound)
    yield Aim(DATABASE, f"{FIRST}: faster than pg_dump piped into restic", ratio(FIRST, restic), 1.6)
    yield Aim(DATABASE, f"{FIRST}: faster than {PgDump.name} alone", ratio(FIRST, PgDump.name), 2)
    for subject in (LARGE, SMALL, MILLION, DATABASE):
        yield Aim(subject, f"{FIRST}: memory by restic's", share("peak", FIRST, restic), 1, is_most=True)
        yield Aim(subject, "memory of repeats", most("peak", [UNCHANGED, CHANGED]), 130, is_most=True, unit="MB")
        yield Aim(subject, "memory at any time", most("peak", PHASES), 300, is_most=True, unit="MB")
    yield Aim(LARGE, "start of the program", our_wall(START), 0.4, is_most=True, unit="s")
    yield Aim(DESTINATIONS, "two destinations by one", ratio(FIRST, TWO), 1.5, is_most=True)


def machine() -> dict[str, Any]:
    """What the figures depend on; nothing that names the machine."""
    return {
        "processor": _processor(),
        "processors": len(_affinity()),
        "memory": _memory(),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
    }


def document(
    subjects: dict[str, tuple[dict[str, int], Samples]], *, versions: dict[str, str], rounds: int, made_at: str
) -> Document:
    """Everything that was measured, for a JSON file."""
    return {
        "madeAt": made_at,
        "rounds": rounds,
        "machine": machine(),
        "tools": versions,
        "subjects": {
            name: {
                "facts": facts,
                "samples": {
                    phase: {tool: [_rounded(sample) for sample in found] for tool, found in tools.items()}
                    for phase, tools in samples.items()
                },
            }
            for name, (facts, samples) in subjects.items()
        },
    }


def markdown(document: Document) -> str:
    """The tables."""
    machine, tools = document["machine"], document["tools"]
    parts = [
        f"{', '.join(tools.values())}. {machine['processors']} processors ({machine['processor']}), "
        f"{machine['memory'] / 2**30:.0f} GiB of memory, {machine['system']}, Python {machine['python']}. "
        f"Medians of {document['rounds']} rounds, {document['madeAt'][:10]}."
    ]
    found = {
        name: {
            phase: {tool: [Sample(**sample) for sample in rounds] for tool, rounds in by_tool.items()}
            for phase, by_tool in subject["samples"].items()
        }
        for name, subject in document["subjects"].items()
    }
    for name, samples in found.items():
        facts = ", ".join(f"{value:,} {what}" for what, value in document["subjects"][name]["facts"].items())
        parts.append(f"### {TITLES[name]}\n\n{facts}.\n\n" + "\n".join(_table(samples)))
    aims = list(_aim_rows(found))
    if aims:
        head = ["| Data | Aim | Bound | Reached | |", "|---|---|---|---|---|"]
        parts.append("### Aims\n\n" + "\n".join([*head, *aims]))
    return "\n\n".join(parts) + "\n"


def _table(samples: Samples) -> Iterator[str]:
    yield "| | Tool | Wall (least–most) | CPU | Peak memory | Stored | Others' CPU | By Holdfast's wall |"
    yield "|---|---|---|---|---|---|---|---|"
    for phase, by_tool in samples.items():
        for tool, found in by_tool.items():
            walls = sorted(sample.wall for sample in found)
            stored = f"{_median(found, 'stored') / 1e6:,.1f} MB" if phase in (FIRST, UNCHANGED, CHANGED) else ""
            other = max(sample.other_cpus for sample in found)
            pairs = [] if tool == OURS else _pairs(samples, phase, tool, OURS)
            against = f"{statistics.median(pairs):.2f} ({min(pairs):.2f}–{max(pairs):.2f})" if pairs else ""
            yield (
                f"| {phase} | {tool} | {statistics.median(walls):.2f} s ({walls[0]:.2f}–{walls[-1]:.2f}) "
                f"| {_median(found, 'cpu'):.2f} s | {_median(found, 'peak') / 1e6:.0f} MB | {stored} "
                f"| {'' if other < 0 else f'{other:.2f}'} | {against} |"
            )


def _aim_rows(found: dict[str, Samples]) -> Iterator[str]:
    for aim in _aims():
        value = aim.figure(found[aim.subject]) if aim.subject in found else None
        if value is not None:
            good = value <= aim.bound if aim.is_most else value >= aim.bound
            bound = f"{'≤' if aim.is_most else '≥'} {aim.bound:g} {aim.unit}"
            yield (
                f"| {TITLES[aim.subject].partition(':')[0]} | {aim.words} | {bound} | {value:.2f} {aim.unit} "
                f"| {'reached' if good else '**missed**'} |"
            )


def _median(found: Sequence[Sample], value: str) -> float:
    return float(statistics.median(getattr(sample, value) for sample in found))


def _rounded(sample: Sample) -> dict[str, float]:
    return {name: round(value, 3) for name, value in asdict(sample).items()}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _affinity() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

"""What daily dumps of a busy database cost: ours, with and without differences, beside restic and BorgBackup.

`python -m benchmarks.differences` prints Markdown tables (docs/performance.md); samples and a chart if asked."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import chart, data, ledger, measure, report
from benchmarks.ledger import Ledger
from benchmarks.measure import Command, CommandFailed, Sample
from benchmarks.tools import Borg, Holdfast, Kept, Restic, Source, installed_peers
from engine.repository import layout
from webapp.version import VERSION

WEEK_DAYS = 7
QUICK_SHARE = 10
BYTES_PER_ROW = 420  # of dump, for each receipt with its accounts, in the first week
RESTORES = 3  # of which the fastest counts: one and the same took 0.95 s and 1.82 s
# Two runs of one program that did the same were 6 % apart, in the median of six days.
NOISE = 1.1
COMPARED_FROM = 4096  # before it a dump says when it was made


class Ours(Holdfast):
    """Ours, as everybody has it."""

    def newest(self) -> tuple[str, int]:
        """The newest restore point and the size of its dump in bytes."""
        point = json.loads(_output(self._command("show", f"{self._config}@latest", "--json")))
        return point["backupId"], point["databases"][0]["bytes"]

    def get(self, point: str, target: Path) -> Command:
        """Writes the dump in a restore point to a file."""
        return self._command("get", point, f"postgres:{ledger.NAME}", "-o", str(target), "--force")

    @property
    def _config(self) -> str:
        return "bench"


class WholeChunks(Ours):
    """Ours with a configuration of its own for each day, so that no chunk finds an earlier version to lean on. Chunks
    that did not change are shared all the same."""

    name = "Holdfast, whole chunks"

    def __init__(self, place: Path) -> None:
        self._count = 0
        super().__init__(place)

    def backup(self, source: Source) -> Command:
        command = super().backup(source)
        self._count += 1
        document = json.loads(self._file.read_text())
        self._file.write_text(json.dumps(document | {"id": self._config}))
        return command

    @property
    def _config(self) -> str:
        return f"bench-{self._count}"


MAKERS: dict[str, Callable[[Path], Kept]] = {
    kind.name: kind for kind in (Ours, WholeChunks, Restic, Borg)
}  # in the order of the tables


@dataclass(frozen=True)
class Aim:
    """A figure that is to be at most `bound`; None where it could not be measured."""

    words: str
    figure: float | None
    bound: float
    unit: str


class Story:
    """The days of one run. `kept` has each tool's repository."""

    def __init__(self, books: Ledger, place: Path, makers: Mapping[str, Callable[[Path], Kept]]) -> None:
        self._books = books
        self._place = place
        self._kept = {name: make(place / name.replace(",", "").replace(" ", "-")) for name, make in makers.items()}
        self._points: dict[str, list[str]] = {name: [] for name in makers}

    def run(self, kinds: Sequence[str]) -> dict[str, Any]:
        """All days, and at the end of the week the restores. Raises CommandFailed."""
        days, restores = [], {}
        for number, kind in enumerate(("first", *kinds), 1):
            if number > 1:
                self._books.pass_day(kind)
            days.append(self._day(number, kind))
            if number == min(WEEK_DAYS, len(kinds) + 1):
                restores = {name: self._restores(ours) for name, ours in self._ours().items()}
        return {"days": days, "restores": restores}

    def _day(self, number: int, kind: str) -> dict[str, Any]:
        names = list(self._kept)
        first = number % len(names)
        tools = {name: asdict(self._backup(name)) for name in [*names[first:], *names[:first]]}
        size = 0
        for name, ours in self._ours().items():
            point, size = ours.newest()
            self._points[name].append(point)
        for name in names:
            sample = tools[name]
            _say(
                f"  day {number:2} {kind:14} {name:24} {sample['wall']:7.2f} s {sample['stored'] / 1e6:9.2f} MB stored"
                f"   others {sample['other_cpus']:.2f}"
            )
        return {"kind": kind, "dump": size, "rows": self._books.rows, "tools": {name: tools[name] for name in names}}

    def _backup(self, name: str) -> Sample:
        kept = self._kept[name]
        command = kept.backup(self._books.source)
        assert command is not None
        before = _size(kept)
        sample = self._run(command, self._books.warm)
        return sample.storing(_size(kept) - before)

    def _restores(self, ours: Ours) -> dict[str, Any]:
        """The dumps of the first day and of today, written to a file; today's is compared with the database."""
        points = self._points[ours.name]
        target, found = self._place / "restored.dump", {}
        for words, point in (("first", points[0]), ("last", points[-1])):
            command = ours.get(point, target)
            tried = [self._run(command, lambda: data.warm(ours.repositories[0])) for _ in range(RESTORES)]
            found[words] = asdict(min(tried, key=lambda sample: sample.wall))
        self._compare(ours.name, target)
        target.unlink()
        return found

    def _compare(self, name: str, restored: Path) -> None:
        now = self._place / "now.dump"
        # Through a pipe: into a file pg_dump goes back and notes where each table begins.
        measure.run(Command(("cat",), {"PATH": os.defpath}, feed=self._books.dump, output=str(now)))
        with restored.open("rb") as left, now.open("rb") as right:
            left.seek(COMPARED_FROM)
            right.seek(COMPARED_FROM)
            while piece := right.read(data.READ):
                if left.read(data.READ) != piece:
                    raise CommandFailed(f"{name} restored something else than was dumped.")
            if left.read(1):
                raise CommandFailed(f"{name} restored more than was dumped.")
        now.unlink()

    def _ours(self) -> dict[str, Ours]:
        return {name: kept for name, kept in self._kept.items() if isinstance(kept, Ours)}

    def _run(self, command: Command, warm: Callable[[], None]) -> Sample:
        measure.settle()
        warm()
        return measure.run(command, server=self._books.pid)


def aims(found: Mapping[str, Any]) -> list[Aim]:
    """What issue 5 asks for, beside what was reached."""
    days = found["days"][:WEEK_DAYS]
    stored = [day["tools"][Ours.name]["stored"] for day in days]
    return [
        Aim("seven days by the first", sum(stored) / stored[0] if len(days) == WEEK_DAYS else None, 1.6, "×"),
        Aim("day two by the first", 100 * stored[1] / stored[0], 9, "%"),
        *_aims_of_time(found, "wall", ""),
        *_aims_of_time(found, "cpu", ", in processor time"),
    ]


def _aims_of_time(found: Mapping[str, Any], kind: str, words: str) -> list[Aim]:
    """By wall time, and by processor time, which other work disturbs less."""
    days, ours, whole, restores = found["days"][:WEEK_DAYS], Ours.name, WholeChunks.name, found["restores"]
    slower = restore_slower = None
    if whole in days[0]["tools"]:
        slower = statistics.median(day["tools"][ours][kind] / day["tools"][whole][kind] for day in days[1:])
        restore_slower = restores[ours]["last"][kind] / restores[whole]["last"][kind]
    grown = restores[ours]["last"][kind] / restores[ours]["first"][kind]
    return [
        Aim(f"backup from day two on, by one with whole chunks (median){words}", slower, NOISE, "×"),
        Aim(f"restore of the last day, by that of the first{words}", grown, 1.5, "×"),
        Aim(f"restore of the last day, by one of whole chunks{words}", restore_slower, 1.5, "×"),
    ]


def markdown(found: Mapping[str, Any]) -> str:
    """The tables."""
    machine, days, order = found["machine"], found["days"], found["order"]
    rows = ", ".join(f"{count:,} {table}" for table, count in days[0]["rows"].items())
    first = {name: days[0]["tools"][name]["stored"] for name in order}
    lines = [
        f"{', '.join(found['tools'].values())}. {machine['processors']} processors ({machine['processor']}), "
        f"{machine['memory'] / 2**30:.0f} GiB of memory, {machine['system']}, Python {machine['python']}. "
        f"{rows}; {found['madeAt'][:10]}.",
        "",
        f"| Day | Dump | {' | '.join(order)} |",
        f"|---|---:|{'---:|' * len(order)}",
    ]
    for number, day in enumerate(days, 1):
        cells = [_cell(day["tools"][name], first[name], number) for name in order]
        lines.append(f"| {number}, {day['kind']} | {day['dump'] / 1e6:,.0f} MB | {' | '.join(cells)} |")
    week = days[:WEEK_DAYS]
    sums = {name: sum(day["tools"][name]["stored"] for day in week) for name in order}
    cells = [f"{sums[name] / 1e6:,.1f} MB, **{sums[name] / first[name]:.2f} ×**" for name in order]
    lines.append(f"| 1 to {len(week)} | | {' | '.join(cells)} |")
    lines += ["", "| Restored to a file (processor time) | First day | Last of the week |", "|---|---:|---:|"]
    for name, restores in found["restores"].items():
        lines.append(f"| {name} | {_times(restores['first'])} | {_times(restores['last'])} |")
    lines += ["", "| Aim | Bound | Reached | |", "|---|---|---|---|"]
    for aim in aims(found):
        if aim.figure is not None:
            is_reached = "reached" if aim.figure <= aim.bound else "**missed**"
            lines.append(f"| {aim.words} | ≤ {aim.bound:g} {aim.unit} | {aim.figure:.2f} {aim.unit} | {is_reached} |")
    return "\n".join(lines) + "\n"


def _times(sample: Mapping[str, Any]) -> str:
    return f"{sample['wall']:.2f} s ({sample['cpu']:.2f} s)"


def _cell(sample: Mapping[str, Any], first: int, number: int) -> str:
    share = f" ({100 * sample['stored'] / first:.1f} %)" if number > 1 else ""
    return f"{sample['stored'] / 1e6:,.1f} MB{share}, {sample['wall']:.1f} s ({sample['cpu']:.1f} s)"


def measured(rows: int, kinds: Sequence[str], place: Path, makers: Mapping[str, Callable[[Path], Kept]]) -> Any:
    """The document of a whole run, for JSON. Raises CommandFailed."""
    _say("making the database")
    with Ledger(rows) as books:
        found = Story(books, place, makers).run(kinds)
    _, versions = installed_peers()
    return {
        "madeAt": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": report.machine(),
        "tools": {Holdfast.name: f"{Holdfast.name} {VERSION}"} | {k: v for k, v in versions.items() if k in makers},
        "order": list(makers),
        **found,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints the tables. Exit code 1 when a tool failed, 2 when there is no room."""
    options = _parse(arguments)
    peers, _ = installed_peers()
    makers = {name: make for name, make in MAKERS.items() if name in peers or name not in (Restic.name, Borg.name)}
    rows = options.rows // (QUICK_SHARE if options.quick else 1)
    if options.work is not None:
        options.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-", dir=options.work) as place:
        needed = BYTES_PER_ROW * rows * 12 + (1 << 30)
        if (free := shutil.disk_usage(place).free) < needed:
            _say(f"{needed:,} bytes are needed here and {free:,} are free. Choose another place by --work.")
            return 2
        try:
            found = measured(rows, ledger.WEEK if options.week else ledger.STORY, Path(place), makers)
        except CommandFailed as failure:
            _say(f"A command failed, so there is nothing to compare:\n{failure}")
            return 1
    print(markdown(found))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    if options.chart:
        options.chart.write_text(chart.stored_by_day(found), encoding="utf-8")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.differences", description=__doc__)
    parser.add_argument("--rows", type=int, default=ledger.ROWS, help="receipts (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows")
    parser.add_argument("--week", action="store_true", help="the seven days only")
    parser.add_argument("--work", type=Path, metavar="DIR", help="where the data is made")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all samples")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="stored bytes by day, as SVG")
    return parser.parse_args(arguments)


def _size(kept: Kept) -> int:
    """Bytes of a repository, without the room that ours keeps for a full disk: it holds nothing."""
    (place,) = kept.repositories
    reserve = place / layout.RESERVE
    return data.size_of(place) - (reserve.stat().st_size if reserve.exists() else 0)


def _output(command: Command) -> str:
    return subprocess.run(command.argv, env=command.env, check=True, capture_output=True, text=True).stdout


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

"""`./run bench`: ours beside restic and BorgBackup on generated data; prints Markdown tables (docs/performance.md)."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from benchmarks import data, differences, postgres, prune, report, years
from benchmarks.measure import CommandFailed
from benchmarks.rounds import FIRST, PHASES, RECHECK, RESTORE, Maker, Samples, run_rounds
from benchmarks.subjects import Folder, Subject
from benchmarks.tools import PEERS, Holdfast, PgDump, installed_peers
from webapp.version import VERSION

SUBJECTS = tuple(report.TITLES)
# What restores a million files is the kernel: half an hour for what the small files show already.
_LEFT_OUT: dict[str, tuple[str, ...]] = {report.LARGE: (), report.MILLION: (RESTORE, RECHECK)}
# What no other tool is measured at: they print tables of their own.
ALONE: dict[str, Callable[[Sequence[str]], int]] = {
    "prune": prune.main,
    "years": years.main,
    "differences": differences.main,
}
HAVE_TENTHS = ("differences",)
USUAL = tuple(name for name in (*SUBJECTS, *ALONE) if name != report.MILLION)  # which takes an hour


@dataclass(frozen=True)
class Amount:
    """How much data: bytes of uploads, number of small files and of tiny ones, number of events in the database."""

    uploads: int = 1_500_000_000
    files: int = 60_000
    tiny_files: int = 1_000_000
    rows: int = postgres.ROWS

    def needed_bytes(self, only: Sequence[str]) -> int:
        """Room for the largest subject, three tools' repositories and their restores, with something to spare."""
        sizes = {
            report.LARGE: self.uploads,
            report.SMALL: 16_000 * self.files,
            report.MILLION: 8_000 * self.tiny_files,
            report.DATABASE: 1500 * self.rows,
            report.DESTINATIONS: self.uploads,
        }
        return 8 * max(sizes[name] for name in only) + (1 << 30)


QUICK = Amount(uploads=150_000_000, files=6_000, tiny_files=50_000, rows=100_000)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures what is asked and prints the tables. Exit code 1 when a tool failed, 2 for a wrong call."""
    options = _parse(arguments)
    alone = [name for name in options.only if name in ALONE]
    options.only = [name for name in options.only if name in SUBJECTS]
    code = _compare(options) if options.only else 0
    place = ["--work", str(options.work)] if options.work else []
    codes = [ALONE[name]([*place, *(["--quick"] if options.quick and name in HAVE_TENTHS else [])]) for name in alone]
    return max([code, *codes])


def _compare(options: argparse.Namespace) -> int:
    """Ours beside the others; the exit code."""
    amount = QUICK if options.quick else Amount()
    peers, versions = installed_peers()
    _say_who_is_missing(peers)
    if options.work is not None:
        options.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-", dir=options.work) as place:
        free = shutil.disk_usage(place).free
        needed = amount.needed_bytes(options.only)
        if free < needed:
            _say(f"{needed:,} bytes are needed here and {free:,} are free. Choose another place by --work.")
            return 2
        try:
            measured = run(amount, Path(place), options.only, peers=peers, rounds=options.rounds)
        except CommandFailed as failure:
            _say(f"A command failed, so there is nothing to compare:\n{failure}")
            return 1
    made_at = datetime.now(UTC).isoformat(timespec="seconds")
    versions = {Holdfast.name: f"{Holdfast.name} {VERSION}", **versions}
    document = report.document(measured, versions=versions, rounds=options.rounds, made_at=made_at)
    tables = report.markdown(document)
    print(tables)
    if options.json:
        options.json.write_text(json.dumps(document, indent=1) + "\n")
        options.json.with_suffix(".md").write_text(tables)
    return 0


def run(
    amount: Amount, place: Path, only: Sequence[str], *, peers: Mapping[str, Maker], rounds: int
) -> dict[str, tuple[dict[str, int], Samples]]:
    """Subject → what it holds and its samples. Raises CommandFailed."""
    ours: dict[str, Maker] = {Holdfast.name: Holdfast}
    measured = {}
    for name in SUBJECTS:
        if name not in only:
            continue
        _say(f"{report.TITLES[name]}: making the data")
        makers: dict[str, Maker] = {**ours, **peers}
        left_out = _LEFT_OUT.get(name, (RECHECK,))
        phases: Sequence[str] = [phase for phase in PHASES if phase not in left_out]
        if name == report.DATABASE:
            makers[PgDump.name] = PgDump
        elif name == report.DESTINATIONS:
            makers, phases = {**ours, report.TWO: partial(Holdfast, destinations=2)}, (FIRST,)
        with _subject(name, amount, place / name) as subject:
            facts = subject.facts()
            samples = run_rounds(subject, makers, place / name, rounds=rounds, phases=phases, say=_say)
        shutil.rmtree(place / name, ignore_errors=True)
        measured[name] = facts, samples
    return measured


@contextmanager
def _subject(name: str, amount: Amount, place: Path) -> Iterator[Subject]:
    if name == report.DATABASE:
        with postgres.Shop(amount.rows) as shop:
            yield shop
        return
    planned: Callable[[], list[data.Planned]] = partial(data.uploads, amount.uploads)
    if name == report.SMALL:
        planned = partial(data.small_files, amount.files)
    elif name == report.MILLION:
        planned = partial(data.tiny_files, amount.tiny_files)
    yield Folder(place, planned())


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./run bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the data, to see that everything works")
    parser.add_argument(
        "--only",
        type=_names,
        default=USUAL,
        metavar="NAMES",
        help=f"of {','.join((*SUBJECTS, *ALONE))}, divided by commas",
    )
    parser.add_argument(
        "--full", dest="only", action="store_const", const=(*SUBJECTS, *ALONE), help="a million files, too"
    )
    parser.add_argument("--rounds", type=_positive, default=3, metavar="N", help="how often (default: 3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all samples; the tables go beside it as .md")
    parser.add_argument(
        "--work", type=Path, metavar="DIR", help="where the data is made (default: the temporary folder)"
    )
    return parser.parse_args(arguments)


def _names(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if unknown := [name for name in names if name not in (*SUBJECTS, *ALONE)]:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)} is not one of {', '.join((*SUBJECTS, *ALONE))}")
    return names


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _say_who_is_missing(peers: Mapping[str, Maker]) -> None:
    for name in PEERS:
        if name not in peers:
            _say(f"{name} is not installed, so it is left out.")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

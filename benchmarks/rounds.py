"""The rounds: every tool does the same to the same data, in an order that moves on from round to round."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks import data, measure
from benchmarks.measure import Command, CommandFailed, Sample
from benchmarks.subjects import Subject
from benchmarks.tools import Kept

START, FIRST, UNCHANGED, CHANGED, RESTORE, RECHECK, VERIFY = PHASES = (
    "start",
    "first backup",
    "unchanged",
    "1 % changed",
    "restore",
    "restore, read back",
    "verify",
)
DISTURBED_CPUS = 0.25  # a run beside which others kept more processors busy than this is made again, if it can be
TRIES = 3

Maker = Callable[[Path], Kept]
Say = Callable[[str], None]
# phase → tool → one sample for each round
Samples = dict[str, dict[str, list[Sample]]]


def run_rounds(
    subject: Subject, makers: Mapping[str, Maker], place: Path, *, rounds: int, phases: Sequence[str], say: Say
) -> Samples:
    """All phases for all tools, `rounds` times. A phase for which a tool has no command is left out for it.

    Raises CommandFailed, also when what was restored is not what was backed up."""
    samples: Samples = {phase: {} for phase in PHASES if phase in phases}
    names = list(makers)
    for number in range(rounds):
        first = number % len(names)
        for name in names:
            shutil.rmtree(place / name, ignore_errors=True)
        say(f"round {number + 1} of {rounds}")
        _Round(subject, makers, place, samples, say).run([*names[first:], *names[:first]])
    for name in names:
        shutil.rmtree(place / name, ignore_errors=True)
    return {phase: tools for phase, tools in samples.items() if tools}


class _Round:
    """One round; `_kept` has the repository of each tool."""

    def __init__(self, subject: Subject, makers: Mapping[str, Maker], place: Path, samples: Samples, say: Say) -> None:
        self._subject = subject
        self._makers = makers
        self._place = place
        self._samples = samples
        self._say = say
        self._kept: dict[str, Kept] = {}

    def run(self, order: Sequence[str]) -> None:
        self._each(FIRST, order, self._first)
        self._each(START, order, lambda name: self._least_disturbed(lambda: self._run(self._kept[name].start())))
        self._each(UNCHANGED, order, lambda name: self._least_disturbed(lambda: self._backup(name)))
        if {CHANGED, RESTORE, RECHECK, VERIFY} & self._samples.keys():
            with self._subject.next_day():
                # A second try would find nothing changed any more.
                self._each(CHANGED, order, self._backup)
                self._each(RESTORE, order, lambda name: self._least_disturbed(lambda: self._restore(name)))
                self._each(RECHECK, order, lambda name: self._least_disturbed(lambda: self._restore(name, check=True)))
                self._each(VERIFY, order, lambda name: self._least_disturbed(lambda: self._verify(name)))

    def _each(self, phase: str, order: Sequence[str], act: Callable[[str], Sample | None]) -> None:
        if phase not in self._samples:
            return
        for name in order:
            sample = act(name)
            if sample is not None:
                self._samples[phase].setdefault(name, []).append(sample)
                self._say(
                    f"  {phase:18} {name:24} {sample.wall:8.2f} s {sample.cpu:8.2f} s CPU {sample.peak / 1e6:6.0f} MB"
                    f" {sample.stored / 1e6:9.2f} MB stored   others {sample.other_cpus:.2f}"
                )

    def _first(self, name: str) -> Sample | None:
        def attempt() -> Sample | None:
            shutil.rmtree(self._place / name, ignore_errors=True)
            self._kept[name] = self._makers[name](self._place / name)
            return self._backup(name)

        return self._least_disturbed(attempt)

    def _backup(self, name: str) -> Sample | None:
        kept = self._kept[name]
        before = _size(kept)
        sample = self._run(kept.backup(self._subject.source), self._subject.warm)
        return sample and sample.storing(_size(kept) - before)

    def _restore(self, name: str, *, check: bool = False) -> Sample | None:
        kept, source = self._kept[name], self._subject.source
        with self._subject.receive() as into:
            command = kept.restore(source, into, check=check)
            sample = self._run(command, lambda: data.warm(kept.repositories[0]))
            if sample and not self._subject.is_restored(into):
                raise CommandFailed(f"{name} restored something else than was backed up.")
        return sample

    def _verify(self, name: str) -> Sample | None:
        kept = self._kept[name]
        return self._run(kept.verify(), lambda: data.warm(kept.repositories[0]))

    def _run(self, command: Command | None, warm: Callable[[], None] = lambda: None) -> Sample | None:
        if command is None:
            return None
        measure.settle()
        measure.touch_memory()
        warm()
        return measure.run(command, server=self._subject.pid)

    def _least_disturbed(self, attempt: Callable[[], Sample | None]) -> Sample | None:
        """The first run that others left alone, or of a few the one that they disturbed least."""
        tried: list[Sample] = []
        for _ in range(TRIES):
            sample = attempt()
            if sample is None or sample.other_cpus <= DISTURBED_CPUS:
                return sample
            tried.append(sample)
        return min(tried, key=lambda sample: sample.other_cpus)


def _size(kept: Kept) -> int:
    """Bytes at the first repository."""
    return data.size_of(kept.repositories[0]) if kept.repositories[0].is_dir() else 0

"""Generated folders, the same on every machine: uploads of every size, many small files, and a day's change of both."""

from __future__ import annotations

import math
import os
import random
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.words import KINDS, text

RANDOM_SHARE = 0.4  # of the uploads' bytes: pictures, films, archives, which no compressor makes smaller
RANDOM_SUFFIXES = ("jpg", "mp4", "zip", "pdf")
SMALLEST, LARGEST = 4096, 64_000_000
SMALL_FROM, SMALL_TO = 512, 8192
TINY_FROM, TINY_TO = 200, 2000
BLOCK = 4 << 20
CHANGED_SHARE = 0.01
MANY_FILES = 5000  # from here on a change rewrites whole files instead of parts of them
READ = 1 << 20


@dataclass(frozen=True)
class Planned:
    """A file to be made: what is in it follows from `seed` alone. `kind` is one of KINDS, or empty for random bytes."""

    path: str
    seed: int
    kind: str
    size: int


def uploads(total: int) -> list[Planned]:
    """Files of 4 KB to 64 MB with `total` bytes together, 40 % of them random."""
    rng = random.Random(101)
    planned: list[Planned] = []
    made = noise = 0
    while made < total:
        size = int(math.exp(rng.uniform(math.log(SMALLEST), math.log(LARGEST))))
        size = min(size, total - made)
        number = len(planned)
        kind = KINDS[number % len(KINDS)] if noise > RANDOM_SHARE * made else ""
        suffix = kind or RANDOM_SUFFIXES[number % len(RANDOM_SUFFIXES)]
        path = f"y{number % 7:02}/m{number % 12:02}/f{number:05}.{suffix}"
        planned.append(Planned(path, 1_000_000 + number, kind, size))
        made += size
        noise += 0 if kind else size
    return planned


def small_files(count: int) -> list[Planned]:
    """`count` files of 0.5 to 8 KB in up to 2,000 folders, three of ten random."""
    rng = random.Random(202)
    return [
        Planned(
            f"a{number % 40:02}/b{number // 40 % 50:02}/n{number:06}.dat",
            2_000_000 + number,
            "" if number % 10 < 3 else KINDS[number % len(KINDS)],
            rng.randint(SMALL_FROM, SMALL_TO),
        )
        for number in range(count)
    ]


def tiny_files(count: int) -> list[Planned]:
    """`count` random files of 0.2 to 2 KB in up to 20,000 folders: a tree whose size is its number of files."""
    rng = random.Random(404)
    return [
        Planned(
            f"c{number % 100:02}/d{number // 100 % 200:03}/n{number:07}.dat",
            3_000_000 + number,
            "",
            rng.randint(TINY_FROM, TINY_TO),
        )
        for number in range(count)
    ]


def make(folder: Path, planned: list[Planned]) -> None:
    """Write all files, on every processor."""
    for parent in sorted({(folder / file.path).parent for file in planned}):
        parent.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor() as pool:
        list(pool.map(_write, [folder] * len(planned), planned, chunksize=max(1, min(500, len(planned) // 20))))


def _write(folder: Path, file: Planned) -> None:
    rng = random.Random(file.seed)
    with (folder / file.path).open("xb") as out:
        for start in range(0, file.size, BLOCK):
            size = min(BLOCK, file.size - start)
            out.write(text(rng, file.kind, size) if file.kind else rng.randbytes(size))


class Change:
    """A day's work in a folder: about 1 % of its bytes appended, overwritten, inserted and new, and some files deleted.

    `undo` is a folder for the originals, on the same file system, so that `revert` can put them back."""

    def __init__(self, folder: Path, undo: Path) -> None:
        self._undo = undo
        self._added: list[Path] = []
        self._kept: list[tuple[Path, Path]] = []
        self._rng = random.Random(303)
        undo.mkdir(parents=True)
        files = sorted(walk(folder))
        sizes = {file: file.stat().st_size for file in files}
        order = self._rng.sample(files, len(files))
        rewrite = self._rewrite if len(files) >= MANY_FILES else self._edit
        budget = sum(sizes.values()) * CHANGED_SHARE
        for number, file in enumerate(order):
            if budget <= 0:
                break
            budget -= rewrite(number, file, sizes[file])
        for file in order[-max(1, len(order) // 500) :]:
            file.rename(self._place(file))

    def revert(self) -> None:
        """The folder as it was."""
        for file in self._added:
            file.unlink()
        for original, kept in reversed(self._kept):
            kept.replace(original)
        shutil.rmtree(self._undo)

    def _place(self, file: Path) -> Path:
        place = self._undo / f"{len(self._kept):06}"
        self._kept.append((file, place))
        return place

    def _rewrite(self, number: int, file: Path, size: int) -> int:
        """A small file gets other contents; every sixth time a new one appears beside it."""
        shutil.copy2(file, self._place(file))
        kind = KINDS[number % len(KINDS)]
        file.write_bytes(text(self._rng, kind, size))
        return size + (self._add(file, text(self._rng, kind, size)) if number % 6 == 0 else 0)

    def _edit(self, number: int, file: Path, size: int) -> int:
        """Twice appended, once overwritten in the middle, once inserted so that all after it moves."""
        shutil.copy2(file, self._place(file))
        amount = min(max(2000, size // 8), 1_000_000)
        blob = self._rng.randbytes(amount) if number % 2 else text(self._rng, "csv", amount)
        with file.open("r+b") as out:
            if number % 4 == 3:
                out.seek(size // 2)
                rest = out.read()
                out.seek(size // 2)
                blob = blob[:1000]
                out.write(blob + rest)
            else:
                out.seek(size // 3 if number % 4 == 2 else size)
                out.write(blob)
        return len(blob) + (self._add(file, self._rng.randbytes(200_000)) if number % 5 == 0 else 0)

    def _add(self, file: Path, content: bytes) -> int:
        new = file.with_name(file.name + ".new")
        new.write_bytes(content)
        self._added.append(new)
        return len(content)


def walk(folder: Path) -> Iterator[Path]:
    """Every file below a folder."""
    for parent, _, names in os.walk(folder):
        yield from (Path(parent, name) for name in names)


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder; one with several names counts once."""
    found = {(status.st_dev, status.st_ino): status.st_size for status in (file.lstat() for file in walk(folder))}
    return sum(found.values())


def warm(folder: Path) -> None:
    """Read everything below a folder, so that no tool pays for another's cold cache."""
    buffer = bytearray(READ)
    for parent, _, names in os.walk(folder):
        for name in names:
            with Path(parent, name).open("rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass


def same(left: Path, right: Path) -> bool:
    """Whether two folders hold the same files with the same bytes and modification times."""
    names = {file.relative_to(left) for file in walk(left)}
    return names == {file.relative_to(right) for file in walk(right)} and all(
        _alike(left / name, right / name) for name in names
    )


def _alike(one: Path, other: Path) -> bool:
    if one.stat().st_mtime_ns != other.stat().st_mtime_ns or one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb", buffering=0) as left, other.open("rb", buffering=0) as right:
        while piece := left.read(READ):
            if right.read(READ) != piece:
                return False
    return True

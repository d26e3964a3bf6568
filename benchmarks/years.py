"""What a repository costs after years: `python -m benchmarks.years` opens generated indexes of up to ten million chunks
and prints a Markdown table of time, memory and look-ups.

Index objects are real; the packs that they name are pretended. Each measurement is a process of its own."""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from engine import keyring
from engine.repository import box, index, layout, pack, repository
from engine.repository.pack import PackInfo
from engine.repository.reader import open_reader
from engine.storage.base import Item
from engine.storage.local import LocalStorage

CHUNKS = (100_000, 1_000_000, 10_000_000)
# What 32 MiB packs hold when chunks of 1 MiB do not compress: the fewest, so the most memory a chunk.
PER_PACK = 32
_LOOK_UPS = 20_000
_SECRET = bytes(32)
_ENTRY = struct.Struct("<32sIIIBBBx")


class Pretended(LocalStorage):
    """A local destination that lists packs which are not there."""

    def __init__(self, place: Path, packs: int) -> None:
        super().__init__(place)
        self._packs = packs

    def list(self, prefix: str) -> Iterator[Item]:
        if prefix != layout.PACKS:
            yield from super().list(prefix)
            return
        for number in range(self._packs):
            yield Item(layout.pack(_pack_name(number)), pack.FULL_BYTES, datetime.now(UTC))


def make(place: Path, chunks: int) -> None:
    """A repository whose index names so many chunks."""
    keys = keyring.Keyring.generate()
    name, data = keyring.wrap(keys, keyring.SERVICE, _SECRET)
    made = repository.create(LocalStorage(place), keys, {name: data}, program="bench", suite=1)
    waiting, size = list[PackInfo](), 0
    for number in range(chunks // PER_PACK):
        waiting.append(_section(keys, number))
        size += index.length_of(waiting[-1])
        if size >= index.FULL_BYTES:
            made.write_index(waiting)
            waiting, size = [], 0
    made.write_index(waiting)


def opened(place: Path, chunks: int) -> repository.Repository:
    """What `make` made."""
    storage = Pretended(place, chunks // PER_PACK)
    keys = keyring.unlock(repository.read_slots(storage), keyring.SERVICE, _SECRET)
    return repository.open_repository(storage, keys, expected=None)


def measure(place: Path, chunks: int) -> dict[str, float]:
    """Opening a made repository in this process: seconds, bytes of memory above what was used before, look-ups."""
    made = opened(place, chunks)
    before, start = _memory("VmRSS"), time.perf_counter()
    table = open_reader(made).table
    seconds = time.perf_counter() - start
    if len(table) != chunks // PER_PACK * PER_PACK:
        raise SystemExit(f"{len(table)} chunks were found.")
    after = _memory("VmRSS") - before
    rng = random.Random(chunks)
    wanted = [_id(rng.randrange(len(table))) for _ in range(_LOOK_UPS)]
    if not all(id in table for id in wanted):
        raise SystemExit("A chunk was not found.")
    start = time.perf_counter()
    for id in wanted:
        table.find(id)
    found = _LOOK_UPS / (time.perf_counter() - start)
    absent = [rng.randbytes(32) for _ in range(_LOOK_UPS)]
    start = time.perf_counter()
    for id in absent:
        table.find(id)
    return {
        "chunks": len(table),
        "objects": len(made.index_names()),
        "seconds": seconds,
        "after": after,
        "peak": _memory("VmHWM") - before,
        "found": found,
        "absent": _LOOK_UPS / (time.perf_counter() - start),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; with --one the figures of one size as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.years", description=__doc__)
    parser.add_argument("chunks", type=int, nargs="*", default=CHUNKS, metavar="CHUNKS")
    parser.add_argument("--one", type=Path, metavar="DIR", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, metavar="DIR", help="where the data is made")
    options = parser.parse_args(arguments)
    if options.one:
        print(json.dumps(measure(options.one, options.chunks[0])))
        return 0
    print("| chunks | index objects | opened in | memory | while opening | bytes a chunk | found / s | absent / s |")
    print("|---:|---:|---:|---:|---:|---:|---:|---:|")
    for chunks in options.chunks:
        found = run(chunks, options.work)
        print(
            f"| {found['chunks']:,} | {found['objects']} | {found['seconds']:.2f} s | {found['after'] / 1e6:.0f} MB "
            f"| {found['peak'] / 1e6:.0f} MB | {found['peak'] / found['chunks']:.1f} | {found['found']:,.0f} "
            f"| {found['absent']:,.0f} |",
            flush=True,
        )
    return 0


def run(chunks: int, work: Path | None = None) -> dict[str, float]:
    """Make a repository, measure it in a fresh process, remove it."""
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-", dir=work) as folder:
        place = Path(folder) / "repository"
        make(place, chunks)
        command = [sys.executable, "-m", "benchmarks.years", str(chunks), "--one", str(place)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def _section(keys: keyring.Keyring, number: int) -> PackInfo:
    header = box.new_header(keys, box.PACK_MAGIC, box.DATA_PACK, 1).raw
    stored = pack.FULL_BYTES // PER_PACK
    entries = (
        _ENTRY.pack(_id(number * PER_PACK + each), 96 + each * stored, stored, stored, pack.DATA, 0, 0)
        for each in range(PER_PACK)
    )
    return PackInfo(_pack_name(number), pack.FULL_BYTES, header, struct.pack("<I", PER_PACK) + b"".join(entries))


def _id(number: int) -> bytes:
    return hashlib.sha256(b"blob %d" % number).digest()


def _pack_name(number: int) -> bytes:
    return hashlib.sha256(b"pack %d" % number).digest()


def _memory(field: str) -> int:
    """Bytes of this process: VmRSS now, VmHWM at most so far."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise SystemExit("Linux is needed to measure memory.")


if __name__ == "__main__":
    sys.exit(main())

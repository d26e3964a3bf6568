"""Cleaning up after years: `python -m benchmarks.prune` makes a repository of a million chunks and a thousand points,
and prints time and memory of an estimate and of both phases of prune.

Packs, trees and manifests are real; a chunk is only 8 bytes long. Each measurement is a process of its own."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from engine import compress, crypto, keyring
from engine.ids import new_id
from engine.model import content as contents
from engine.model import tree
from engine.model.content import Chunk
from engine.model.manifest import FilesRoot, Manifest
from engine.model.tree import Node
from engine.progress import Silent
from engine.repository import box, layout, mark, pack, repository
from engine.repository.forget import empty_trash, forget
from engine.repository.pack import OpenPack, PackInfo
from engine.repository.prune import Rules, begin, finish
from engine.repository.repository import Repository
from engine.repository.usage import estimate
from engine.storage.local import LocalStorage

POINTS, CHUNKS = 1_000, 1_000_000
_IN_FOLDER, _CHANGED = 1_000, 10
# A pack of 32 MiB holds so many chunks of 1 MiB.
_PER_PACK = 32
# As writers do: a reader holds one whole index object in memory.
_PER_INDEX = 64
_SECRET = bytes(32)
# Packs of such chunks are all small. Real ones are not, so the merging of small packs, which costs what it writes, is
# left out as far as it goes.
_RULES = Rules(grace=timedelta(), rewrite_bytes=4 << 20)


class Maker:
    """Fills a repository with packs as writers would leave them, without their fsync."""

    def __init__(self, place: Path) -> None:
        self.keys = keyring.Keyring.generate()
        name, data = keyring.wrap(self.keys, keyring.SERVICE, _SECRET)
        self.made = repository.create(LocalStorage(place), self.keys, {name: data}, program="bench", suite=1)
        self._place = place
        self._spool = place.parent / "spool"
        self._spool.mkdir()
        self._open: dict[int, OpenPack] = {}
        self._infos: list[PackInfo] = []
        self._next = 0
        self._compressor = compress.Compressor(compress.ZSTD)

    def chunk(self) -> bytes:
        """The entry of a new chunk."""
        self._next += 1
        plain = self._next.to_bytes(8, "little")
        id = crypto.keyed_hash(self.keys.data_key, plain)
        self._append(box.DATA_PACK, id, pack.DATA, compress.NONE, plain, plain, _PER_PACK)
        return contents.pack_entry(Chunk(id, len(plain), bytes(8)))

    def tree(self, nodes: Sequence[Node]) -> bytes:
        """The id of a directory."""
        plain = tree.encode(nodes)
        id = crypto.keyed_hash(self.keys.tree_key, plain)
        codec, payload = self._compressor.compress(plain)
        self._append(box.TREE_PACK, id, pack.TREE, codec, plain, payload, 4)
        return id

    def point(self, sequence: int, root: bytes) -> None:
        """A restore point of everything that was added."""
        self._flush()
        moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=sequence)
        files = FilesRoot(b"/data", Node(tree.DIRECTORY, b"", 0o755, 0, 0, 0, 0, 0, 1, root), 0, 0)
        manifest = Manifest(
            id=new_id(), session=new_id(), config_id="bench", config={}, sequence=sequence, previous=None,
            started_at=moment, finished_at=moment, type="incremental", suite=1, parent=None, roots=(files,), totals={},
            problems=(), tags={}, program="bench", host="here",
        )  # fmt: skip
        self.made.commit(manifest, self.made.seal_manifest(manifest))

    def _append(
        self, kind: int, id: bytes, type: int, codec: int, plain: bytes, payload: bytes | memoryview, limit: int
    ) -> None:
        if kind not in self._open:
            self._open[kind] = OpenPack(self.keys, kind, 1, self._spool)
        self._open[kind].append(id, type, codec, len(plain), payload)
        if len(self._open[kind]._entries) >= limit:
            self._put(kind)

    def _put(self, kind: int) -> None:
        filled = self._open.pop(kind)
        info = filled.finish()
        target = self._place / layout.pack(info.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        filled.path.rename(target)
        self._infos.append(info)
        if len(self._infos) >= _PER_INDEX:
            self._publish()

    def _flush(self) -> None:
        for kind in list(self._open):
            self._put(kind)
        self._publish()

    def _publish(self) -> None:
        if self._infos:
            self.made.write_index(self._infos)
            self._infos = []


def make(place: Path, points: int, chunks: int) -> None:
    """Each point changes a few files of one folder."""
    maker = Maker(place)
    folders = [
        [_file(number, maker.chunk()) for number in range(_IN_FOLDER)] for _ in range(max(1, chunks // _IN_FOLDER))
    ]
    trees = [maker.tree(folder) for folder in folders]
    for sequence in range(1, points + 1):
        place_of = sequence % len(folders)
        for number in range(_CHANGED):
            chosen = (sequence * _CHANGED + number) % _IN_FOLDER
            folders[place_of][chosen] = _file(chosen, maker.chunk())
        trees[place_of] = maker.tree(folders[place_of])
        root = [Node(tree.DIRECTORY, b"%06d" % n, 0o755, 0, 0, 0, 0, 0, n, id) for n, id in enumerate(trees)]
        maker.point(sequence, maker.tree(root))


def measure(place: Path, what: str) -> dict[str, float]:
    """One step in this process: seconds, processor seconds, peak memory in bytes, and bytes that it found or freed."""
    storage = LocalStorage(place)
    keys = keyring.unlock(repository.read_slots(storage), keyring.SERVICE, _SECRET)
    made = repository.open_repository(storage, keys, expected=None)
    if what == "forget":
        _forget(made, _older_half(made))
    start, start_cpu = time.perf_counter(), time.process_time()
    freed = STEPS[what](made, place.parent / "scratch")
    seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    return {"seconds": seconds, "cpu": cpu, "peak": _peak(), "bytes": freed}


def _estimate(made: Repository, scratch: Path) -> int:
    return estimate(made, _older_half(made), progress=Silent(), rewrite_bytes=_RULES.rewrite_bytes).freed_bytes


def _begin(made: Repository, scratch: Path) -> int:
    own = begin(made, rules=_RULES, clock=_now, progress=Silent(), spool=scratch)
    return len(own.packs) if own else 0


def _finish(made: Repository, scratch: Path) -> int:
    (own,) = mark.read_all(made)
    freed = finish(made, own.id, rules=_RULES, clock=_now, progress=Silent())
    return int(dataclasses.asdict(freed).get("bytes", 0))


STEPS: dict[str, Callable[[Repository, Path], int]] = {
    "estimate": _estimate,
    "forget": lambda made, scratch: 0,
    "begin": _begin,
    "finish": _finish,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; with --one the figures of one step as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prune", description=__doc__)
    parser.add_argument("--points", type=int, default=POINTS)
    parser.add_argument("--chunks", type=int, default=CHUNKS)
    parser.add_argument("--one", nargs=2, metavar=("STEP", "DIR"), help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, metavar="DIR", help="where the data is made")
    options = parser.parse_args(arguments)
    if options.one:
        print(json.dumps(measure(Path(options.one[1]), options.one[0])))
        return 0
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-", dir=options.work) as folder:
        place = Path(folder) / "repository"
        make(place, options.points, options.chunks)
        shutil.rmtree(place.parent / "spool")
        print(f"{options.points:,} restore points, {options.chunks:,} chunks; half of the points are removed")
        print("| step | time | processor time | peak memory |\n|---|---:|---:|---:|")
        for step in STEPS:
            command = [sys.executable, "-m", "benchmarks.prune", "--one", step, str(place)]
            found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
            if step != "forget":
                times = f"{found['seconds']:.1f} s | {found['cpu']:.1f} s"
                print(f"| {step} | {times} | {found['peak'] / 1e6:.0f} MB |", flush=True)
    return 0


def _older_half(made: Repository) -> list[bytes]:
    points = [made.read_manifest(identity).manifest for identity in made.manifest_ids()]
    points.sort(key=lambda manifest: manifest.sequence)
    return [manifest.id for manifest in points[: len(points) // 2]]


def _forget(made: Repository, points: Iterable[bytes]) -> None:
    chosen = list(points)
    for identity in chosen:
        forget(made, identity, reason="bench", now=_now())
    empty_trash(made, chosen, delay=timedelta(), now=_now() + timedelta(minutes=1))


def _file(number: int, entry: bytes) -> Node:
    content = contents.CHUNKS, entry
    return Node(tree.FILE, b"file %06d" % number, 0o644, 1000, 1000, 8, 10**18, 10**18, number, content)


def _now() -> datetime:
    return datetime.now(UTC)


def _peak() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("Linux is needed to measure memory.")


if __name__ == "__main__":
    sys.exit(main())

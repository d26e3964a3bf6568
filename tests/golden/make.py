"""Makes golden repositories and the list of them: `python -m tests.golden.make NEW-FOLDER SOURCE`, as root.

Done once for each set. No test runs this: what it made is opened for ever, and never made again. SOURCE is a folder
that does not exist; its path is in every restore point, so let it be one that tells nothing."""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import random
import socket
import sqlite3
import sys
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from engine import compress, crypto, keyring
from engine.ids import new_id, random_bytes, spell
from engine.model.manifest import StreamRoot
from engine.model.stream import Reader
from engine.progress import Progress
from engine.repository import layout, mark, repository, session
from engine.repository.compaction import compact
from engine.repository.forget import empty_trash, forget
from engine.repository.repository import Head, Repository
from engine.sources.base import StreamEntry
from engine.storage.base import Storage
from tests.golden.shelf import OWNER, listing
from tests.support.packs import LIST, Blob, commit, store
from tests.support.repositories import SECRET, Bench

CODE = keyring.new_recovery_code()
LARGE_BYTES = 1_200_000
SAID = {"config": {"id": "shop", "name": "Shop"}, "host": "golden", "program": "holdfast 0.1.0"}
TIME = 1_700_000_000_000_000_000


@dataclass(frozen=True)
class Profile:
    """How much happens in a repository: so many days, a new epoch on one of them, points of two of them removed. Of a
    large file and `rows` of a table nothing changes, or something each day."""

    name: str
    days: int
    new_epoch: int
    trashed: int
    removed: int
    rows: int
    has_large_file: bool = True
    is_changing: bool = False


SMALL = Profile("small", 4, 3, 2, 1, 200, has_large_file=False)
USUAL = Profile("usual", 4, 3, 2, 1, 200)
LONG = Profile("differences", 8, 6, 2, 3, 12_000, is_changing=True)


@dataclass(frozen=True)
class Bytes:
    """A stream that is in memory, and its source."""

    kind: str
    name: str
    content: bytes
    expected: int = 0

    @contextmanager
    def open(self) -> Iterator[Reader]:
        yield io.BytesIO(self.content)  # type: ignore[misc]

    def facts(self) -> dict[str, Any]:
        return {"format": {"postgres": "pg_dump-custom", "sqlite": "sqlite-file"}[self.kind]}

    def describe(self) -> str:
        return self.name

    def __enter__(self) -> Bytes:
        return self

    def __exit__(self, *exc: object) -> None:
        return None

    def entries(self, progress: Progress) -> Iterator[StreamEntry]:
        yield self


class Maker(Bench):
    """A bench whose metadata is sealed with the suite that is asked for, where that encrypts."""

    suite = crypto.AES_256_GCM

    def create(self, storage: Storage | None = None) -> Repository:
        slots = self.slots()
        return repository.create(
            storage or self.storage(), self.keyring, slots, program="holdfast 0.1.0", suite=self.suite
        )

    def open(self, storage: Storage | None = None) -> Repository:
        place = storage or self.storage()
        return repository.open_repository(place, self.keyring, expected=None, suite=self.suite)

    def slots(self) -> dict[str, bytes]:
        """Of the recovery code and of the key."""
        code = keyring.read_recovery_code(CODE)
        return dict(
            [
                keyring.wrap(self.keyring, keyring.RECOVERY_CODE, code),
                keyring.wrap(self.keyring, keyring.SERVICE, SECRET),
            ]
        )


def edit(source: Path, day: int, profile: Profile) -> None:
    """The folder as it is on a day: small files, perhaps a large one, perhaps changing in place."""
    source.mkdir(parents=True, exist_ok=True)
    (source / f"day {day}.txt").write_text(f"This was written on day {day}.\n" * 40)
    (source / "news").write_text("".join(f"news of day {each}\n" for each in range(1, day + 1)))
    if day == 1:
        _lay_out(source)
    if profile.has_large_file:
        line = b"%06d " + b"the state of some page, and what else is in it; " * 8 + b"\n"
        state = bytearray(b"".join(line % n for n in range(LARGE_BYTES // len(line))))
        for each in range(1, day if profile.is_changing else 1):
            place = each * 131_337 % len(state)
            state[place : place + 24] = b"<changed on day %08d>" % each
        (source / "state.db").write_bytes(state)
    folders = [Path(where) for where, _, _ in os.walk(source)]
    for path in sorted([*source.rglob("*"), source], reverse=True):
        os.chown(path, *OWNER, follow_symlinks=False)
        os.utime(path, ns=(TIME, TIME + day * 86_400 * 10**9 + len(path.name)), follow_symlinks=False)
    (source / "program").chmod(0o4755)
    for folder in folders:
        folder.chmod(0o750)


def _lay_out(source: Path) -> None:
    """Every kind of entry that needs no special right to come back."""
    below = os.fsencode(source)
    for folder in (b"empty", b"some/where/deep", b"\xff\xfe no text"):
        os.makedirs(os.path.join(below, folder))
    for name in (b"some/where/deep/leaf", b"\xff\xfe no text/new\nline", b"nothing", b"program", "файл".encode()):
        Path(os.fsdecode(os.path.join(below, name))).write_bytes(b"" if name == b"nothing" else name * 20)
    os.link(source / "program", source / "program, again")
    os.symlink("some/where", source / "link")
    os.symlink("/nowhere/at/all", source / "dangling")
    os.mkfifo(source / "fifo")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(source / "socket"))
    os.setxattr(source / "program", "user.note", b"\x00\xff attribute")
    with (source / "sparse").open("wb") as file:
        for offset in (0, 512 << 10):
            file.seek(offset)
            file.write(b"not a hole " * 400)
        file.truncate(1 << 20)


def streams(day: int, profile: Profile) -> list[Bytes]:
    """The dump of a table of which 1 % of the rows change in a day, and a SQLite file."""
    rng = random.Random(20261123)
    rows = [f"{n}\tcustomer {n % 97} of branch {n % 7}\t{rng.randrange(1000)}\tpaid\n" for n in range(profile.rows)]
    for each in range(1, day):
        for n in rng.sample(range(len(rows)), len(rows) // 100):
            rows[n] = rows[n].replace("paid", f"returned on day {each}")
    with sqlite3.connect(":memory:") as made:
        made.execute("create table books (title text)")
        made.executemany("insert into books values (?)", [(f"book {n}",) for n in range(day)])
        books = made.serialize()
    made.close()
    return [Bytes("postgres", "shop", "".join(rows).encode()), Bytes("sqlite", "/srv/books.sqlite", books)]


def fill(bench: Maker, source: Path, profile: Profile, codec: int, suite: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Backs up day after day. Returns the restore points and the states that they show."""
    points, states, ids = dict[str, Any](), dict[str, Any](), [b""]
    for day in range(1, profile.days + 1):
        edit(source, day, profile)
        if day == profile.new_epoch:
            compact(bench.open())
            bench.keyring = bench.keyring.with_new_epoch()
            for name, data in bench.slots().items():
                bench.storage().put(name, data)
        dumps = streams(day, profile)
        made = bench.backup(source, streams=dumps, codec=codec, suite=suite, config_id="shop", type="full", **SAID)
        assert not made.manifest.problems, made.manifest.problems
        ids.append(made.manifest.id)
        state = f"{profile.name}-{day}"
        points[spell("bk", made.manifest.id)] = {"state": state, "sequence": day}
        hashes = {each.name: hashlib.sha256(each.content).hexdigest() for each in dumps}
        states[state] = {"tree": listing(source), "streams": hashes}
    opened = bench.open()
    points[_with_a_list(opened, ids[-1])] = {"state": state, "sequence": 1, "streamsOnly": True}
    _leave_behind(bench, opened, trashed=ids[profile.trashed], removed=ids[profile.removed])
    del points[spell("bk", ids[profile.removed])]
    points[spell("bk", ids[profile.trashed])]["isTrashed"] = True
    return points, states


def _with_a_list(opened: Repository, like: bytes) -> str:
    """A restore point of a configuration of its own whose dump has its content in list blobs, as long ones have."""
    root = next(root for root in opened.read_manifest(like).manifest.roots if isinstance(root, StreamRoot))
    assert root.content is not None
    entries = root.content[1]
    parts = [entries[start : start + 44] for start in range(0, len(entries), 44)]
    ids = [store(opened, Blob(LIST, part))[0] for part in dict.fromkeys(parts)]
    by_part = dict(zip(dict.fromkeys(parts), ids, strict=True))
    content = (3, b"".join(by_part[part] for part in parts))
    manifest = commit(opened, StreamRoot("postgres", "shop", root.size, content, root.facts), config_id="long")
    opened.write_head(Head("long", 1, manifest.id, opened.read_manifest(manifest.id).hash))
    return spell("bk", manifest.id)


def _leave_behind(bench: Maker, opened: Repository, *, trashed: bytes, removed: bytes) -> None:
    """What is there after years: trash, a tombstone, marks, fences and sessions of the dead, something set aside."""
    for each in (trashed, removed):
        forget(opened, each, reason="by the retention", now=bench.clock())
    empty_trash(opened, [removed], delay=timedelta(), now=bench.clock())
    mark.create(opened, [random_bytes(32)], now=bench.clock())
    session.fence(opened, new_id(), by=new_id(), now=bench.clock())
    session.Session(opened, new_id(), "shop", bench.clock).start()
    name = sorted(opened.list_packs())[0]
    damaged = bytearray(opened.storage.get(layout.pack(name)))
    damaged[len(damaged) // 2] ^= 1
    opened.storage.put(layout.quarantine(layout.pack(name)), bytes(damaged))


def pack_up(place: Path, target: Path) -> str:
    """One file of all objects; its hash."""
    objects = sorted(path for path in place.rglob("*") if path.is_file() and path.name != layout.RESERVE)
    with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as made:
        for path in objects:
            info = tarfile.TarInfo(path.relative_to(place).as_posix())
            info.size, info.mode = path.stat().st_size, 0o600
            with path.open("rb") as file:
                made.addfile(info, file)
    return hashlib.sha256(target.read_bytes()).hexdigest()


def main(arguments: Sequence[str] | None = None) -> int:
    """Makes a set in a new folder."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden.make", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("source", type=Path)
    parser.add_argument("--differences", action="store_true", help="those with differences, of zstd alone")
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True)
    repositories, states = dict[str, Any](), dict[str, Any]()
    for suite_name, suite in crypto.SUITES.items():
        for codec_name, codec in compress.CODECS.items():
            if options.differences and codec != compress.ZSTD:
                continue
            profile = LONG if options.differences else USUAL if codec else SMALL
            name = f"{suite_name}-{codec_name}{'-differences' if options.differences else ''}"
            bench = Maker(options.folder / "scratch" / name)
            bench.suite = suite or crypto.AES_256_GCM
            bench.create()
            source = options.source.with_name(f"{options.source.name}-{name}")
            points, shown = fill(bench, source, profile, codec, suite)
            assert all(states.get(each, shown[each]) == shown[each] for each in shown), "days are the same for all"
            states |= shown
            digest = pack_up(bench.place, options.folder / f"{name}.tar")
            repositories[name] = {"sha256": digest, "source": str(source), "recoveryCode": CODE, "points": points}
    document = {"key": SECRET.hex(), "repositories": repositories, "states": states}
    target = options.folder / ("expected-differences.json" if options.differences else "expected.json")
    target.write_text(json.dumps(document, indent=1) + "\n", encoding="ascii")
    return 0


if __name__ == "__main__":
    sys.exit(main())

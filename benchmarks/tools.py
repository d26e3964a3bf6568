"""The tools that are compared, each driven by its command line alone, as a user would."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from benchmarks.measure import Command

CHECKOUT = Path(__file__).resolve().parent.parent
SECRET = "benchmark"
DUMP = "shop.dump"


@dataclass(frozen=True)
class Database:
    """A database to back up. `dump` writes it to its output, uncompressed; `load` takes a dump from its input into an
    empty database of this name, which `create` makes; `programs` is the folder of the client programs."""

    url: str
    dump: Command
    compressed_dump: Command
    create: Callable[[str], object]
    load: Callable[[str], Command]
    programs: Path

    def url_of(self, name: str) -> str:
        """The URL of another database of the same server."""
        return f"{self.url.rpartition('/')[0]}/{name}"


Source = Path | Database


class Kept(Protocol):
    """One tool's new repository below a folder of its own, and the commands for it; None for what it cannot do."""

    @property
    def repositories(self) -> tuple[Path, ...]:
        """Where it keeps backups; more than one for more destinations."""

    def start(self) -> Command | None:
        """Start the program and do next to nothing."""

    def backup(self, source: Source) -> Command | None: ...

    def restore(self, source: Source, into: str, *, check: bool) -> Command | None:
        """The newest backup, into an empty folder or, for a database, a new database of this name. With `check` what
        was written is read back and compared, for tools that can do so."""

    def verify(self) -> Command | None:
        """Read and check everything."""


class Holdfast:
    """Ours. The first repository is at `place/repository`; more are further destinations of the same run."""

    name = "Holdfast"
    program: tuple[str, ...] = (sys.executable, "-P", "-m", "cli")

    def __init__(self, place: Path, *, destinations: int = 1) -> None:
        self._place = place
        self.repositories = tuple(place / f"repository{number}" for number in range(1, destinations + 1))
        self._file = place / "bench.json"
        place.mkdir(parents=True)
        _carry_out(self.start())  # makes its own database, as the others make their repositories

    def start(self) -> Command:
        return self._command("list", "--json")

    def backup(self, source: Source) -> Command:
        document = {
            "id": "bench",
            "name": "Benchmark",
            "type": "database" if isinstance(source, Database) else "files",
            "sources": _sources(source),
            "destinations": [{"type": "local", "config": {"path": str(path)}} for path in self.repositories],
        }
        self._file.write_text(json.dumps(document))
        return self._command("create", "--file", str(self._file), "--inline", "--json", source=source)

    def restore(self, source: Source, into: str, *, check: bool) -> Command:
        """It always reads back what it writes."""
        target = source.url_of(into) if isinstance(source, Database) else into
        return self._command("restore", "--backup", "bench@latest", "--to", target, "--inline", "--json", source=source)

    def verify(self) -> Command:
        return self._command("verify", "--all", "--json")

    def _command(self, *arguments: str, source: Source | None = None) -> Command:
        env = _environment(PYTHONPATH=str(CHECKOUT), HOLDFAST_HOME=str(self._place / "home"))
        if isinstance(source, Database):
            env["HOLDFAST_PG_BIN"] = str(source.programs)
        return Command((*self.program, *arguments), env)


class Restic:
    """restic with its default compression; a dump comes through its standard input."""

    name = "restic"

    def __init__(self, place: Path) -> None:
        self.repositories = (place / "repository",)
        self._env = _environment(RESTIC_PASSWORD=SECRET, RESTIC_CACHE_DIR=str(place / "cache"), HOME=str(place))
        place.mkdir(parents=True)
        _carry_out(self._command("init", "--repository-version", "2"))

    def start(self) -> Command:
        return Command(("restic", "version"), self._env)

    def backup(self, source: Source) -> Command:
        if isinstance(source, Database):
            return self._command("backup", "--stdin", "--stdin-filename", DUMP, feed=source.dump)
        return self._command("backup", str(source))

    def restore(self, source: Source, into: str, *, check: bool) -> Command:
        if isinstance(source, Database):
            return _into_database(source, into, self._command("dump", "latest", DUMP))
        return self._command("restore", "latest", "--target", into, *(["--verify"] if check else []))

    def verify(self) -> Command:
        return self._command("check", "--read-data")

    def _command(self, *arguments: str, feed: Command | None = None) -> Command:
        return Command(("restic", "-q", "-r", str(self.repositories[0]), *arguments), self._env, feed=feed)


class Borg:
    """BorgBackup with the same compressor as ours; a dump comes through its standard input."""

    name = "BorgBackup"

    def __init__(self, place: Path) -> None:
        self.repositories = (place / "repository",)
        self._env = _environment(
            BORG_PASSPHRASE=SECRET,
            BORG_BASE_DIR=str(place / "base"),
            BORG_RELOCATED_REPO_ACCESS_IS_OK="yes",
            HOME=str(place),
        )
        self._count = 0
        place.mkdir(parents=True)
        _carry_out(Command(("borg", "init", "--encryption", "repokey", str(self.repositories[0])), self._env))

    def start(self) -> Command:
        return Command(("borg", "--version"), self._env)

    def backup(self, source: Source) -> Command:
        self._count += 1
        create = ("borg", "create", "--compression", "zstd,3")
        if isinstance(source, Database):
            return Command((*create, "--stdin-name", DUMP, self._archive(), "-"), self._env, feed=source.dump)
        return Command((*create, self._archive(), str(source)), self._env)

    def restore(self, source: Source, into: str, *, check: bool) -> Command | None:
        if check:
            return None
        if isinstance(source, Database):
            extract = ("borg", "extract", "--stdout", self._archive(), DUMP)
            return _into_database(source, into, Command(extract, self._env))
        return Command(("borg", "extract", self._archive()), self._env, cwd=into)

    def verify(self) -> Command:
        return Command(("borg", "check", "--verify-data", str(self.repositories[0])), self._env)

    def _archive(self) -> str:
        return f"{self.repositories[0]}::run{self._count}"


class PgDump:
    """PostgreSQL's own program in its custom format, which it compresses itself, into a file."""

    name = "pg_dump -Fc"

    def __init__(self, place: Path) -> None:
        self.repositories = (place,)
        place.mkdir(parents=True)

    def start(self) -> None:
        return None

    def backup(self, source: Source) -> Command | None:
        assert isinstance(source, Database)
        file = self.repositories[0] / DUMP
        return None if file.exists() else replace(source.compressed_dump, output=str(file))

    def restore(self, source: Source, into: str, *, check: bool) -> None:
        return None

    def verify(self) -> None:
        return None


PEERS: dict[str, tuple[Callable[[Path], Kept], tuple[str, ...]]] = {
    Restic.name: (Restic, ("restic", "version")),
    Borg.name: (Borg, ("borg", "--version")),
}


def installed_peers() -> tuple[dict[str, Callable[[Path], Kept]], dict[str, str]]:
    """The peers that are on PATH, and what each says of its version."""
    found, versions = {}, {}
    for name, (maker, question) in PEERS.items():
        if shutil.which(question[0]):
            found[name] = maker
            said = subprocess.run(question, capture_output=True, text=True, check=True).stdout
            versions[name] = " ".join(said.split()[:2])
    return found, versions


def _into_database(source: Database, name: str, dump: Command) -> Command:
    """pg_restore, fed with a dump. Making the empty database is not counted for the peers; ours makes its own."""
    source.create(name)
    return replace(source.load(name), feed=dump)


def _sources(source: Source) -> dict[str, object]:
    if isinstance(source, Database):
        return {"databases": [{"url": source.url}]}
    return {"paths": [{"path": str(source)}]}


def _environment(**more: str) -> dict[str, str]:
    """Nothing of the caller's settings may change what is measured."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", **more}


def _carry_out(command: Command) -> None:
    subprocess.run(command.argv, env=command.env, check=True, capture_output=True, stdin=subprocess.DEVNULL)

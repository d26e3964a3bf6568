"""The golden repositories: what is committed beside them, and how a test takes one off the shelf."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tarfile
from functools import cache
from pathlib import Path
from typing import Any

from engine import keyring
from engine.keyring import Keyring
from engine.repository import repository
from engine.repository.repository import Repository
from engine.storage.local import LocalStorage

SHELF = Path(__file__).parent
OWNER = (1000, 100)
_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "link",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}


@cache
def expected() -> dict[str, Any]:
    """`key` of all; `repositories` (hash, source, recovery code, restore points); the `states` that they show."""
    whole: dict[str, Any] = {"repositories": {}, "states": {}}
    for path in sorted(SHELF.glob("expected*.json")):
        document = json.loads(path.read_text(encoding="ascii"))
        whole["key"] = document["key"]
        for part in ("repositories", "states"):
            whole[part] |= document[part]
    return whole


def names() -> list[str]:
    """Of all golden repositories, `SUITE-CODEC`."""
    return list(expected()["repositories"])


def archive(name: str) -> Path:
    """The committed file."""
    return SHELF / f"{name}.tar"


def take(name: str, folder: Path) -> Path:
    """A copy of a golden repository, for the test to keep."""
    place = folder / name
    with tarfile.open(archive(name)) as opened:
        opened.extractall(place, filter="data")
    return place


def open_golden(place: Path) -> Repository:
    """The repository there, opened with the key."""
    storage = LocalStorage(place)
    return repository.open_repository(storage, unlocked(place), expected=None)


def unlocked(place: Path) -> Keyring:
    """The keyring there, by the key."""
    secret = bytes.fromhex(expected()["key"])
    return keyring.unlock(repository.read_slots(LocalStorage(place)), keyring.SERVICE, secret)


def listing(folder: Path) -> dict[str, list[Any]]:
    """Everything in a folder by its path: kind, mode, size, time in nanoseconds, what it holds, attributes."""
    root, found = os.fsencode(folder), dict[str, list[Any]]()
    firsts = dict[int, str]()
    for where, folders, files in sorted(os.walk(root)):
        for name in sorted([*folders, *files]):
            path = os.path.join(where, name)
            status, told = os.lstat(path), os.fsdecode(os.path.relpath(path, root))
            kind = _KINDS[stat.S_IFMT(status.st_mode)]
            first = firsts.setdefault(status.st_ino, told) if kind == "file" else told
            holds = _holds(path, kind) if first == told else first
            size = status.st_size if kind == "file" else 0
            found[told] = [kind, stat.S_IMODE(status.st_mode), size, status.st_mtime_ns, holds, _attributes(path, kind)]
    return found


def _holds(path: bytes, kind: str) -> str:
    if kind == "link":
        return os.fsdecode(os.readlink(path))
    if kind != "file":
        return ""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _attributes(path: bytes, kind: str) -> dict[str, str]:
    if kind not in ("file", "directory"):
        return {}
    return {name: os.getxattr(path, name).hex() for name in os.listxattr(path) if name.startswith("user.")}

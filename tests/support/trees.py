"""Folders full of everything that a file system allows, and an exact comparison that owes nothing to the engine."""

from __future__ import annotations

import os
import random
import socket
import stat
from pathlib import Path

# Names that have broken others: control characters, quotes, leading dashes, bytes that are no text, the longest.
ODD_NAMES = [
    b"plain.txt",
    b"with space",
    b"-rf",
    b"--help",
    b"new\nline",
    b"esc\x1b[31m",
    b"quote'\"`",
    b"semi;colon&",
    b"$HOME",
    b"back\\slash",
    b"percent%20",
    b"*?[a-z]",
    b"\x80\xff\xfe",
    b"\xc3\xa9",
    b"e\xcc\x81",
    b"CASE",
    b"case",
    b"tab\there",
    b".hidden",
    b"...",
    b"trailing ",
    b"trailing.",
    b"x" * 255,
    "файл".encode(),
    "文件".encode(),
    b"null",
    b"NaN",
]
SNAPSHOT_FIELDS = ("kind", "mode", "uid", "gid", "size", "mtime", "content")


def make_tree(folder: Path, rng: random.Random, *, files: int = 40) -> None:
    """A tree of odd names, sizes around every boundary, links of each kind, modes and times."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = [0, 1, 63, 64, 65, 4096, 262_143, 262_144, 262_145, 300_000, 1_048_576, 5_000_000]
    folders = [os.fsencode(folder)]
    for number in range(files):
        where = rng.choice(folders)
        name = ODD_NAMES[number % len(ODD_NAMES)] if number < len(ODD_NAMES) else b"f%d" % number
        path = os.path.join(where, name)
        if os.path.lexists(path):
            continue
        if number % 5 == 4 and len(where) < 2000:
            os.mkdir(path)
            folders.append(path)
            continue
        write_file(path, rng, rng.choice(sizes) if number % 7 else rng.randrange(0, 3000))
    _add_links(os.fsencode(folder), rng)
    for where in reversed(folders):
        os.chmod(where, rng.choice([0o755, 0o700, 0o2775, 0o1777]))
        os.utime(where, ns=(1, rng.randrange(10**18)))


def write_file(path: bytes | Path, rng: random.Random, size: int) -> None:
    """A file with half compressible content, an odd mode and a time of its own."""
    with open(path, "wb") as file:
        file.write(rng.randbytes(size // 2) + b"abcdefgh" * (size // 16 + 1))
        file.truncate(size)
    os.chmod(path, rng.choice([0o644, 0o600, 0o755, 0o440, 0o000 if os.geteuid() == 0 else 0o400]))
    os.utime(path, ns=(rng.randrange(10**18), rng.randrange(-(10**17), 10**18)))


def _add_links(folder: bytes, rng: random.Random) -> None:
    write_file(os.path.join(folder, b"linked"), rng, 1000)
    for number in range(3):
        os.link(os.path.join(folder, b"linked"), os.path.join(folder, b"hard%d" % number))
    os.symlink(b"linked", os.path.join(folder, b"soft"))
    os.symlink(b"/nowhere/at/all", os.path.join(folder, b"dangling"))
    os.symlink(b"loop", os.path.join(folder, b"loop"))
    os.symlink(b"\xff\xfe", os.path.join(folder, b"soft bytes"))
    os.mkfifo(os.path.join(folder, b"fifo"))
    with socket.socket(socket.AF_UNIX) as made:
        here = os.open(folder, os.O_RDONLY)
        try:
            made.bind(b"/proc/self/fd/%d/socket" % here)
        finally:
            os.close(here)


def snapshot(folder: Path | bytes) -> dict[bytes, tuple[object, ...]]:
    """Everything about a tree that must survive: SNAPSHOT_FIELDS by relative path, hard links as groups."""
    root = os.fsencode(folder)
    found: dict[bytes, tuple[object, ...]] = {}
    groups: dict[tuple[int, int], bytes] = {}
    for where, names, files in os.walk(root):
        for name in [*names, *files]:
            path = os.path.join(where, name)
            status = os.lstat(path)
            relative = os.path.relpath(path, root)
            found[relative] = _facts(path, status, groups)
    status = os.lstat(root)
    found[b"."] = _facts(root, status, groups)
    return found


def _facts(path: bytes, status: os.stat_result, groups: dict[tuple[int, int], bytes]) -> tuple[object, ...]:
    kind = stat.S_IFMT(status.st_mode)
    content: object = None
    size = 0
    if kind == stat.S_IFREG:
        size = status.st_size
        with open(path, "rb") as file:
            content = file.read()
        if status.st_nlink > 1:
            content = (content, groups.setdefault((status.st_dev, status.st_ino), os.path.basename(path)))
    elif kind == stat.S_IFLNK:
        content = os.readlink(path)
    return kind, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, size, status.st_mtime_ns, content

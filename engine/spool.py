"""Scratch folders that clean up after themselves: what a killed process left is removed by the next one."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from engine.errors import Unavailable
from engine.ids import random_bytes

_LOCK = "lock"


@contextmanager
def scratch_folder(spool: Path) -> Iterator[Path]:
    """A new private folder below `spool`, removed at the end. Raises Unavailable when it cannot be made."""
    folder = spool / random_bytes(8).hex()
    try:
        spool.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sweep(spool)
        lock = _make_locked(folder)
    except OSError as error:
        raise Unavailable(
            f"The scratch folder {spool} cannot be used: {os.strerror(error.errno or 0)}.",
            hint="Check its owner, mode and free space.",
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _make_locked(folder: Path) -> int:
    """Lock first, under a name that no sweep looks at, and only then take the folder's own name."""
    hidden = folder.with_name(f".{folder.name}")
    hidden.mkdir(mode=0o700)
    lock = os.open(hidden / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    hidden.rename(folder)
    return lock


def abandoned(spool: Path) -> Iterator[Path]:
    """The folders whose process is gone; each is held until the next is asked for. Raises OSError."""
    for folder in spool.iterdir():
        if folder.name.startswith("."):
            continue
        with suppress(OSError):
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield folder
            except BlockingIOError:
                continue
            finally:
                os.close(lock)


def _sweep(spool: Path) -> None:
    for folder in abandoned(spool):
        shutil.rmtree(folder, ignore_errors=True)

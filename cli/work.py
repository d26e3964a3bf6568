"""What commands have in common that work for long: progress, Ctrl-C, and the process made ready for it."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from cli.progress import CommandProgress, watched
from webapp.processes import live_long

if TYPE_CHECKING:
    from cli.state import Door

# The parameters that we set of glibc, see mallopt(3).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3


@contextmanager
def working(door: Door) -> Iterator[CommandProgress]:
    """A progress for one piece of work; to be entered when the imports are done. Main thread only."""
    live_long()
    _allow_many_files()
    _keep_memory()
    with watched(door.tell) as progress:
        yield progress


def _keep_memory() -> None:
    """Chunks of about 1 MiB come and go all the time. glibc would give each back to the system and ask for it again,
    which costs a tenth of a backup and a fifth of a restore (docs/performance.md)."""
    import ctypes

    with suppress(OSError, AttributeError):  # another C library
        tune = ctypes.CDLL(None).mallopt
        tune(_M_MMAP_THRESHOLD, 64 << 20)
        tune(_M_TRIM_THRESHOLD, 512 << 20)
        tune(_M_TOP_PAD, 16 << 20)


def _allow_many_files() -> None:
    """Deep trees are walked and restored with a descriptor for each of many folders; the default of 1024 is too few."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):  # some systems name a limit here that they do not grant
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

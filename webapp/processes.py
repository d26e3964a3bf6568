"""Whether a process that left its name in the database still lives: pid and start time, on this boot of this host. And
what one needs that is to live long."""

from __future__ import annotations

import ctypes
import functools
import gc
import os
import platform
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
_PR_SET_PDEATHSIG = 1
_FIRST = "500"  # as if it had half of all memory more, see proc(5)
NEW_OBJECTS = 10_000
"""A walk makes millions of small objects without cycles: to look through every 700, as Python does, costs up to a tenth
of it. 100,000 spare it no more, but those of some dozen pages take 100 ms to free at once; 10,000 take 6."""


def host_name() -> str:
    """The name of this host, for people."""
    return platform.node() or "localhost"


def live_long() -> None:
    """For a process that goes on for long, when it has loaded what it needs; those that it forks take it over. From now
    on it looks for garbage, which the command line does without (cli/main.py): whenever there are NEW_OBJECTS more, and
    never among what it has now, which took 100 ms in the midst of an answer."""
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS)
    gc.enable()


def process_mark(pid: int | None = None) -> str:
    """`<system>:<pid>:<start>` of a process (default: this one): what `is_gone` needs later, also after a reboot."""
    pid = os.getpid() if pid is None else pid
    return f"{_system()}:{pid}:{_started(pid) or ''}"


def is_gone(mark: str) -> bool:
    """True only when the process that `mark` names certainly ended. Marks of another boot, another container or
    another host cannot be judged from here, so they are not gone; their heartbeat tells."""
    system, _, rest = mark.partition(":")
    pid_text, _, started = rest.partition(":")
    if system != _system() or not pid_text.isdigit() or not started:
        return False
    return _started(int(pid_text)) != started


def dying_with_parent(number: signal.Signals = signal.SIGTERM) -> Callable[[], None]:
    """What a new child has to call so that the kernel sends it `number` when the process that calls this now ends.

    Only Linux can do that; elsewhere a child has to look at `os.getppid()` now and then."""
    parent = os.getpid()
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def arm() -> None:
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:  # it ended in between
            os.kill(os.getpid(), number)

    return arm


def first_to_go() -> None:
    """Where memory runs out the kernel ends this process, and what it starts from now on, before any other of the
    service. Only Linux can do that."""
    with suppress(OSError):
        (PROC / "self/oom_score_adj").write_text(_FIRST)


@functools.cache
def _system() -> str:
    """This boot and this pid namespace: numbers of processes mean something only within both."""
    try:
        boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
        space = str((PROC / "self/ns/pid").readlink()).strip("pid:[]")
    except OSError:
        return f"{host_name()}/0".replace(":", "_")
    return f"{boot}/{space}"


def _started(pid: int) -> str | None:
    """When the process began, in the system's own spelling; None when there is no such process (or only its shell)."""
    if (PROC / "self/stat").exists():
        return _started_linux(pid)
    return _started_ps(pid)


def _started_linux(pid: int) -> str | None:
    try:
        content = (PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    fields = content.rpartition(b")")[2].split()
    state, started = fields[0], fields[19]
    if state in (b"Z", b"X"):  # killed, and only waiting to be collected by its parent
        return None
    return started.decode()


def _started_ps(pid: int) -> str | None:
    import subprocess

    command = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
    plain = {"LC_ALL": "C", "PATH": os.defpath}
    answer = subprocess.run(command, capture_output=True, text=True, check=False, env=plain)
    words = answer.stdout.split()
    if answer.returncode != 0 or not words or words[0].startswith("Z"):
        return None
    return "_".join(words[1:]).replace(":", ".")

"""Runs one command and says what it cost: wall time, CPU of all its processes, its largest process's peak memory, and
how busy everybody else kept the machine meanwhile.

The command is started by a small process of its own (this file as a script): a child's peak memory as Linux counts it
is never less than its parent's was, so a large parent would hide what a small tool needs."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

QUIET_CPUS, QUIET_SECONDS, LOOK_SECONDS = 0.15, 10, 0.4
TOUCHED_BYTES, TOUCH_BYTES = 4 << 30, 1 << 20
SETTLE_SECONDS = 0.2  # for a server's process to end and be counted, when its client has just gone
_TICKS = os.sysconf("SC_CLK_TCK")
_KIBI = 1 if sys.platform == "darwin" else 1024  # unit of ru_maxrss


@dataclass(frozen=True)
class Command:
    """A program with its environment. `feed` is the program whose output it reads, `output` a file for its own."""

    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str = "/"
    feed: Command | None = None
    output: str = ""


@dataclass(frozen=True)
class Sample:
    """One run. Seconds and bytes; `other_cpus` is how many processors others kept busy, `server_cpu` the seconds that a
    database server spent for us; -1 where the system does not tell. `stored` is what a backup added."""

    wall: float
    cpu: float
    peak: int
    other_cpus: float
    server_cpu: float = 0.0
    stored: int = 0

    def storing(self, stored: int) -> Sample:
        """The same run with what it stored."""
        return replace(self, stored=stored)


class CommandFailed(Exception):
    """A command ended with another status than 0; its last words are in the message."""


def run(command: Command, *, server: int = 0) -> Sample:
    """Run a command to its end. `server` is the process id of a database server that works for it.

    Raises CommandFailed."""
    asked = json.dumps({"command": asdict(command), "server": server})
    done = subprocess.run([sys.executable, "-I", "-S", __file__], input=asked, capture_output=True, text=True)
    if done.returncode:
        raise CommandFailed(done.stderr[-2000:])
    answer = json.loads(done.stdout)
    if any(answer.pop("statuses")):
        raise CommandFailed(f"{' '.join(command.argv)}\n{answer['said']}")
    answer.pop("said")
    return Sample(**answer)


def settle() -> None:
    """Returns when what the last run left is written and others leave the machine alone, or after ten seconds."""
    os.sync()
    end = time.monotonic() + QUIET_SECONDS
    while (before := _busy()) is not None and time.monotonic() < end:
        time.sleep(LOOK_SECONDS)
        if ((_busy() or 0) - before) / LOOK_SECONDS < QUIET_CPUS:
            return


def touch_memory() -> None:
    """Uses some gigabytes of free memory for a moment. A virtual machine gets memory that lay idle from its host page
    by page: writing 1.5 GB then took 2.6 s instead of 0.3 s, for whichever tool happened to come first."""
    with contextlib.suppress(OSError), mmap.mmap(-1, min(TOUCHED_BYTES, _free_memory() // 2 or TOUCH_BYTES)) as held:
        piece = b"\1" * TOUCH_BYTES
        while held.tell() + TOUCH_BYTES <= len(held):
            held.write(piece)


def _free_memory() -> int:
    """Bytes that may be used without pushing anything out, 0 where the system does not tell."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemFree:"):
                return int(line.split()[1]) << 10
    return 0


def _measure(asked: dict[str, Any]) -> dict[str, Any]:
    said = os.memfd_create("said") if hasattr(os, "memfd_create") else os.open(os.devnull, os.O_RDWR)
    server = asked["server"]
    busy_before, server_before = _busy(), _server_cpu(server)
    start = time.monotonic()
    processes = _start(asked["command"], said)
    ended = [os.wait4(process.pid, 0) for process in processes]
    wall = time.monotonic() - start
    cpu = sum(usage.ru_utime + usage.ru_stime for _, _, usage in ended)
    busy_after = _busy()
    time.sleep(SETTLE_SECONDS if server else 0)
    server_cpu = _server_cpu(server) - server_before
    other = -1.0
    if busy_before is not None and busy_after is not None:
        other = max(0.0, busy_after - busy_before - cpu - server_cpu) / wall
    length = os.lseek(said, 0, os.SEEK_END)
    return {
        "wall": wall,
        "cpu": cpu,
        "peak": max(usage.ru_maxrss for _, _, usage in ended) * _KIBI,
        "other_cpus": other,
        "server_cpu": server_cpu,
        "statuses": [os.waitstatus_to_exitcode(status) for _, status, _ in ended],
        "said": os.pread(said, 2000, max(0, length - 2000)).decode(errors="replace"),
    }


def _start(command: dict[str, Any], said: int) -> list[subprocess.Popen[bytes]]:
    """The command, and before it the one that feeds it."""
    feeding = _start({**command["feed"], "output": "-"}, said) if command["feed"] else []
    source = feeding[-1].stdout if feeding else subprocess.DEVNULL
    with contextlib.ExitStack() as stack:
        output: Any = said
        if command["output"] == "-":
            output = subprocess.PIPE
        elif command["output"]:
            output = stack.enter_context(Path(command["output"]).open("wb"))
        process = subprocess.Popen(
            command["argv"], env=command["env"], cwd=command["cwd"], stdin=source, stdout=output, stderr=said
        )
    if feeding and feeding[-1].stdout:
        feeding[-1].stdout.close()
    return [*feeding, process]


def _busy() -> float | None:
    """Seconds that all processors worked since the start of the machine; None where /proc does not tell."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return None
    user, nice, system, _, _, *interrupts = map(int, fields[:8])
    return (user + nice + system + sum(interrupts)) / _TICKS


def _server_cpu(server: int) -> float:
    """Seconds of CPU that a server has used: its own, of the children that it has, and of those that it had."""
    if not server:
        return 0.0
    ticks = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(folder.name) == server or int(fields[1]) == server:
            ticks += sum(map(int, fields[11:15] if int(folder.name) == server else fields[11:13]))
    return ticks / _TICKS


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_measure(json.load(sys.stdin))))

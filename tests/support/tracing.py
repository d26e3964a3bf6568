"""Faults in the system calls of one thread, made by strace: the n-th call fails, kills, lies, or stops everything."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.errors import EngineError
from engine.progress import Silent

# ALL is the main thread and those that it starts: each of them counts by itself.
MAIN, UPLOAD, ALL = "main", "upload", "all"
CALLS = ("write", "pwrite64", "ftruncate", "fsync", "link", "rename", "unlink", "mkdir", "mkdirat")
SUCCEEDED, FAILED = 0, 3


@dataclass(frozen=True)
class Fault:
    """What the `number`-th `call` (from 1) of a thread meets; `answer` in strace's words, such as `error=EIO`."""

    thread: str
    call: str
    number: int
    answer: str


class Pausing(Silent):
    """Progress whose first phase waits until it is told to go on: all threads of a backup are there by then."""

    def __init__(self, wait: Callable[[], None]) -> None:
        super().__init__()
        self._wait: Callable[[], None] | None = wait

    def phase(self, name: str, *, expected: int = 0) -> None:
        wait, self._wait = self._wait, None
        if wait is not None:
            wait()


def run_with(fault: Fault, action: Callable[[Pausing], object], log: Path, on_stop: Callable[[], None]) -> int:
    """Runs `action` in a child that meets the fault: SUCCEEDED, FAILED by an EngineError, or minus the signal that
    ended it. `on_stop` is called while everything stands still because of a SIGSTOP. The fault must have been met."""
    stops = list[None]()

    def stopped() -> None:
        stops.append(None)
        on_stop()

    status = _run(action, {fault.thread: _injection(fault)}, log, stopped)
    calls = log.read_text() if log.exists() else ""
    is_met = "INJECTED" in calls or status == -signal.SIGKILL or bool(stops)
    assert is_met, f"planned but not met: {fault}\n{calls}"
    return status


def count_calls(action: Callable[[Pausing], object], thread: str, log: Path) -> dict[tuple[str, str], int]:
    """How often the thread, of ALL the busiest one, makes each of CALLS, while nothing goes wrong."""
    made = Counter(line.partition("(")[0] for line in record(action, thread, log))  # with ALL: "1234 write"
    counts = {call: max((made[each] for each in made if each.split()[-1] == call), default=0) for call in CALLS}
    return {(thread, call): count for call, count in counts.items() if count}


def record(action: Callable[[Pausing], object], thread: str, log: Path) -> list[str]:
    """The thread's calls of CALLS in strace's words, descriptors with their paths, while nothing goes wrong."""
    assert _run(action, {thread: ["-y"]}, log, lambda: None) == SUCCEEDED
    return log.read_text().splitlines()


def make_pack_folders(place: Path) -> None:
    """All 256 folders of packs: every run then makes the same calls, whatever the names of its packs."""
    for number in range(256):
        (place / "packs" / f"{number:02x}").mkdir(mode=0o700, exist_ok=True)


def _injection(fault: Fault) -> list[str]:
    return ["-e", f"inject={fault.call}:{fault.answer}:when={fault.number}"]


def _run(
    action: Callable[[Pausing], object], options: dict[str, list[str]], log: Path, on_stop: Callable[[], None]
) -> int:
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        ours.close()
        os._exit(_in_child(action, theirs))
    theirs.close()
    attaching = threading.Thread(target=_attach_each, args=(ours, options, log))
    attaching.start()  # a child that is stopped early does not talk any more, so somebody else must wait for it
    status = _wait(child, on_stop)
    attaching.join()
    return status


def _attach_each(ours: socket.socket, options: dict[str, list[str]], log: Path) -> None:
    """Traces each thread that the child names before it goes on, until all have ended."""
    tracers = []
    with ours, ours.makefile("rw") as talk:
        for thread in (MAIN, UPLOAD):
            told = talk.readline()
            if not told:
                break  # it ended before it had that thread
            if thread in options:
                tracers.append(_attach(int(told), log, options[thread]))
            elif thread == MAIN and ALL in options:
                tracers.append(_attach(int(told), log, ["-f", *options[ALL]]))
            talk.write("go\n")
            talk.flush()
        for tracer in tracers:
            tracer.communicate()


def _in_child(action: Callable[[Pausing], object], talk: socket.socket) -> int:
    def pause(thread: str) -> None:
        upload = [each.native_id for each in threading.enumerate() if each.name.startswith(UPLOAD)]
        talk.send(f"{upload[0] if thread == UPLOAD else threading.get_native_id()}\n".encode())
        talk.recv(10)

    try:
        pause(MAIN)
        action(Pausing(lambda: pause(UPLOAD)))
    except EngineError:
        return FAILED
    except BaseException as error:  # noqa: BLE001 - whatever it is, the child must end here
        os.write(2, f"{error!r}\n".encode())
        return 99
    return SUCCEEDED


def _attach(thread: int, log: Path, options: list[str]) -> subprocess.Popen[str]:
    command = ["strace", "-p", str(thread), "-o", str(log), "-e", f"trace={','.join(CALLS)}", "-e", "signal=none"]
    tracer = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)
    assert tracer.stderr is not None
    told = tracer.stderr.readline()
    assert "attached" in told, f"strace cannot trace here: {told}"
    return tracer


def _wait(child: int, on_stop: Callable[[], None]) -> int:
    while True:
        _, status = os.waitpid(child, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            return os.waitstatus_to_exitcode(status)
        on_stop()
        os.kill(child, signal.SIGCONT)

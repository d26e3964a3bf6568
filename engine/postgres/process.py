"""Client programs as child processes: a minimal environment, the password in a private file, output and input by
pipes, the last words of their stderr kept, and never a process or a password file left behind."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from engine.errors import EngineError, SourceError
from engine.postgres.connection import Connection, hide

CONNECT_SECONDS = 15
PIPE_BYTES = 1 << 20
KEPT_LINES = 200
LINE_BYTES = 2000
# How long a program may take to end when asked, before it is killed.
TERMINATE_SECONDS = 5
# pg_dump writes 4 KiB at a time. A reader that takes each at once makes ten times the system calls and wakes the
# writer as often; a pause lets the pipe fill meanwhile, so nobody waits longer for it.
ENOUGH_BYTES = 256 << 10
PAUSE_SECONDS = 0.001
PAUSES = 3
# How often a wait looks whether somebody wants to stop.
LOOK_SECONDS = 0.5
# How long its output may stay open and silent after the program has ended: something that it started holds it.
HELD_SECONDS = 10.0


@contextlib.contextmanager
def credentials(connection: Connection, scratch: Path) -> Iterator[Credentials]:
    """A private folder below `scratch` with the password file in it, gone at the end of the block."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="postgres-", dir=scratch))
    except OSError as failure:
        raise EngineError(f"The scratch folder {scratch} cannot be used: {failure.strerror}.") from None
    try:
        yield Credentials(connection, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Credentials:
    """What a child gets to sign in: `environment`, and in `folder` (mode 0700) a password file of mode 0600."""

    def __init__(self, connection: Connection, folder: Path) -> None:
        self.folder = folder
        self._secret = connection.password
        self._file = folder / "pgpass"
        if connection.password:
            # The folder is of this child alone, so the line may fit every server.
            escaped = connection.password.replace("\\", "\\\\").replace(":", "\\:")
            descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(f"*:*:*:*:{escaped}\n".encode())

    @property
    def environment(self) -> dict[str, str]:
        """Nothing of our own environment: no PG* variable of it decides which server is asked."""
        return {
            "PATH": os.defpath,
            "LC_ALL": "C.UTF-8",
            "HOME": str(self.folder),
            "TMPDIR": str(self.folder),
            "PGPASSFILE": str(self._file),
            "PGCONNECT_TIMEOUT": str(CONNECT_SECONDS),
            "PGAPPNAME": "holdfast",
        }

    def forget(self) -> None:
        """Removes the password file early: the child has signed in."""
        self._file.unlink(missing_ok=True)

    def redact(self, text: str) -> str:
        return hide(text, self._secret)


class Child:
    """A running client program. Use it as a context manager: leaving the block ends it if it still runs."""

    def __init__(
        self, command: Sequence[str], login: Credentials, *, reads: bool = False, writes: bool = False
    ) -> None:
        """`reads`: we write its stdin; `writes`: we read its stdout. Raises OSError when it cannot be started."""
        self.program = os.path.basename(command[0])
        self._login = login
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE if reads else subprocess.DEVNULL,
            stdout=subprocess.PIPE if writes else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd=login.folder,
            env=login.environment,
            close_fds=True,
            start_new_session=True,  # Ctrl-C is ours to handle; the child is ended in order
        )
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)
                _enlarge(pipe.fileno())
        self._collector = threading.Thread(target=self._collect, name=f"stderr of {self.program}", daemon=True)
        self._collector.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def readinto(self, buffer: memoryview, look: Callable[[], None]) -> int:
        """Bytes of its stdout into the front of `buffer`; 0 at the end. `look` is called while nothing comes.

        Raises SourceError when the program has ended, but its output has not."""
        pipe = self._process.stdout
        assert pipe is not None, "started without writes=True"
        filled = pauses = 0
        silent = 0.0
        while True:
            try:
                count = os.readv(pipe.fileno(), [buffer[filled:]])
            except BlockingIOError:
                if filled and pauses == PAUSES:
                    return filled
                if filled:
                    pauses += 1
                    time.sleep(PAUSE_SECONDS)
                elif not _ready(pipe.fileno(), select.POLLIN):
                    look()
                    silent = silent + LOOK_SECONDS if self._has_ended() else 0.0
                    self._refuse_held_output(silent)
                continue
            filled += count
            if not count or filled >= min(ENOUGH_BYTES, len(buffer)):
                return filled

    def write(self, data: bytes | memoryview, look: Callable[[], None]) -> None:
        """All of `data` into its stdin. Raises BrokenPipeError when it has closed it or ended."""
        pipe = self._process.stdin
        assert pipe is not None, "started without reads=True"
        rest = memoryview(data)
        while rest:
            if _ready(pipe.fileno(), select.POLLOUT):
                with contextlib.suppress(BlockingIOError):
                    rest = rest[os.write(pipe.fileno(), rest) :]
            else:
                look()

    def close_input(self) -> None:
        """The end of its stdin."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()

    def wait(self, look: Callable[[], None], *, seconds: float | None = None) -> int | None:
        """Its exit status (minus the signal's number when one ended it), or None when it runs on after `seconds`."""
        waited = 0.0
        while seconds is None or waited < seconds:
            try:
                status = self._process.wait(LOOK_SECONDS)
            except subprocess.TimeoutExpired:
                waited += LOOK_SECONDS
                look()
                continue
            self._collector.join(TERMINATE_SECONDS)  # bounded, as in `stop`
            return status
        return None

    def complaint(self) -> str:
        """The last error on its stderr as one line without the program's name; "" when it said nothing."""
        lines = [line for line in self._lines if line.strip()]
        errors = [line for line in lines if "error:" in line or "FATAL:" in line or "ERROR:" in line]
        chosen = (errors or lines)[-1:]
        return self._bare(chosen[0]) if chosen else ""

    def warnings(self) -> list[str]:
        """The warnings on its stderr, each as one line."""
        return [self._bare(line) for line in self._lines if "warning:" in line]

    def stop(self) -> None:
        """Ends it: asks, then kills. It is gone when this returns, and so are its pipes."""
        if self._process.returncode is None:  # not waited for yet, so its group is still its own
            self._signal(signal.SIGKILL if self._has_ended() else signal.SIGTERM)
            try:
                self._process.wait(TERMINATE_SECONDS)
            except subprocess.TimeoutExpired:
                self._signal(signal.SIGKILL)
                self._process.wait()
        self.close_input()
        if self._process.stdout is not None:
            self._process.stdout.close()
        # Bounded: a grandchild may have inherited stderr and live on.
        self._collector.join(TERMINATE_SECONDS)

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _refuse_held_output(self, silent: float) -> None:
        if silent >= HELD_SECONDS:
            raise SourceError(f"{self.program} ended, but a program that it started keeps its output open.")

    def _has_ended(self) -> bool:
        """Whether the program itself is gone; it is not waited for, so that its group keeps its number."""
        if self._process.returncode is not None:
            return True
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _signal(self, number: signal.Signals) -> None:
        """To the program and whatever it started: it leads a group of its own."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _collect(self) -> None:
        pipe = self._process.stderr
        assert pipe is not None
        rest = b""
        with pipe:
            while part := pipe.read(LINE_BYTES):
                *lines, rest = (rest + part).split(b"\n")
                self._lines.extend(line[:LINE_BYTES].decode("utf-8", "replace") for line in lines)
                rest = rest[:LINE_BYTES]
        self._lines.append(rest.decode("utf-8", "replace"))

    def _bare(self, line: str) -> str:
        text = self._login.redact(" ".join(line.split()))
        for introduction in (f"{self.program}: ", "error: ", "warning: "):
            text = text.removeprefix(introduction)
        return text.rstrip(".")


def _ready(descriptor: int, event: int) -> bool:
    waiter = select.poll()
    waiter.register(descriptor, event)
    return bool(waiter.poll(int(LOOK_SECONDS * 1000)))


def _enlarge(descriptor: int) -> None:
    """A larger pipe means fewer switches between us and the program; not every system has that."""
    set_size = getattr(fcntl, "F_SETPIPE_SZ", None)
    if set_size is not None:
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, set_size, PIPE_BYTES)
